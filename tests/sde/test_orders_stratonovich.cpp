/// Strong orders of the Stratonovich steppers, also where the Brownian motions do not commute; the way back of the
/// reversible one.

#include <array>
#include <algorithm>
#include <cmath>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

#include "sde/paths.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using namespace easy_diffusion::tests;
using sde::Calculus;
using sde::NoiseType;

namespace {

using Diagonal = HyperbolicSine<Calculus::stratonovich, NoiseType::diagonal>;
using Scalar = HyperbolicSine<Calculus::stratonovich, NoiseType::scalar>;

/// dx = dV, dy = x dW: the area that no increment of V and W knows. Ito and Stratonovich agree here.
template <Calculus which>
struct Area {
  using brownian_type = std::array<double, 2>;
  static constexpr NoiseType noise_type = NoiseType::general;
  static constexpr Calculus calculus = which;
  static constexpr bool zero_drift = true;
  template <sde::State S>
  void diffusion(const S& x, double, const brownian_type& dw, S& out) const {
    out[0] = dw[0];
    out[1] = x[0] * dw[1];
  }
};

/// General noise with one Brownian motion is scalar noise.
struct ScalarAsGeneral : Scalar {
  using brownian_type = double;
  static constexpr NoiseType noise_type = NoiseType::general;
  template <sde::State S>
  void diffusion(const S& x, double t, const double& dw, S& out) const {
    Scalar::diffusion(x, t, out);
    sde::for_each_element([dw](auto& e) { e *= dw; }, out);
  }
};

/// In one dimension all noise commutes: the states are an array and a tensor.
template <template <class> class Stepper>
void check_strong_general() {
  constexpr sde::StepperTraits traits = Stepper<double>::traits;
  using Noncommuting = Area<traits.calculus>;
  const double declared = traits.strong_order_general;
  check_order(strong_errors<Stepper<std::array<double, 2>>, Noncommuting>({}, 2, 6, 1500), declared);
  check_order(strong_errors<Stepper<Tensor<double>>, Noncommuting>(Tensor<double>({2}), 2, 6, 1500), declared);
}

template <template <class> class Stepper>
void check_declared() {
  constexpr sde::StepperTraits traits = Stepper<double>::traits;
  check_strong<Stepper, AdditiveNonlinear>(traits.strong_order_additive, 4, 8);
  check_strong<Stepper, Diagonal>(traits.strong_order);
  check_strong_scalar<Stepper, Scalar>(traits.strong_order, 2400);
  check_strong_general<Stepper>();
}

template <class Stepper, class System>
double after(double x) {
  sde::integrate(Stepper{}, System{}, x, sde::TimeGrid::uniform(0, 1, 50), sde::BrownianNoise{.seed = 3});
  return x;
}

}  // namespace

TEST_CASE("Heun's method has its strong orders", "[sde][order]") { check_declared<sde::StratonovichHeun>(); }

TEST_CASE("the midpoint method has its strong orders", "[sde][order]") { check_declared<sde::StratonovichMidpoint>(); }

TEST_CASE("the reversible Heun method has its strong orders", "[sde][order]") { check_declared<sde::ReversibleHeun>(); }

TEST_CASE("Euler-Maruyama has its order on noise that does not commute", "[sde][order]") {
  check_strong_general<sde::EulerMaruyama>();
}

TEST_CASE("general noise with one Brownian motion is scalar noise", "[sde]") {
  const auto same = []<class Stepper>(Stepper) {
    CHECK_THAT((after<Stepper, ScalarAsGeneral>(0.5)), WithinRel(after<Stepper, Scalar>(0.5), 1e-13));
  };
  same(sde::StratonovichHeun<double>{});
  same(sde::StratonovichMidpoint<double>{});
  same(sde::ReversibleHeun<double>{});
}

TEST_CASE("the reversible Heun method returns along its path", "[sde]") {
  using State = Tensor<double>;
  const State start({100}, 0.5);
  State x = start;
  sde::ReversibleHeun<State> stepper;
  const sde::BrownianNoise noise{.seed = 5};
  const auto grid = sde::TimeGrid::uniform(0, 1, 200);
  sde::integrate(stepper, Diagonal{}, x, grid, noise);
  const State end = x;
  for (std::int64_t i = grid.steps(); i-- > 0;) stepper.undo(Diagonal{}, x, grid.step(i), noise);
  easy_diffusion::test::Worst worst, moved;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    worst.see(std::abs(x[i] - start[i]));
    moved.see(std::abs(end[i] - start[i]));
  }
  CHECK(moved.value() > 0.5);
  CHECK(worst.value() < 1e-10);
  // And forward again from there, as a second integration.
  State again = start;
  sde::integrate(stepper, Diagonal{}, again, grid, noise);
  CHECK(std::equal(again.begin(), again.end(), end.begin()));
}
