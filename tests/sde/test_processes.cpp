#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;

namespace {

/// dx = -x dt + dW, reversed: the part of the drift that is not the score.
struct Damped {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    sde::for_each_element([](const auto& e, auto& f) { f = -e; }, x, out);
  }
  double linear_drift(double) const { return -1; }
  double diffusion(double) const { return 2; }
};

/// Score of data N(mean, spread^2) under the variance-exploding process.
struct GaussianScore {
  sde::VarianceExploding process;
  double mean, spread;
  template <sde::State S>
  void operator()(const S& x, double t, S& out) const {
    const double std = process.marginal_std(t);
    const double variance = spread * spread + std * std;
    sde::update_elements(
        [variance, m = mean](const auto& e, auto& s) {
          s = static_cast<std::remove_reference_t<decltype(s)>>((m - static_cast<double>(e)) / variance);
        },
        x, out);
  }
};

}  // namespace

TEST_CASE("variance-exploding: marginals", "[sde][process]") {
  const sde::VarianceExploding process(25);
  CHECK_THAT(process.diffusion(0), WithinRel(1.0, 1e-15));
  CHECK_THAT(process.diffusion(0.5), WithinRel(5.0, 1e-14));
  CHECK_THAT(process.diffusion(1), WithinRel(25.0, 1e-14));
  CHECK_THAT(process.marginal_std(1), WithinRel(std::sqrt(624 / (2 * std::log(25.0))), 1e-14));
  CHECK(process.prior_std() == process.marginal_std(1));
  CHECK(process.marginal_std(0) == 0);
  // sigma^(2t) - 1 loses all digits here: the series says t (1 + t ln sigma).
  CHECK_THAT(process.marginal_std(1e-12), WithinRel(std::sqrt(1e-12 * (1 + 1e-12 * std::log(25.0))), 1e-14));
  // The variance is the integral of the squared diffusion (Simpson's rule).
  for (const double t : {0.01, 0.3, 1.0}) {
    const int n = 2000;
    double sum = 0;
    for (int i = 0; i <= n; ++i) {
      const double g = process.diffusion(t * i / n);
      sum += g * g * (i == 0 || i == n ? 1 : i % 2 == 1 ? 4 : 2);
    }
    CHECK_THAT(process.marginal_std(t), WithinRel(std::sqrt(sum * t / n / 3), 1e-9));
  }
  CHECK_THAT(sde::VarianceExploding(1).marginal_std(0.49), WithinRel(0.7, 1e-14));
  CHECK_THROWS_AS(process.marginal_std(-1e-3), ValueError);
  CHECK_THROWS_AS(sde::VarianceExploding(0), ValueError);
  CHECK_THROWS_AS(sde::VarianceExploding(std::numeric_limits<double>::quiet_NaN()), ValueError);
  CHECK_THROWS_AS(sde::BrownianMotion(-1), ValueError);
  CHECK_THROWS_AS(sde::BrownianMotion(1).marginal_std(-1), ValueError);
}

TEST_CASE("variance-exploding: paths have the marginal", "[sde][process]") {
  const sde::VarianceExploding process(5);
  Tensor<double> x({200'000}, 3.0);
  const auto grid = sde::TimeGrid::uniform(0, 1, 100);
  sde::integrate(sde::EulerMaruyama<Tensor<double>>{}, process, x, grid, sde::BrownianNoise{.seed = 6});
  const sde::Moments moments = sde::MomentsOf{}(x);
  // Euler's own variance: a sum in place of the integral.
  double discrete = 0;
  for (std::int64_t i = 0; i < 100; ++i) discrete += std::pow(5.0, 2 * grid.time(i)) * 0.01;
  const double se = std::sqrt(2.0 / 199'999);
  CHECK_THAT(moments.variance(), WithinAbs(discrete, 4 * discrete * se));
  CHECK_THAT(moments.variance(), WithinRel(process.marginal_std(1) * process.marginal_std(1), 0.03));
  CHECK_THAT(moments.mean, WithinAbs(3, 4 * std::sqrt(discrete / 200'000)));
}

TEST_CASE("the reverse drift is f - g^2 score", "[sde][process]") {
  const auto reverse = sde::reverse(Damped{}, [](const double& x, double t, double& out) { out = x + t; });
  double out = 0;
  reverse.drift(3.0, 0.5, out);
  CHECK_THAT(out, WithinAbs(-3 - 4 * 3.5, 1e-14));
  CHECK(reverse.diffusion(0.5) == 2);
  const auto brownian = sde::reverse(sde::BrownianMotion(3), [](const double& x, double, double& s) { s = x; });
  brownian.drift(2.0, 0.5, out);
  CHECK_THAT(out, WithinAbs(-18, 1e-14));

  int calls = 0;
  auto counting = [&calls](const double& x, double, double& s) mutable { ++calls, s = -x; };
  double x = 1;
  sde::integrate(sde::EulerMaruyama<double>{}, sde::reverse(sde::BrownianMotion(), std::ref(counting)), x,
                 sde::TimeGrid::uniform(1, 0.5, 7), sde::BrownianNoise{});
  CHECK(calls == 7);
}

TEST_CASE("the reverse equation with the exact score leads from the prior back to the data", "[sde][process]") {
  const double mean = 0.5, spread = 0.3;
  const sde::VarianceExploding process(5);
  const GaussianScore score{process, mean, spread};
  const std::int64_t n = 200'000, steps = 400;
  Tensor<float> x({n});
  sde::draw_normal(x, process.prior_std(), {3, easy_diffusion::streams::initial_state, 0});
  const auto grid = sde::TimeGrid::uniform(1, 1e-3, steps);
  sde::integrate(sde::EulerMaruyama<Tensor<float>>{}, sde::reverse(process, score), x, grid,
                 sde::BrownianNoise{.seed = 3});
  // Euler's own recursion for mean and variance, which is exact for a linear drift.
  double m = 0, v = process.prior_std() * process.prior_std();
  for (std::int64_t i = 0; i < steps; ++i) {
    const sde::Step step = grid.step(i);
    const double g2 = process.diffusion(step.t) * process.diffusion(step.t);
    const double std = process.marginal_std(step.t);
    const double k = g2 * -step.dt / (spread * spread + std * std);
    m += k * (mean - m);
    v = v * (1 - k) * (1 - k) + g2 * -step.dt;
  }
  const sde::Moments moments = sde::MomentsOf{}(x);
  CHECK_THAT(moments.mean, WithinAbs(m, 4 * std::sqrt(v / static_cast<double>(n))));
  CHECK_THAT(moments.variance(), WithinAbs(v, 4 * v * std::sqrt(2.0 / static_cast<double>(n - 1))));
  CHECK_THAT(m, WithinAbs(mean, 0.02));
  CHECK_THAT(std::sqrt(v), WithinAbs(spread, 0.02));
}
