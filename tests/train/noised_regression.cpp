// The objectives of EDM and of rectified flow.

#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/flow.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/train/conditional.hpp"
#include "easy_diffusion/train/edm_objective.hpp"
#include "easy_diffusion/train/flow_objective.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include "train/gradient.hpp"
#include "train/support.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

/// A model without parameters: notes what it is shown, answers factor x.
struct Listener {
  using value_type = double;
  struct Context {
    bool input_gradient = true;
  };
  double factor = 0;
  mutable Tensor<double> x, t;
  mutable std::vector<std::int64_t> classes;
  Tensor<double> gradient;

  Tensor<double> forward(const Tensor<double>& shown, const Tensor<double>& time, Context* = nullptr) const {
    x = shown;
    t = time;
    Tensor<double> answer = shown;
    for (double& e : answer) e *= factor;
    return answer;
  }
  Tensor<double> forward(const Tensor<double>& shown, const Tensor<double>& time, const nn::Condition<double>& told,
                         Context* ctx) const {
    classes = told.classes;
    return forward(shown, time, ctx);
  }
  Tensor<double> backward(const Tensor<double>& dy, const Context&) {
    gradient = dy;
    return {};
  }
};

nn::UNetConfig small_network() {
  nn::UNetConfig config = small_unet();
  config.marginal_std = {};
  return config;
}

template <class Objective>
void check_gradient(const Objective& objective) {
  nn::UNet<double> model(small_network());
  nn::initialize(model, 5);
  const auto pictures = random_tensor<double>({3, 9, 9, 1}, 1, 0.5);
  nn::zero_gradients(model);
  nn::UNet<double>::Context ctx;
  objective.accumulate(model, pictures, 11, 4, ctx);
  nn::UNet<double> other = model;
  const auto derivatives = directional_derivatives(model, [&] {
    other = model;
    nn::UNet<double>::Context its;
    return objective.accumulate(other, pictures, 11, 4, its);
  });
  CHECK(derivatives.analytic == Approx(derivatives.numeric).epsilon(1e-7));
}

template <class Objective>
void check_learning(const Objective& objective) {
  const data::ImageDataset dataset = small_dataset();
  nn::UNet<float> model(small_network());
  nn::initialize(model, 3);
  data::Batcher batcher(dataset, {.batch_size = 8, .seed = 1});
  train::Trainer<nn::UNet<float>, Objective> trainer(model, objective, batcher, nn::Adam<float>(),
                                                     {.seed = 1, .learning_rate = nn::LearningRate::constant(3e-3)});
  double first = 0, last = 0;
  constexpr int steps = 50;
  for (int i = 0; i < steps; ++i) {
    const double loss = trainer.step().loss;
    if (i < 10) first += loss / 10;
    if (i >= steps - 10) last += loss / 10;
  }
  CAPTURE(first, last);
  CHECK(last < 0.8 * first);
}

template <class Objective>
void check_refusals(const Objective& objective) {
  Listener model;
  Listener::Context ctx;
  CHECK_THROWS_AS(objective.accumulate(model, Tensor<double>(Shape{0, 3, 3, 1}), 1, 0, ctx), ShapeError);
  CHECK_THROWS_AS(objective.accumulate(model, Tensor<double>(Shape{3, 3}), 1, 0, ctx), ShapeError);
}

}  // namespace

TEST_CASE("EDM's network is shown, told and asked what its denoiser shows, tells and asks", "[train][edm]") {
  const diffusion::Edm edm({.data_deviation = 0.4});
  const auto pictures = random_tensor<double>({6, 4, 4, 1}, 1, 0.4);
  const std::int64_t elements = 16;
  Listener model{.factor = 0.7, .x = {}, .t = {}, .classes = {}, .gradient = {}};
  Listener::Context ctx;
  const double loss = train::EdmObjective(edm).accumulate(model, pictures, 11, 4, ctx);
  CHECK_FALSE(ctx.input_gradient);
  // The same by the denoiser and its own weight.
  double expected = 0;
  for (std::int64_t n = 0; n < 6; ++n) {
    const double sigma = edm.training_sigma({11, streams::training_time, 4}, static_cast<std::uint64_t>(n));
    CHECK_THAT(model.t[n], WithinAbs(std::log(sigma) / 4, 1e-14));
    const diffusion::EdmDenoiser denoiser([&](const double& x, double, double& out) { out = model.factor * x; }, edm);
    for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i) {
      const double z = normal<double>({11, streams::training_noise, 4}, static_cast<std::uint64_t>(i));
      const double x = pictures[i] + sigma * z;
      double x0 = 0;
      denoiser(x, diffusion::exploding_level(sigma), x0);
      const double error = x0 - pictures[i];
      expected += edm.scales(sigma).loss_weight * error * error / static_cast<double>(pictures.size());
      CHECK_THAT(model.x[i], WithinAbs(edm.scales(sigma).in * x, 1e-13));
    }
  }
  CHECK_THAT(loss, WithinRel(expected, 1e-12));
  check_refusals(train::EdmObjective());
}

TEST_CASE("rectified flow's network is shown and asked a training pair", "[train][flow]") {
  const auto times = diffusion::FlowTimes::logit_normal();
  const auto pictures = random_tensor<double>({6, 4, 4, 1}, 1, 0.4);
  Listener model{.factor = -0.3, .x = {}, .t = {}, .classes = {}, .gradient = {}};
  Listener::Context ctx;
  const double loss = train::FlowObjective(times, 1000).accumulate(model, pictures, 11, 4, ctx);
  double expected = 0;
  for (std::int64_t i = 0; i < pictures.size(); ++i) {
    const double t = times.at({11, streams::training_time, 4}, static_cast<std::uint64_t>(i / 16));
    CHECK_THAT(model.t[i / 16], WithinAbs(1000 * t, 1e-11));
    double x = 0, velocity = 0;
    diffusion::flow_pair(pictures[i], normal<double>({11, streams::training_noise, 4}, static_cast<std::uint64_t>(i)),
                         t, x, velocity);
    CHECK_THAT(model.x[i], WithinAbs(x, 1e-14));
    const double residual = model.factor * x - velocity;
    expected += residual * residual / static_cast<double>(pictures.size());
    CHECK_THAT(model.gradient[i], WithinAbs(2 * residual / static_cast<double>(pictures.size()), 1e-14));
  }
  CHECK_THAT(loss, WithinRel(expected, 1e-12));
  check_refusals(train::FlowObjective());
}

TEST_CASE("gradients of EDM and flow are the derivatives of their losses", "[train][edm][flow]") {
  check_gradient(train::EdmObjective());
  check_gradient(train::FlowObjective(diffusion::FlowTimes::logit_normal()));
}

TEST_CASE("EDM and flow tell a model the classes, but for those that are left out", "[train][edm][flow]") {
  const std::vector<std::int64_t> labels = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto pictures = random_tensor<double>({8, 4, 4, 1}, 1, 0.4);
  const auto check = [&](const auto& objective) {
    train::Conditional conditional(objective, 0.5);
    Listener model, plain;
    Listener::Context ctx;
    const double loss = conditional.accumulate(model, pictures, labels, 11, 4, ctx);
    CHECK(loss == objective.accumulate(plain, pictures, 11, 4, ctx));
    CHECK(model.classes == conditional.template condition<double>(labels, 11, 4).classes);
    CHECK(model.classes != labels);
  };
  check(train::EdmObjective());
  check(train::FlowObjective());
}

TEST_CASE("networks learn EDM and flow", "[train][edm][flow]") {
  check_learning(train::EdmObjective());
  check_learning(train::FlowObjective());
}

TEST_CASE("noise and times of a batch do not depend on threads", "[train][edm][flow]") {
  const auto pictures = random_tensor<double>({9, 4, 4, 1}, 1, 0.4);
  const auto shown = [&](int threads) {
    const Threads set(threads);
    Listener model;
    Listener::Context ctx;
    train::EdmObjective().accumulate(model, pictures, 11, 4, ctx);
    return model.x;
  };
  CHECK(same_bits(shown(1), shown(2)));
}
