/// Strong orders of the stochastic Runge-Kutta methods.

#include <array>
#include <cmath>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/paths.hpp"

namespace sde = easy_diffusion::sde;
using namespace easy_diffusion::tests;
using sde::Calculus;
using sde::NoiseType;

namespace {

using Diagonal = HyperbolicSine<Calculus::ito, NoiseType::diagonal>;
using Scalar = HyperbolicSine<Calculus::ito, NoiseType::scalar>;

/// SRA1 that forgets the space-time integral.
template <class S>
struct Deaf : sde::Sra1<S> {
  template <class System, class Noise>
  void step(const System& system, S& x, const sde::Step& step, Noise& noise) {
    const Half<Noise> half{noise};
    sde::Sra1<S>::step(system, x, step, half);
  }

 private:
  template <class Noise>
  struct Half {
    Noise& noise;
    void increment(const sde::Step& step, S& dw, S& dz) const {
      noise.increment(step, dw);
      sde::for_each_element([&step](auto& z, const auto& w) { z = 0.5 * step.dt * w; }, dz, dw);
    }
  };
};

}  // namespace

TEST_CASE("SRA methods have their strong order", "[sde][order]") {
  check_strong<sde::Sra1, AdditiveNonlinear>(sde::Sra1<double>::traits.strong_order_additive, 4, 8);
  check_strong<sde::Sra3, AdditiveNonlinear>(sde::Sra3<double>::traits.strong_order_additive, 4, 8);
}

TEST_CASE("SRI methods have their strong order", "[sde][order]") {
  const auto check = []<template <class> class Stepper>() {
    constexpr sde::StepperTraits traits = Stepper<double>::traits;
    check_strong<Stepper, Diagonal>(traits.strong_order);
    check_strong_scalar<Stepper, Scalar>(traits.strong_order);
    check_strong<Stepper, AdditiveNonlinear>(traits.strong_order_additive, 4, 8);
  };
  check.operator()<sde::Sri1W1>();
  check.operator()<sde::Sri2W1>();
}

TEST_CASE("without the space-time integral the order is lost, and that is seen", "[sde][order]") {
  using State = std::vector<double>;
  CHECK_FALSE(fit(strong_errors<Deaf<State>, AdditiveNonlinear>(State(2000), 4, 8)).shows(1.5));
}
