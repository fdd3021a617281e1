/// \file
/// Exponential steppers for x' = a(t) x + b(x, t): the linear part is integrated exactly, however stiff it is.
#pragma once

#include <cmath>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

namespace detail {

/// e^z, (e^z - 1) / z and (e^z - 1 - z) / z^2, without loss of digits near zero.
struct ExponentialWeights {
  double e, phi1, phi2;
};

inline ExponentialWeights exponential_weights(double z) {
  const double m = std::expm1(z);
  if (std::abs(z) > 0.05) return {m + 1, m / z, (m - z) / (z * z)};
  // Series of 1/1! + z/2! + ... and 1/2! + z/3! + ...; the first term left out is below 1e-17.
  const double phi2 =
      0.5 + z * (1.0 / 6 + z * (1.0 / 24 + z * (1.0 / 120 + z * (1.0 / 720 + z * (1.0 / 5040 + z * (1.0 / 40320 + z / 362880))))));
  return {m + 1, 1 + z * phi2, phi2};
}

/// Integral of a(t) over a step: the system's own, or the step times a in its middle, which keeps order 2.
template <class System>
double linear_integral(const System& system, const Step& step) {
  if constexpr (requires { system.linear_integral(step.t, step.t); }) {
    return system.linear_integral(step.t, step.t + step.dt);
  } else {
    return step.dt * system.linear_drift(step.t + 0.5 * step.dt);
  }
}

struct ScaleAndAdd {
  double e, h;
  template <class T>
  void operator()(T& x, const T& b) const {
    const T grown = static_cast<T>(e) * x;
    x = static_cast<T>(h) * b + grown;
  }
};

}  // namespace detail

/// The exponential Euler method \cite hochbruck_2010_exponential: order 1, one evaluation of b a step; exact where b is
/// constant and a too.
template <State S>
class ExponentialEuler {
 public:
  using state_type = S;
  static constexpr OdeTraits traits{.order = 1, .evaluations = 1, .semilinear = true};

  /// \throw whatever the system throws; `x` is untouched then
  template <class System>
  void step(const System& system, S& x, const Step& step) {
    expect_ode_fit<ExponentialEuler, System>();
    make_room(b_, x);
    system.nonlinear_drift(x, step.t, b_);
    const auto w = detail::exponential_weights(detail::linear_integral(system, step));
    update_elements(detail::ScaleAndAdd{w.e, w.phi1 * step.dt}, x, b_);
  }

 private:
  S b_{};
};

/// The exponential Heun method, ETD2RK of \cite cox_2002_exponential: order 2, two evaluations of b a step; exact where b
/// is linear in time and a is constant.
template <State S>
class ExponentialHeun {
 public:
  using state_type = S;
  static constexpr OdeTraits traits{.order = 2, .evaluations = 2, .semilinear = true};

  /// \throw whatever the system throws
  template <class System>
  void step(const System& system, S& x, const Step& step) {
    expect_ode_fit<ExponentialHeun, System>();
    make_room(b_, x);
    make_room(end_, x);
    system.nonlinear_drift(x, step.t, b_);
    const auto w = detail::exponential_weights(detail::linear_integral(system, step));
    update_elements(detail::ScaleAndAdd{w.e, w.phi1 * step.dt}, x, b_);
    system.nonlinear_drift(x, step.t + step.dt, end_);
    const double h = w.phi2 * step.dt;
    detail::add_combination(x, {h, -h}, end_, b_);
  }

 private:
  S b_{}, end_{};
};

}  // namespace easy_diffusion::sde
