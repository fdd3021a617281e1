// Samplers that draw noise: weak orders without Monte Carlo, marginals with it, and what they equal without noise.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/ddpm.hpp"
#include "easy_diffusion/diffusion/samplers/dpm2.hpp"
#include "easy_diffusion/diffusion/samplers/edm_stochastic.hpp"
#include "easy_diffusion/diffusion/samplers/euler.hpp"
#include "easy_diffusion/diffusion/samplers/euler_ancestral.hpp"
#include "easy_diffusion/diffusion/samplers/heun.hpp"
#include "easy_diffusion/diffusion/samplers/lms.hpp"
#include "easy_diffusion/diffusion/samplers/predictor_corrector.hpp"
#include "easy_diffusion/diffusion/samplers/reverse_stepper.hpp"
#include "easy_diffusion/diffusion/samplers/runge_kutta45.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/steppers/adams_bashforth.hpp"
#include "easy_diffusion/sde/steppers/dormand_prince.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"
#include "easy_diffusion/sde/steppers/exponential.hpp"
#include "easy_diffusion/sde/steppers/milstein.hpp"
#include "easy_diffusion/sde/steppers/platen.hpp"
#include "easy_diffusion/sde/steppers/reversible_heun.hpp"
#include "easy_diffusion/sde/steppers/stochastic_runge_kutta.hpp"
#include "easy_diffusion/sde/steppers/stratonovich.hpp"
#include "support/allocation_count.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using V = FlowState;
using EulerMaruyama = ReverseStepper<sde::EulerMaruyama<V>>;
using Sra1 = ReverseStepper<sde::StochasticRungeKuttaAdditive<V, sde::tableaus::Sra1>>;

V run(auto&& sampler, const NoiseLevels& levels, V x) {
  sample(sampler, order_mixture(), x, levels, sde::BrownianNoise{.seed = 3});
  return x;
}

/// Moments of samples that noise makes, at the picture.
Moments sampled_moments(auto&& sampler, const NoiseLevels& levels, const GaussianData& data, std::size_t samples) {
  V x(samples);
  sde::draw_normal(x, std::sqrt(data.variance(levels.front())), {1, streams::initial_state, 0});
  for (double& value : x) value += levels.front().alpha * data.mean;
  sample(sampler, data, x, levels, sde::BrownianNoise{.seed = 1});
  const auto n = static_cast<double>(samples);
  Moments result;
  for (const double value : x) result.mean += value / n;
  for (const double value : x) result.variance += (value - result.mean) * (value - result.mean) / n;
  return result;
}

}  // namespace

TEST_CASE("stochastic samplers have the weak order they declare", "[diffusion][samplers]") {
  EulerAncestral<V> ancestral;
  check_weak_order(ancestral);
  EulerAncestral<V> half({.eta = 0.5});
  check_weak_order(half);
  EdmStochastic<V> churned(exploding_path(), {.churn = 10});
  check_weak_order(churned);
  Dpm2<V> dpm2(exploding_path(), {.eta = 1});
  check_weak_order(dpm2);

  const Fit line = fit(weak_errors(dpm2, OrderGrid::karras));
  CHECK(line.shows(2));
  CHECK_FALSE(line.shows(1));
  // Noise of a wrong size leaves an error that no number of steps removes.
  EulerAncestral<V> loud({.noise_scale = 1.05});
  CHECK_FALSE(fit(weak_errors(loud, OrderGrid::karras)).shows(1));
}

TEST_CASE("steppers of stochastic equations keep their weak order as samplers", "[diffusion][samplers]") {
  const auto path = exploding_path();
  const auto exact = [&](auto sampler) { check_weak_order(sampler); };
  exact(EulerMaruyama(path));
  exact(ReverseStepper<sde::Milstein<V>>(path));
  exact(ReverseStepper<sde::MilsteinDerivativeFree<V>>(path));
  exact(ReverseStepper<sde::PlatenWeak2<V>>(path));
  exact(Sra1(path));
  exact(ReverseStepper<sde::StochasticRungeKuttaAdditive<V, sde::tableaus::Sra3>>(path));
  // These declare an order for any noise, or any drift, and do better here.
  const auto at_least = [&](auto sampler) {
    for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::log_snr}) {
      const Fit line = fit(weak_errors(sampler, grid));
      CHECK(line.slope > decltype(sampler)::traits.order - 0.15);
      CHECK(line.r2 > 0.98);
    }
  };
  const auto on_linear = [&](auto sampler) {
    for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::log_snr})
      check_order(weak_errors(sampler, grid), decltype(sampler)::traits.best_order);
  };
  on_linear(ReverseStepper<sde::StratonovichHeun<V>>(path));
  on_linear(ReverseStepper<sde::StratonovichMidpoint<V>>(path));
  at_least(ReverseStepper<sde::StratonovichHeun<V>>(path));
  at_least(ReverseStepper<sde::StratonovichMidpoint<V>>(path));
  at_least(ReverseStepper<sde::ReversibleHeun<V>>(path));
  at_least(ReverseStepper<sde::StochasticRungeKuttaDiagonal<V, sde::tableaus::Sri1W1>>(path));
  at_least(ReverseStepper<sde::StochasticRungeKuttaDiagonal<V, sde::tableaus::Sri2W1>>(path));
}

TEST_CASE("steppers of ordinary equations keep their order as samplers", "[diffusion][samplers]") {
  const auto path = exploding_path();
  const auto check = [](auto sampler) {
    for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::vp})
      check_order(flow_errors(sampler, grid), decltype(sampler)::traits.order);
  };
  check(ReverseStepper<sde::Euler<V>>(path));
  check(ReverseStepper<sde::Heun<V>>(path));
  check(ReverseStepper<sde::Midpoint<V>>(path));
  check(ReverseStepper<sde::RungeKutta4<V>>(path));
  check(ReverseStepper<sde::AdamsBashforth<V, 2>>(path));
  check(ReverseStepper<sde::AdamsBashforth<V, 3>>(path));
  check(ReverseStepper<sde::AdamsBashforth<V, 4>>(path));
  check(ReverseStepper<sde::ExponentialEuler<V>>(path));
  check(ReverseStepper<sde::ExponentialHeun<V>>(path));
}

TEST_CASE("steppers on the probability-flow equation are the samplers of their name", "[diffusion][samplers]") {
  const auto check = [](auto stepper, auto sampler) {
    for (const OrderGrid grid : order_grids) {
      const NoiseLevels levels = order_levels(grid, 30);
      const V a = run(stepper, levels, flow_start(levels.front()));
      const V b = run(sampler, levels, flow_start(levels.front()));
      for (std::size_t i = 0; i < a.size(); ++i) CHECK_THAT(a[i], WithinAbs(b[i], 1e-12));
    }
  };
  check(ReverseStepper<sde::Euler<V>>(exploding_path()), Euler<V>());
  check(ReverseStepper<sde::Heun<V>>(exploding_path()), Heun<V>());
}

TEST_CASE("without their noise stochastic samplers are deterministic ones, to the last bit", "[diffusion][samplers]") {
  for (const OrderGrid grid : order_grids)
    for (const std::int64_t n : {1, 2, 13, 50}) {
      const NoiseLevels levels = order_levels(grid, n);
      const V x = flow_start(levels.front());
      CHECK(run(EulerAncestral<V>({.eta = 0}), levels, x) == run(Euler<V>(), levels, x));
      CHECK(run(EdmStochastic<V>(exploding_path()), levels, x) == run(Heun<V>(), levels, x));
      CHECK(run(EdmStochastic<V>(exploding_path(), {.churn = 40, .lowest = 1e3}), levels, x) ==
            run(Heun<V>(), levels, x));
      CHECK(run(EdmStochastic<V>(exploding_path(), {.churn = 40, .highest = 1e-4}), levels, x) ==
            run(Heun<V>(), levels, x));
      if (n > 1) CHECK(run(EdmStochastic<V>(exploding_path(), {.churn = 40}), levels, x) != run(Heun<V>(), levels, x));
    }
}

TEST_CASE("Euler ancestral is DDIM, with the posterior's noise DDPM", "[diffusion][samplers]") {
  const NoiseLevels levels = noise_levels(Schedule::cosine(), 25);
  const V x = flow_start(levels.front());
  for (const double eta : {0.3, 1.0}) {
    const V a = run(EulerAncestral<V>({.eta = eta}), levels, x), b = run(Ddim<V>(eta), levels, x);
    for (std::size_t i = 0; i < x.size(); ++i) CHECK_THAT(a[i], WithinAbs(b[i], 1e-12));
  }
}

TEST_CASE("moments of samples are the data's, within Monte-Carlo error", "[diffusion][samplers]") {
  const GaussianData data;
  constexpr std::size_t samples = 4000;
  const double variance = data.deviation * data.deviation;
  const double mean_error = data.deviation / std::sqrt(static_cast<double>(samples));
  const double variance_error = variance * std::sqrt(2 / static_cast<double>(samples));
  const auto check = [&](const char* name, auto sampler, std::int64_t steps) {
    INFO(name);
    for (const NoiseLevels& levels :
         {karras_levels(10, 0.02, steps), noise_levels(Schedule::linear(), steps, {.spacing = Spacing::log_snr})}) {
      const Moments got = sampled_moments(sampler, levels, data, samples);
      CHECK_THAT(got.mean, WithinAbs(data.mean, 4 * mean_error));
      CHECK_THAT(got.variance, WithinAbs(variance, 4 * variance_error));
    }
  };
  const auto path = exploding_path();
  check("Euler ancestral", EulerAncestral<V>(), 400);
  check("DPM-2 ancestral", Dpm2<V>(path, {.eta = 1}), 100);
  check("EDM, little churn", EdmStochastic<V>(path, {.churn = 10}), 100);
  check("EDM, much churn", EdmStochastic<V>(path, {.churn = 80, .lowest = 0.05, .highest = 5}), 200);
  check("Euler-Maruyama", EulerMaruyama(path), 400);
  check("SRA1", Sra1(path), 100);
  check("corrected ancestral", PredictorCorrector<EulerAncestral<V>>(EulerAncestral<V>(), {.signal_to_noise = 0.1}),
        200);
  check("corrected Euler-Maruyama", PredictorCorrector<EulerMaruyama>(EulerMaruyama(path), {.signal_to_noise = 0.1}),
        200);
}

TEST_CASE("a corrector mends what a coarse predictor leaves wrong", "[diffusion][samplers]") {
  const GaussianData data;
  const double variance = data.deviation * data.deviation;
  const NoiseLevels levels = karras_levels(10, 0.02, 20);
  const double without = sampled_moments(EulerAncestral<V>(), levels, data, 4000).variance;
  PredictorCorrector<EulerAncestral<V>> corrected(EulerAncestral<V>(), {.signal_to_noise = 0.16, .corrections = 16});
  const double with = sampled_moments(corrected, levels, data, 4000).variance;
  CHECK(std::abs(with - variance) < 0.5 * std::abs(without - variance));
}

TEST_CASE("stochastic samplers make the evaluations they declare and end in finite numbers", "[diffusion][samplers]") {
  const auto check = [](auto sampler) { check_evaluations(sampler); };
  const auto path = schedule_path(Schedule::linear());
  check(EulerAncestral<V>());
  check(EulerAncestral<V>({.eta = 3}));
  check(Dpm2<V>(path, {.eta = 1}));
  check(Dpm2<V>(path, {.eta = 3}));
  check(EdmStochastic<V>(path, {.churn = 80}));
  check(PredictorCorrector<EulerAncestral<V>>(EulerAncestral<V>(), {.corrections = 2}));
  check(PredictorCorrector<Heun<V>>());
  for (const VarianceType variance : {VarianceType::fixed_small, VarianceType::fixed_large}) check(Ddpm<V>(variance));
  check(EulerMaruyama(path));
  check(Sra1(path));
  check(ReverseStepper<sde::StochasticRungeKuttaDiagonal<V, sde::tableaus::Sri1W1>>(path));
  check(ReverseStepper<sde::PlatenWeak2<V>>(path));
  check(ReverseStepper<sde::StratonovichHeun<V>>(path));
  check(ReverseStepper<sde::RungeKutta4<V>>(path));
  check(ReverseStepper<sde::DormandPrince5<V>>(path));
  check(ReverseStepper<sde::AdamsBashforth<V, 4>>(path));
  check(ReverseStepper<sde::ReversibleHeun<V>>(path));
}

TEST_CASE("stochastic samplers begin at pure noise, where they say so", "[diffusion][samplers]") {
  const auto zero_snr = Schedule::linear().with_zero_terminal_snr();
  for (const std::int64_t n : {1, 2, 13, 1000}) {
    const NoiseLevels levels = noise_levels(zero_snr, n);
    const auto check = [&](auto sampler) {
      V x = {-1.5, -0.3, 0.4, 1.2};
      const SampleResult result = sample(sampler, order_mixture(), x, levels, SomeNoise());
      CHECK(result.evaluations == sampler.evaluations(levels));
      for (const double value : x) CHECK(std::isfinite(value));
    };
    check(EulerAncestral<V>());
    check(Dpm2<V>(schedule_path(zero_snr), {.eta = 1}));
    check(EdmStochastic<V>(schedule_path(zero_snr), {.churn = 80}));
    check(PredictorCorrector<EulerAncestral<V>>());
    EulerMaruyama refused(exploding_path());
    CHECK_THROWS_AS(refused.start(levels), ValueError);
    PredictorCorrector<EulerMaruyama> refused_too(refused);
    CHECK_THROWS_AS(refused_too.start(levels), ValueError);
  }
}

TEST_CASE("a sample does not depend on the others of its batch", "[diffusion][samplers]") {
  using X = Tensor<float>;
  const GaussianMixture mixture({{1, {-1}, 0.3}, {2, {1}, 0.4}});
  const auto schedule = Schedule::linear();
  const NoiseLevels levels = noise_levels(schedule, 7);
  constexpr std::int64_t samples = 3;
  const Shape picture{1, 2, 2, 3};
  const auto check = [&](auto sampler) {
    using Sampler = decltype(sampler);
    X all(picture.with_front(samples));
    // Of very different size, so that norms and steps of the samples differ.
    for (std::int64_t i = 0; i < all.size(); ++i)
      all[i] = std::sin(static_cast<float>(i)) * std::pow(3.0F, static_cast<float>(i / 12));
    const X start = all;
    sample(sampler, mixture, all, levels, sde::BrownianNoise{.seed = 9});
    for (std::int64_t n = 0; n < samples; ++n) {
      X one(picture);
      std::copy_n(start.data() + 12 * n, 12, one.data());
      Sampler own = sampler;
      sample(own, mixture, one, levels,
             sde::BrownianNoise{.seed = 9, .first_element = static_cast<std::uint64_t>(12 * n)});
      for (std::int64_t i = 0; i < 12; ++i) {
        CHECK(std::isfinite(one[i]));
        CHECK(one[i] == all[12 * n + i]);
        CHECK(own.predicted_x0()[i] == sampler.predicted_x0()[12 * n + i]);
      }
    }
  };
  const auto path = schedule_path(schedule);
  check(RungeKutta45<X>(path));
  check(PredictorCorrector<EulerAncestral<X>>(EulerAncestral<X>(), {.corrections = 2}));
  check(EulerAncestral<X>());
  check(Dpm2<X>(path, {.eta = 1}));
  check(EdmStochastic<X>(path, {.churn = 3}));
  check(ReverseStepper<sde::StochasticRungeKuttaAdditive<X, sde::tableaus::Sra1>>(path));
  check(Lms<X>());
}

TEST_CASE("samplers allocate at their first steps only", "[diffusion][samplers]") {
  const auto schedule = Schedule::linear();
  const NoiseLevels levels = noise_levels(schedule, 30);
  const auto check = [&](const char* name, auto sampler) {
    INFO(name);
    const sde::BrownianNoise noise{.seed = 2};
    V x = flow_start(levels.front());
    sampler.start(levels);
    constexpr std::int64_t first = 5;  // a history of four fills
    for (std::int64_t i = 0; i < first; ++i) sampler.step(order_mixture(), x, levels, i, noise);
    const std::uint64_t before = allocations();
    for (std::int64_t i = first; i < levels.steps(); ++i) sampler.step(order_mixture(), x, levels, i, noise);
    const std::uint64_t made = allocations() - before;
    CHECK(made == 0);
  };
  const auto path = schedule_path(schedule);
  check("Euler", Euler<V>());
  check("Heun", Heun<V>());
  check("LMS", Lms<V>());
  check("Euler ancestral", EulerAncestral<V>());
  check("DPM-2", Dpm2<V>(path, {.eta = 1}));
  check("EDM", EdmStochastic<V>(path, {.churn = 3}));
  check("predictor-corrector", PredictorCorrector<EulerAncestral<V>>());
  check("Euler-Maruyama", EulerMaruyama(path));
  check("SRA1", Sra1(path));
  check("Adams-Bashforth", ReverseStepper<sde::AdamsBashforth<V, 4>>(path));
}

TEST_CASE("options of stochastic samplers out of range are refused", "[diffusion][samplers]") {
  const auto path = exploding_path();
  CHECK_THROWS_AS(EulerAncestral<V>({.eta = -0.1}), ValueError);
  CHECK_THROWS_AS(EulerAncestral<V>({.noise_scale = std::nan("")}), ValueError);
  CHECK_THROWS_AS(Dpm2<V>(path, {.eta = std::nan("")}), ValueError);
  CHECK_THROWS_AS(EdmStochastic<V>(path, {.churn = -1}), ValueError);
  CHECK_THROWS_AS(EdmStochastic<V>(path, {.lowest = 2, .highest = 1}), ValueError);
  CHECK_THROWS_AS(EdmStochastic<V>(path, {.noise_scale = -1}), ValueError);
  CHECK_THROWS_AS(EdmStochastic<V>(nullptr), ValueError);
  CHECK_THROWS_AS(EulerMaruyama(nullptr), ValueError);
  using Corrected = PredictorCorrector<EulerAncestral<V>>;
  CHECK_THROWS_AS(Corrected(EulerAncestral<V>(), {.signal_to_noise = 0}), ValueError);
  CHECK_THROWS_AS(Corrected(EulerAncestral<V>(), {.corrections = 0}), ValueError);
  CHECK_THROWS_AS(Corrected(EulerAncestral<V>(), {.corrections = 256}), ValueError);

  const NoiseLevels up = order_levels(OrderGrid::karras, 4).reversed();
  CHECK_THROWS_AS(EulerAncestral<V>().start(up), ValueError);
  CHECK_THROWS_AS(Dpm2<V>(path, {.eta = 1}).start(up), ValueError);
  CHECK_THROWS_AS(EdmStochastic<V>(path).start(up), ValueError);
}
