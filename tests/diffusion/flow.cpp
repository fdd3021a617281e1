// Rectified flow: what is learned, and its Euler and Heun methods.

#include "easy_diffusion/diffusion/flow.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/flow_heun.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "support/worst.hpp"

#include "sde/orders.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

const GaussianMixture mixture({{1, {-1}, 0.3}, {2, {1}, 0.4}});

/// The velocity of the mixture: what a trained network would answer.
void velocity(const double& x, double t, double& out) {
  const NoiseLevel level = flow_level(t);
  mixture(x, level, out);
  convert(Prediction::x0, Prediction::velocity, level, x, out);
}

double distribution(double x, const NoiseLevel& level) {
  double sum = 0;
  for (const MixtureComponent& c : mixture.components()) {
    const double spread = std::hypot(level.alpha * c.deviation, level.sigma);
    sum += c.weight * 0.5 * std::erfc((level.alpha * c.mean[0] - x) / (spread * std::sqrt(2.0)));
  }
  return sum;
}

/// In one dimension the flow keeps the share of states below: where x goes is known.
double exact_end(double x, const NoiseLevel& from, const NoiseLevel& to) {
  const double share = distribution(x, from);
  double low = -20, high = 20;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (distribution(middle, to) < share ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// From pure noise to t = `last`, in n equal steps.
NoiseLevels levels_to(double last, std::int64_t n) {
  std::vector<NoiseLevel> levels;
  for (std::int64_t i = 0; i <= n; ++i)
    levels.push_back(flow_level(1 - (1 - last) * static_cast<double>(i) / static_cast<double>(n)));
  return NoiseLevels(std::move(levels));
}

template <class Sampler>
std::vector<tests::ErrorAt> errors_of(Sampler& sampler) {
  std::vector<tests::ErrorAt> errors;
  for (const std::int64_t n : {32, 64, 128, 256, 512}) {
    const NoiseLevels levels = levels_to(0.02, n);
    Worst worst;
    for (const double start : {-1.9, -0.6, 0.1, 0.8, 2.2}) {
      double x = start;
      sample(sampler, make_denoiser(velocity, Prediction::velocity), x, levels, NoNoise());
      worst.see(std::abs(x - exact_end(start, levels.front(), levels.back())));
    }
    errors.push_back({1 / static_cast<double>(n), worst.value(), 0});
  }
  return errors;
}

}  // namespace

TEST_CASE("a training pair lies on the line whose slope is the velocity", "[diffusion][flow]") {
  const auto x0 = random_tensor<double>({2, 3}, 1), z = random_tensor<double>({2, 3}, 2);
  Tensor<double> x, v, later, same;
  for (const double t : {0.0, 0.3, 0.9}) {
    flow_pair(x0, z, t, x, v);
    flow_pair(x0, z, t + 0.1, later, same);
    CHECK(same_bits(v, same));
    for (std::int64_t i = 0; i < x.size(); ++i) {
      CHECK_THAT(later[i] - x[i], WithinAbs(0.1 * v[i], 1e-14));
      CHECK_THAT(x[i] - t * v[i], WithinAbs(x0[i], 1e-14));
    }
    // It is what Prediction::velocity means.
    if (t > 0) {
      auto converted = x0;
      convert(Prediction::x0, Prediction::velocity, flow_level(t), x, converted);
      CHECK(largest_difference(converted, v) <= 1e-14);
    }
  }
  CHECK_THROWS_AS(flow_pair(x0, z, 1.1, x, v), ValueError);
  CHECK_THROWS_AS(flow_pair(x0, Tensor<double>({2, 4}), 0.5, x, v), ShapeError);
}

TEST_CASE("times of training are uniform or logit-normal, and addressed", "[diffusion][flow]") {
  const NoiseAddress address{3, streams::training_time, 9};
  const auto share_below = [&](const FlowTimes& times, double bound) {
    int below = 0;
    for (std::uint64_t n = 0; n < 20000; ++n) {
      const double t = times.at(address, n);
      REQUIRE((t >= 0 && t < 1));
      below += t < bound ? 1 : 0;
    }
    return below / 20000.0;
  };
  const auto normal_below = [](double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); };
  for (const double bound : {0.1, 0.5, 0.8}) {
    const double logit = std::log(bound / (1 - bound));
    // Standard errors are at most 0.0036.
    CHECK_THAT(share_below(FlowTimes::uniform(), bound), WithinAbs(bound, 0.014));
    CHECK_THAT(share_below(FlowTimes::logit_normal(), bound), WithinAbs(normal_below(logit), 0.014));
    CHECK_THAT(share_below(FlowTimes::logit_normal(0.5, 1.4), bound),
               WithinAbs(normal_below((logit - 0.5) / 1.4), 0.014));
  }
  CHECK(FlowTimes::uniform().at(address, 3) == uniform<double>(address, 3));
  CHECK_THROWS_AS(FlowTimes::logit_normal(HUGE_VAL), ValueError);
  CHECK_THROWS_AS(FlowTimes::logit_normal(0, 0), ValueError);
  CHECK_THROWS_AS(FlowTimes::logit_normal(0, std::nan("")), ValueError);
  CHECK_THROWS_AS(flow_level(-0.1), ValueError);
  CHECK_THROWS_AS(flow_level(std::nan("")), ValueError);
}

TEST_CASE("Euler's method on the velocity is DDIM with eta = 0", "[diffusion][flow]") {
  const NoiseLevels levels = flow_levels(17);
  for (const double start : {-1.9, 0.1, 2.2}) {
    double x = start, y = start;
    Ddim<double> ddim;
    ddim.start(levels);
    NoNoise none;
    for (std::int64_t i = 0; i < levels.steps(); ++i) {
      ddim.step(make_denoiser(velocity, Prediction::velocity), x, levels, i, none);
      double v = 0;
      velocity(y, levels[i].time, v);
      y += (levels[i + 1].time - levels[i].time) * v;
      CHECK_THAT(x, WithinAbs(y, 1e-14));
    }
  }
}

TEST_CASE("Euler's method of rectified flow has order 1, Heun's 2, from pure noise on", "[diffusion][flow]") {
  Ddim<double> euler;
  FlowHeun<double> heun;
  tests::check_order(errors_of(euler), Ddim<double>::traits.order);
  tests::check_order(errors_of(heun), FlowHeun<double>::traits.order);
}

TEST_CASE("Heun's method of rectified flow counts its evaluations and refuses other levels", "[diffusion][flow]") {
  FlowHeun<double> heun;
  double x = 0.3;
  for (const std::int64_t n : {1, 2, 13, 300, 600, 999, 1000}) {
    for (const NoiseLevels& levels : {flow_levels(n), levels_to(0.1, n)}) {
      const SampleResult result = sample(heun, mixture, x, levels, NoNoise());
      CHECK(result.evaluations == heun.evaluations(levels));
      CHECK(result.evaluations == 2 * n - (levels.back().is_clean() ? 1 : 0));
    }
  }
  CHECK_THROWS_AS(heun.start(noise_levels(Schedule::linear(), 5)), ValueError);
  CHECK_THROWS_AS(heun.start(flow_levels(3).reversed()), ValueError);
  // There and back.
  const NoiseLevels levels = levels_to(0.05, 200);
  x = 0.3;
  sample(heun, mixture, x, levels, NoNoise());
  sample(heun, mixture, x, levels.reversed(), NoNoise());
  CHECK_THAT(x, WithinAbs(0.3, 1e-3));
}
