// Samplers of the probability-flow equation: measured orders, evaluations, ends, both directions, starting anew.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/dpm2.hpp"
#include "easy_diffusion/diffusion/samplers/euler.hpp"
#include "easy_diffusion/diffusion/samplers/heun.hpp"
#include "easy_diffusion/diffusion/samplers/lms.hpp"
#include "easy_diffusion/diffusion/samplers/runge_kutta45.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using V = FlowState;

/// Heun's method with another weight of the second evaluation.
class BrokenHeun : public Heun<V> {
 public:
  template <class D, class Noise>
  void step(const D& denoiser, V& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    V euler = x;
    euler_.step(denoiser, euler, levels, i, noise);
    Heun<V>::step(denoiser, x, levels, i, noise);
    for (std::size_t k = 0; k < x.size(); ++k) x[k] = 0.95 * x[k] + 0.05 * euler[k];
  }

 private:
  Euler<V> euler_;
};

V run(auto&& sampler, const NoiseLevels& levels, V x) {
  sample(sampler, order_mixture(), x, levels, NoNoise());
  return x;
}

double largest_difference(const V& a, const V& b) {
  test::Worst most;
  for (std::size_t i = 0; i < a.size(); ++i) most.see(std::abs(a[i] - b.at(i)));
  return most.value();
}

/// f(sampler) for each sampler of this file that walks fixed steps.
template <class F>
void for_each_sampler(F&& f) {
  f(Euler<V>());
  f(Heun<V>());
  f(Dpm2<V>(exploding_path()));
  f(Lms<V, 1>());
  f(Lms<V, 2>());
  f(Lms<V, 3>());
  f(Lms<V, 4>());
}

/// Errors of LMS with a past that the exact solution gives.
template <int order>
std::vector<ErrorAt> errors_with_exact_past(OrderGrid grid) {
  std::vector<ErrorAt> errors;
  for (const std::int64_t n : {128, 192, 256, 384, 512, 768, 1024}) {
    // The first steps of the run are the past.
    const NoiseLevels all = order_levels(grid, n);
    const NoiseLevels rest(std::vector<NoiseLevel>(all.all().begin() + order - 1, all.all().end()));
    Lms<V, order> lms;
    lms.start(rest);
    const auto solution = [&](const NoiseLevel& level) {
      return level == all.front() ? flow_start(level) : flow_solution(all.front(), level);
    };
    for (std::int64_t i = 0; i + 1 < order; ++i) {
      const V x = solution(all[i]);
      V x0 = x;
      order_mixture()(x, all[i], x0);
      lms.remember(all[i], x, x0);
    }
    V x = solution(rest.front());
    NoNoise none;
    for (std::int64_t i = 0; i < rest.steps(); ++i) lms.step(order_mixture(), x, rest, i, none);
    errors.push_back({1 / static_cast<double>(n), largest_difference(x, flow_solution(grid)), 0});
  }
  return errors;
}

}  // namespace

TEST_CASE("samplers of the probability-flow equation have the order they declare", "[diffusion][samplers]") {
  Euler<V> euler;
  check_flow_order(euler);
  Heun<V> heun;
  check_flow_order(heun);
  Dpm2<V> dpm2(exploding_path());
  check_flow_order(dpm2);
  Lms<V, 1> lms1;
  check_flow_order(lms1);
  Lms<V, 2> lms2;
  check_flow_order(lms2);
}

TEST_CASE("LMS of order 3 and 4 has that order from an exact past, and 2 from its own start", "[diffusion][samplers]") {
  for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::vp}) {
    check_order(errors_with_exact_past<3>(grid), 3);
    check_order(errors_with_exact_past<4>(grid), 4);
  }
  // From a level of little noise the error of the first step outweighs the others'.
  const auto errors = [](auto lms) {
    std::vector<ErrorAt> result;
    const V exact = flow_solution(exploding_level(1), exploding_level(0.02));
    for (const std::int64_t n : {64, 96, 128, 192, 256, 384, 512, 768, 1024}) {
      const NoiseLevels levels = karras_levels(1, 0.02, n, 7, End::smallest);
      const V x = run(lms, levels, flow_start(levels.front()));
      result.push_back({1 / static_cast<double>(n), largest_difference(x, exact), 0});
    }
    return result;
  };
  check_order(errors(Lms<V, 3>()), Lms<V, 3>::traits.order);
  check_order(errors(Lms<V, 4>()), Lms<V, 4>::traits.order);
  // Above, where it matters less, each order is better than the one before.
  const NoiseLevels levels = order_levels(OrderGrid::karras, 64);
  const auto error = [&](auto lms) {
    return largest_difference(run(lms, levels, flow_start(levels.front())), flow_solution(OrderGrid::karras));
  };
  CHECK(error(Lms<V, 2>()) < error(Lms<V, 1>()) / 5);
  CHECK(error(Lms<V, 3>()) < error(Lms<V, 2>()) / 3);
  CHECK(error(Lms<V, 4>()) < error(Lms<V, 3>()) / 3);
}

TEST_CASE("a wrong order is noticed", "[diffusion][samplers]") {
  Heun<V> heun;
  const Fit right = fit(flow_errors(heun, OrderGrid::karras));
  CHECK(right.shows(2));
  CHECK_FALSE(right.shows(1));
  CHECK_FALSE(right.shows(3));
  BrokenHeun broken;
  CHECK_FALSE(fit(flow_errors(broken, OrderGrid::karras)).shows(BrokenHeun::traits.order));
}

TEST_CASE("the error of RK45 is as large as its tolerance", "[diffusion][samplers]") {
  for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::vp}) {
    std::vector<ErrorAt> errors;
    std::int64_t evaluations = 0;
    for (const double tolerance : {1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10}) {
      RungeKutta45<V> rk45(exploding_path(), {.tolerances = {tolerance, tolerance}});
      const NoiseLevels levels = order_levels(grid, 2);
      V x = flow_start(levels.front());
      const SampleResult result = sample(rk45, order_mixture(), x, levels, NoNoise());
      CHECK(result.evaluations > evaluations);
      evaluations = result.evaluations;
      errors.push_back({tolerance, largest_difference(x, flow_solution(grid)), 0});
      CHECK(errors.back().mean < 10 * tolerance);
    }
    check_order(errors, 1);
    CHECK(evaluations < 1500);
  }
}

TEST_CASE("as many evaluations as declared, and finite numbers, for 1 to 1000 steps", "[diffusion][samplers]") {
  for_each_sampler([](auto sampler) { check_evaluations(sampler); });
}

TEST_CASE("RK45 has its order where tolerances let every step be as long as a level", "[diffusion][samplers]") {
  RungeKutta45<V> rk45(exploding_path(), {.tolerances = {1e9, 1e9}, .first_step = 1e3});
  for (const OrderGrid grid : {OrderGrid::karras, OrderGrid::log_snr}) {
    const NoiseLevels levels = order_levels(grid, 32);
    V x = flow_start(levels.front());
    REQUIRE(sample(rk45, order_mixture(), x, levels, NoNoise()).evaluations == 7 * 32);
    check_order(flow_errors(rk45, grid, {96, 128, 192, 256, 384}), RungeKutta45<V>::traits.order);
  }
}

TEST_CASE("RK45 makes at least the evaluations it declares", "[diffusion][samplers]") {
  const auto schedule = Schedule::linear();
  RungeKutta45<V> rk45(schedule_path(schedule), {.tolerances = {1e-3, 1e-3}});
  for (const std::int64_t n : {1, 2, 13, 300, 600, 999, 1000}) {
    const NoiseLevels levels = noise_levels(schedule, n);
    V x = flow_start(levels.front());
    const SampleResult result = sample(rk45, order_mixture(), x, levels, NoNoise());
    CHECK(result.evaluations >= rk45.evaluations(levels));
    if (n >= 600) CHECK(result.evaluations == rk45.evaluations(levels));  // one step between two levels suffices
    for (const double value : x) CHECK(std::isfinite(value));
  }
}

TEST_CASE("Heun makes 2 N - 1 evaluations to the picture and 2 N to a level with noise", "[diffusion][samplers]") {
  CHECK(Heun<V>().evaluations(karras_levels(10, 0.02, 18)) == 35);
  CHECK(Heun<V>().evaluations(karras_levels(10, 0.02, 18, 7, End::smallest)) == 36);
  CHECK(Heun<V>().evaluations(karras_levels(10, 0.02, 1)) == 1);
  CHECK(Dpm2<V>(exploding_path()).evaluations(karras_levels(10, 0.02, 18)) == 35);
  // From pure noise the first step is of order 1 too.
  CHECK(Heun<V>().evaluations(flow_levels(18)) == 34);
  CHECK(Heun<V>().evaluations(flow_levels(1)) == 1);
}

TEST_CASE("Euler is DDIM without noise", "[diffusion][samplers]") {
  for (const OrderGrid grid : order_grids) {
    const NoiseLevels levels = order_levels(grid, 20);
    const V x = flow_start(levels.front());
    CHECK(run(Euler<V>(), levels, x) == run(Ddim<V>(0), levels, x));
    CHECK(largest_difference(run(Euler<V>(), levels, x), run(Lms<V, 1>(), levels, x)) == 0);
  }
}

TEST_CASE("the last step to a clean state is the predicted picture", "[diffusion][samplers]") {
  const auto check = [](auto sampler) {
    const NoiseLevels levels = karras_levels(10, 0.02, 6);
    const V x = run(sampler, levels, flow_start(levels.front()));
    CHECK(x == sampler.predicted_x0());
  };
  for_each_sampler(check);
  check(RungeKutta45<V>(exploding_path()));
}

TEST_CASE("a run from pure noise begins with a step of first order, or is refused", "[diffusion][samplers]") {
  const auto zero_snr = Schedule::linear().with_zero_terminal_snr();
  for (const std::int64_t n : {1, 2, 13, 1000}) {
    for (const NoiseLevels& levels : {noise_levels(zero_snr, n), flow_levels(n)}) {
      for_each_sampler([&](auto sampler) {
        V x = {-1.5, -0.3, 0.4, 1.2};
        const SampleResult result = sample(sampler, order_mixture(), x, levels, NoNoise());
        CHECK(result.evaluations == sampler.evaluations(levels));
        for (const double value : x) CHECK(std::isfinite(value));
      });
      RungeKutta45<V> rk45(flow_path());
      CHECK_THROWS_AS(rk45.start(levels), ValueError);
    }
  }
}

TEST_CASE("from picture to noise and back", "[diffusion][samplers]") {
  const NoiseLevels down = order_levels(OrderGrid::vp_karras, 400);
  const NoiseLevels up = down.reversed();
  const V x = {-1.2, -0.6, 0.5, 1.1};
  const auto check = [&](auto sampler, double tolerance) {
    const V noise = run(sampler, up, x);
    CHECK(largest_difference(noise, x) > 0.1);
    CHECK(largest_difference(run(sampler, down, noise), x) < tolerance);
  };
  check(Euler<V>(), 2e-2);
  check(Heun<V>(), 2e-3);
  check(Dpm2<V>(exploding_path()), 2e-3);
  check(Lms<V, 4>(), 2e-3);
  check(RungeKutta45<V>(exploding_path(), {.tolerances = {1e-9, 1e-9}}), 1e-6);
  // Up to pure noise too.
  std::vector<NoiseLevel> flow = flow_levels(20).all();
  flow.pop_back();
  const NoiseLevels to_noise = NoiseLevels(flow).reversed();
  for_each_sampler([&](auto sampler) {
    for (const double value : run(sampler, to_noise, x)) CHECK(std::isfinite(value));
  });
  CHECK_THROWS_AS(run(Heun<V>(), flow_levels(20).reversed(), x), ValueError);  // a clean state has no direction
}

TEST_CASE("a run that starts anew amid the levels has no past", "[diffusion][samplers]") {
  const NoiseLevels levels = order_levels(OrderGrid::karras, 12);
  NoNoise none;
  for_each_sampler([&](auto sampler) {
    auto fresh = sampler;
    V x = flow_start(levels.front());
    sampler.start(levels);
    for (std::int64_t i = 0; i < 6; ++i) sampler.step(order_mixture(), x, levels, i, none);
    // Three steps back, as inpainting goes: after a start, and without.
    for (const bool starts : {true, false}) {
      V again = flow_start(levels[3]), expected = again;
      if (starts) sampler.start(levels);
      fresh.start(levels);
      for (std::int64_t i = 3; i < 6; ++i) {
        sampler.step(order_mixture(), again, levels, i, none);
        fresh.step(order_mixture(), expected, levels, i, none);
      }
      CHECK(again == expected);
    }
  });
}

TEST_CASE("evaluations between levels have the time that the schedule has there", "[diffusion][samplers]") {
  const auto schedule = Schedule::cosine();
  const NoiseLevels levels = noise_levels(schedule, 10);
  std::int64_t between = 0;
  const auto checked = [&](const V& x, const NoiseLevel& level, V& x0) {
    const NoiseLevel right = schedule.level_with_noise(level.noise_to_signal());
    CHECK_THAT(level.time, WithinAbs(right.time, 1e-6));
    CHECK_THAT(level.alpha, WithinAbs(right.alpha, 1e-12));
    between += std::count(levels.all().begin(), levels.all().end(), level) == 0 ? 1 : 0;
    order_mixture()(x, level, x0);
  };
  const auto check = [&](auto sampler) {
    between = 0;
    V x = flow_start(levels.front());
    sample(sampler, checked, x, levels, NoNoise());
    CHECK(between > 0);
  };
  check(Dpm2<V>(schedule_path(schedule)));
  check(RungeKutta45<V>(schedule_path(schedule)));
  CHECK_THROWS_AS(Dpm2<V>(nullptr), ValueError);
  CHECK_THROWS_AS(RungeKutta45<V>(nullptr), ValueError);
  CHECK_THROWS_AS((RungeKutta45<V>(exploding_path(), {.tolerances = {0, 1e-5}})), ValueError);
}
