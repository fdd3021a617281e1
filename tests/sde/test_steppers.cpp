/// What all steppers share: nothing is allocated after the first step, a mean step has no noise, additive noise makes
/// Milstein's method Euler's.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "support/allocation_count.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::tests::allocations;

namespace {

/// dx = -x dt + (1 + x/4) dW, in either calculus.
template <sde::Calculus which, sde::NoiseType type = sde::NoiseType::diagonal>
struct Relaxing {
  static constexpr sde::NoiseType noise_type = type;
  static constexpr sde::Calculus calculus = which;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& f) { f = -e; }, x, out);
  }
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    using T = sde::scalar_t<S>;
    sde::update_elements([](const auto& e, auto& g) { g = T(1) + T(0.25) * e; }, x, out);
  }
  template <sde::State S>
  void diffusion_slope(const S& x, double, S& out) const {
    using T = sde::scalar_t<S>;
    sde::update_elements([](const auto& e, auto& g) { g = T(0.25) * (T(1) + T(0.25) * e); }, x, out);
  }
};

struct LinearScore {
  template <sde::State S>
  void operator()(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& s) { s = -e; }, x, out);
  }
};

const auto flow = sde::probability_flow(sde::VariancePreserving<>(), LinearScore{});
const auto reversed = sde::reverse(sde::VariancePreserving<>(), LinearScore{});

template <class Stepper, class S>
std::uint64_t ode_run(S x) {
  sde::fill(x, 0.5);
  Stepper stepper;
  sde::integrate(stepper, flow, x, sde::TimeGrid::uniform(1, 0.5, 5));
  const std::uint64_t before = allocations();
  sde::integrate(stepper, flow, x, sde::TimeGrid::uniform(1, 0.1, 20));
  return allocations() - before;
}

template <class Stepper, class S>
std::uint64_t sde_run(S x) {
  sde::fill(x, 0.5);
  Stepper stepper;
  const sde::BrownianNoise noise{.seed = 1};
  const auto run = [&](std::int64_t steps) {
    sde::integrate(stepper, reversed, x, sde::TimeGrid::uniform(1, 0.1, steps), noise, {.mean_of_last_step = true});
    if constexpr (Stepper::traits.noise_types.diagonal)
      sde::integrate(stepper, Relaxing<Stepper::traits.calculus>{}, x, sde::TimeGrid::uniform(0, 1, steps), noise);
    if constexpr (Stepper::traits.noise_types.scalar)
      sde::integrate(stepper, Relaxing<Stepper::traits.calculus, sde::NoiseType::scalar>{}, x,
                     sde::TimeGrid::uniform(0, 1, steps), noise);
  };
  run(2);
  const std::uint64_t before = allocations();
  run(20);
  return allocations() - before;
}

template <class S>
std::uint64_t all_steppers(const S& x) {
  return ode_run<sde::Euler<S>>(x) + ode_run<sde::Heun<S>>(x) + ode_run<sde::Midpoint<S>>(x) +
         ode_run<sde::RungeKutta4<S>>(x) + ode_run<sde::DormandPrince5<S>>(x) + ode_run<sde::AdamsBashforth<S, 2>>(x) +
         ode_run<sde::AdamsBashforth<S, 3>>(x) + ode_run<sde::AdamsBashforth<S, 4>>(x) + ode_run<sde::ExponentialEuler<S>>(x) +
         ode_run<sde::ExponentialHeun<S>>(x) + sde_run<sde::EulerMaruyama<S>>(x) + sde_run<sde::Milstein<S>>(x) +
         sde_run<sde::MilsteinDerivativeFree<S>>(x) + sde_run<sde::StratonovichHeun<S>>(x) +
         sde_run<sde::StratonovichMidpoint<S>>(x) + sde_run<sde::ReversibleHeun<S>>(x) + sde_run<sde::PlatenWeak2<S>>(x) +
         sde_run<sde::Sra1<S>>(x) + sde_run<sde::Sra3<S>>(x) + sde_run<sde::Sri1W1<S>>(x) + sde_run<sde::Sri2W1<S>>(x);
}

template <class Stepper>
double mean_step(double x) {
  Stepper stepper;
  sde::integrate(stepper, Relaxing<Stepper::traits.calculus>{}, x, sde::TimeGrid::uniform(0, 0.001, 1),
                 sde::BrownianNoise{}, {.mean_of_last_step = true});
  return x;
}

}  // namespace

TEST_CASE("no stepper allocates after its first step, on any state", "[sde][steppers]") {
  const std::uint64_t before = allocations();
  ::operator delete(::operator new(100));
  REQUIRE(allocations() > before);
  CHECK(all_steppers(0.0) == 0);
  CHECK(all_steppers(std::array<double, 4>{}) == 0);
  CHECK(all_steppers(std::vector<double>(5)) == 0);
  CHECK(all_steppers(Eigen::ArrayXf(Eigen::ArrayXf::Zero(100))) == 0);
  CHECK(all_steppers(Tensor<float>({100})) == 0);
}

TEST_CASE("Milstein's method with additive noise is Euler-Maruyama to the last bit", "[sde][steppers][identity]") {
  const auto run = [](auto stepper) {
    Tensor<float> x({1000}, 0.75F);
    sde::integrate(stepper, reversed, x, sde::TimeGrid::uniform(1, 1e-3, 100), sde::BrownianNoise{.seed = 8});
    return x;
  };
  const auto euler = run(sde::EulerMaruyama<Tensor<float>>{});
  const auto milstein = run(sde::Milstein<Tensor<float>>{});
  const auto free = run(sde::MilsteinDerivativeFree<Tensor<float>>{});
  CHECK(std::equal(euler.begin(), euler.end(), milstein.begin()));
  CHECK(std::equal(euler.begin(), euler.end(), free.begin()));
}

TEST_CASE("a mean step is the drift alone", "[sde][steppers]") {
  CHECK_THAT(mean_step<sde::EulerMaruyama<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::Milstein<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::MilsteinDerivativeFree<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::PlatenWeak2<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::Sri1W1<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::Sri2W1<double>>(2), WithinAbs(1.998, 2e-6));
  CHECK_THAT(mean_step<sde::StratonovichHeun<double>>(2), WithinAbs(1.998, 2e-6));
}

TEST_CASE("steps in falling time have the law of steps in rising time", "[sde][steppers]") {
  // dx = -f dt + g dW for dt > 0 is dx = f dt + g dW for dt < 0: one increment gives one result.
  const auto check = []<class Stepper>(Stepper forward) {
    struct Backward : Relaxing<Stepper::traits.calculus> {
      void drift(const double& x, double, double& out) const { out = x; }
    };
    Stepper backward;
    double x = 0.7, y = 0.7;
    const sde::BrownianNoise noise{.seed = 5};
    sde::integrate(forward, Relaxing<Stepper::traits.calculus>{}, x, sde::TimeGrid::uniform(0, 1, 10), noise);
    sde::integrate(backward, Backward{}, y, sde::TimeGrid::uniform(0, -1, 10), noise);
    CHECK_THAT(x, WithinRel(y, 1e-13));
  };
  check(sde::EulerMaruyama<double>{});
  check(sde::Milstein<double>{});
  check(sde::MilsteinDerivativeFree<double>{});
  check(sde::PlatenWeak2<double>{});
  check(sde::Sri1W1<double>{});
  check(sde::Sri2W1<double>{});
  check(sde::StratonovichHeun<double>{});
  check(sde::StratonovichMidpoint<double>{});
  check(sde::ReversibleHeun<double>{});
}
