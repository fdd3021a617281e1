#include "easy_diffusion/train/denoising_score_matching.hpp"

#include <cmath>
#include <cstdint>

#include "easy_diffusion/nn/models/unet.hpp"
#include "support/catch.hpp"
#include "support/gaussian_score.hpp"
#include "support/tensors.hpp"
#include "train/gradient.hpp"
#include "train/support.hpp"

using namespace easy_diffusion;
using test::GaussianScore;

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

  const auto derivatives =
      test::directional_derivatives(model, [&] { return objective.evaluate(model, pictures, 11, 4); });
  CHECK(derivatives.analytic == Approx(derivatives.numeric).epsilon(1e-7));
}

TEST_CASE("score matching refuses what does not fit") {
  const train::DenoisingScoreMatching objective(sde::VarianceExploding(25));
  const GaussianScore model;
  CHECK_THROWS_AS(objective.evaluate(model, Tensor<double>(Shape{0, 3, 3, 1}), 1, 0), ShapeError);
  CHECK_THROWS_AS(objective.evaluate(model, Tensor<double>(Shape{3, 3}), 1, 0), ShapeError);
  struct Larger : GaussianScore {
    Tensor<double> forward(const Tensor<double>& x, const Tensor<double>&) const {
      return Tensor<double>(Shape{x.extent(0), x.extent(1) + 1, x.extent(2), x.extent(3)});
    }
  };
  CHECK_THROWS_AS(objective.evaluate(Larger(), Tensor<double>(Shape{2, 3, 3, 1}), 1, 0), ShapeError);
}
