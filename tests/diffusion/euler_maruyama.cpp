#include "easy_diffusion/diffusion/samplers/euler_maruyama.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/catch.hpp"
#include "support/gaussian_score.hpp"
#include "support/tensors.hpp"
#include "train/support.hpp"

using namespace easy_diffusion;
using test::GaussianScore;

TEST_CASE("sampling with the exact score of a Gaussian gives that Gaussian") {
  const GaussianScore model;
  const auto x = diffusion::sample_score_model(model, model.process, {400, 5, 5, 1}, 0, {.seed = 4, .steps = 500});
  double sum = 0;
  double squares = 0;
  for (const double v : x) {
    sum += v;
    squares += v * v;
  }
  const double n = static_cast<double>(x.size());
  const double mean = sum / n;
  const double deviation = std::sqrt(squares / n - mean * mean);
  // 10 000 values: standard errors 0.002 and 0.0014; what Euler's steps add is below that.
  CHECK(std::abs(mean - model.mean) < 0.02);
  CHECK(std::abs(deviation - model.deviation) < 0.01);
}

TEST_CASE("samples do not depend on threads or on how they are split into batches") {
  nn::UNet<float> model(test::small_unet());
  nn::initialize(model, 5);
  const sde::VarianceExploding process(25);
  const diffusion::ScoreSamplerConfig config{.seed = 9, .steps = 6};
  const int before = num_threads();
  const auto all = diffusion::sample_score_model(model, process, {6, 9, 9, 1}, 0, config);
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    CHECK(test::same_bits(diffusion::sample_score_model(model, process, {6, 9, 9, 1}, 0, config), all));
    for (const std::int64_t batch : {1, 2, 4}) {
      for (std::int64_t first = 0; first < 6; first += batch) {
        const std::int64_t count = std::min<std::int64_t>(batch, 6 - first);
        const auto part = diffusion::sample_score_model(model, process, {count, 9, 9, 1}, first, config);
        CHECK(test::same_bits(part, Tensor<float>::copy_of(all.view().slice(first, count))));
      }
    }
  }
  set_num_threads(before);
  const auto other = diffusion::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.seed = 10, .steps = 6});
  CHECK_FALSE(test::same_bits(other, all));
  CHECK_THROWS_AS(diffusion::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.last_time = 0}), ValueError);
  CHECK_THROWS_AS(diffusion::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.steps = 0}), ValueError);
  CHECK_THROWS_AS(diffusion::sample_score_model(model, process, {6, 9, 9, 1}, -1, config), ValueError);
  CHECK_THROWS_AS(diffusion::sample_score_model(model, process, {0, 9, 9, 1}, 0, config), ShapeError);
}
