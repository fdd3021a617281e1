/// \file
/// Heun's method and the midpoint method for Stratonovich equations.
#pragma once

#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/detail/increments.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Heun's method for the Stratonovich equation \cite kloeden_1992_numerical (section 11.1) \cite burrage_2004_numerical: the
/// mean of drift and noise at both ends of an Euler step. Strong order 1 where the Brownian motions commute (additive,
/// diagonal, scalar noise), 1/2 where they do not.
template <State S>
class StratonovichHeun {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .strong_order_general = 0.5,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::stratonovich,
                                        .noise_types = {true, true, true, true},
                                        .drift_evaluations = 2,
                                        .diffusion_evaluations = 2,
                                        .weak_order_linear = 2.0};
  static constexpr double error_order = 0.5;  ///< of the Euler step that is compared with

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<StratonovichHeun, System>();
    evaluate(system, x, step, noise);
    const double h = 0.5 * step.dt;
    detail::add_combination(x, {h, 0.5, h, 0.5}, drift_, shake_, drift_end_, shake_end_);
  }

  /// Tries a step from `x`, which it leaves as it is.
  /// \param[out] next  x(t + dt)
  /// \param[out] error its difference from the Euler step, element by element
  template <class System, class Noise>
  void attempt(const System& system, const S& x, const Step& step, Noise&& noise, S& next, S& error) {
    expect_fit<StratonovichHeun, System>();
    evaluate(system, x, step, noise);
    const double h = 0.5 * step.dt;
    make_room(next, x);
    make_room(error, x);
    detail::combine(next, x, {h, 0.5, h, 0.5}, drift_, shake_, drift_end_, shake_end_);
    fill(error, 0);
    detail::add_combination(error, {h, -h, 0.5, -0.5}, drift_end_, drift_, shake_end_, shake_);
  }

 private:
  template <class System, class Noise>
  void evaluate(const System& system, const S& x, const Step& step, Noise& noise) {
    for (S* const s : {&drift_, &drift_end_, &shake_, &shake_end_, &work_}) make_room(*s, x);
    detail::drift_or_zero(system, x, step.t, drift_);
    detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
      detail::diffusion_times(system, x, step.t, dw, shake_);
      detail::combine(work_, x, {step.dt, 1.0}, drift_, shake_);
      detail::drift_or_zero(system, work_, step.t + step.dt, drift_end_);
      detail::diffusion_times(system, work_, step.t + step.dt, dw, shake_end_);
    });
  }

  S drift_{}, drift_end_{}, shake_{}, shake_end_{}, work_{}, dw_{};
};

/// The midpoint method for the Stratonovich equation \cite burrage_2004_numerical: drift and noise in the middle of an Euler
/// step. Strong orders as `StratonovichHeun`.
template <State S>
class StratonovichMidpoint {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .strong_order_general = 0.5,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::stratonovich,
                                        .noise_types = {true, true, true, true},
                                        .drift_evaluations = 2,
                                        .diffusion_evaluations = 2,
                                        .weak_order_linear = 2.0};

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<StratonovichMidpoint, System>();
    for (S* const s : {&drift_, &shake_, &work_}) make_room(*s, x);
    const double middle = step.t + 0.5 * step.dt;
    detail::drift_or_zero(system, x, step.t, drift_);
    detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
      detail::diffusion_times(system, x, step.t, dw, shake_);
      detail::combine(work_, x, {0.5 * step.dt, 0.5}, drift_, shake_);
      detail::drift_or_zero(system, work_, middle, drift_);
      detail::diffusion_times(system, work_, middle, dw, shake_);
    });
    detail::add_combination(x, {step.dt, 1.0}, drift_, shake_);
  }

 private:
  S drift_{}, shake_{}, work_{}, dw_{};
};

}  // namespace easy_diffusion::sde
