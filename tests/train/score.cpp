#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/nn/losses/cross_entropy.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "easy_diffusion/train/score_sampler.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include "train/support.hpp"

using namespace easy_diffusion;

namespace {

/// The exact score of pictures whose pixels are independent N(mean, deviation^2), under the variance-exploding process.
struct GaussianScore {
  using value_type = double;
  struct Context {
    bool input_gradient = true;
  };
  sde::VarianceExploding process{25};
  double mean = 0.3;
  double deviation = 0.2;

  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& t, Context* = nullptr) const {
    Tensor<double> score(x.shape());
    const std::int64_t elements = x.size() / x.extent(0);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const double s = process.marginal_std(t[i / elements]);
      score[i] = -(x[i] - mean) / (deviation * deviation + s * s);
    }
    return score;
  }
};

}  // namespace

TEST_CASE("sampling with the exact score of a Gaussian gives that Gaussian") {
  const GaussianScore model;
  const auto x = train::sample_score_model(model, model.process, {400, 5, 5, 1}, 0, {.seed = 4, .steps = 500});
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
  const train::ScoreSamplerConfig config{.seed = 9, .steps = 6};
  const int before = num_threads();
  const auto all = train::sample_score_model(model, process, {6, 9, 9, 1}, 0, config);
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    CHECK(test::same_bits(train::sample_score_model(model, process, {6, 9, 9, 1}, 0, config), all));
    for (const std::int64_t batch : {1, 2, 4}) {
      for (std::int64_t first = 0; first < 6; first += batch) {
        const std::int64_t count = std::min<std::int64_t>(batch, 6 - first);
        const auto part = train::sample_score_model(model, process, {count, 9, 9, 1}, first, config);
        CHECK(test::same_bits(part, Tensor<float>::copy_of(all.view().slice(first, count))));
      }
    }
  }
  set_num_threads(before);
  const auto other = train::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.seed = 10, .steps = 6});
  CHECK_FALSE(test::same_bits(other, all));
  CHECK_THROWS_AS(train::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.last_time = 0}), ValueError);
  CHECK_THROWS_AS(train::sample_score_model(model, process, {6, 9, 9, 1}, 0, {.steps = 0}), ValueError);
}

TEST_CASE("score matching is least at the exact score, where it has its known value") {
  // For x ~ N(m, d^2) the best loss a pixel is E[d^2 / (d^2 + s^2)] over t; everything else is larger.
  GaussianScore model;
  Tensor<double> pictures(Shape{4000, 3, 3, 1});
  fill_normal(pictures.span(), {1, streams::user, 0});
  for (double& v : pictures) v = model.mean + model.deviation * v;
  const train::DenoisingScoreMatching objective(model.process);
  double expected = 0;
  for (int i = 0; i < 20000; ++i) {
    const double s = model.process.marginal_std((i + 0.5) / 20000);
    expected += 9 * model.deviation * model.deviation / (model.deviation * model.deviation + s * s) / 20000;
  }
  const double best = objective.evaluate(model, pictures, 7, 0);
  CHECK(best == Approx(expected).epsilon(0.05));
  model.mean = 0.5;
  CHECK(objective.evaluate(model, pictures, 7, 0) > 1.01 * best);
  model.mean = 0.3;
  model.deviation = 0.3;
  CHECK(objective.evaluate(model, pictures, 7, 0) > 1.01 * best);
}

TEST_CASE("the objective's gradient is the derivative of its loss") {
  auto config = test::small_unet();
  nn::UNet<double> model(config);
  nn::initialize(model, 5);
  const train::DenoisingScoreMatching objective(sde::VarianceExploding(25));
  const auto pictures = test::random_tensor<double>({3, 9, 9, 1}, 1, 0.3);
  nn::zero_gradients(model);
  nn::UNet<double>::Context ctx;
  const double loss = objective.accumulate(model, pictures, 11, 4, ctx);
  CHECK(loss == objective.evaluate(model, pictures, 11, 4));

  // Along one random direction over all parameters.
  std::uint32_t index = 0;
  double analytic = 0;
  std::vector<Tensor<double>> direction;
  nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
    direction.push_back(test::random_tensor<double>(parameter.value.shape(), ++index));
    for (std::int64_t i = 0; i < parameter.value.size(); ++i) analytic += direction.back()[i] * parameter.grad[i];
  });
  const auto at = [&](double h) {
    std::size_t k = 0;
    nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
      for (std::int64_t i = 0; i < parameter.value.size(); ++i) parameter.value[i] += h * direction[k][i];
      ++k;
    });
    const double value = objective.evaluate(model, pictures, 11, 4);
    k = 0;
    nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
      for (std::int64_t i = 0; i < parameter.value.size(); ++i) parameter.value[i] -= h * direction[k][i];
      ++k;
    });
    return value;
  };
  constexpr double h = 1e-4;
  const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  CHECK(analytic == Approx(numeric).epsilon(1e-7));
}

TEST_CASE("cross-entropy: value, gradient and labels out of range") {
  const Tensor<double> logits(Shape{2, 3}, {1.0, 2.0, 3.0, 0.0, 0.0, 1000.0});
  const std::vector<std::int64_t> labels{0, 2};
  const auto loss = nn::cross_entropy(logits, labels);
  const double z = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  CHECK(loss.value == Approx(0.5 * (std::log(z) - 1.0)).epsilon(1e-14));
  CHECK(loss.gradient[0] == Approx(0.5 * (std::exp(1.0) / z - 1)).epsilon(1e-14));
  CHECK(loss.gradient[2] == Approx(0.5 * std::exp(3.0) / z).epsilon(1e-14));
  CHECK(std::abs(loss.gradient[5]) < 1e-300);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0, 3}), ValueError);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0, -1}), ValueError);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0}), ShapeError);
}
