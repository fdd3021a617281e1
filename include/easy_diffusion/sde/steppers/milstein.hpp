/// \file
/// The Milstein method, with the derivative of the noise and without.
#pragma once

#include <cmath>
#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/detail/increments.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"

namespace easy_diffusion::sde {

/// A system that knows how its noise changes along itself.
/// | expression                           | meaning                                                                 |
/// |--------------------------------------|-------------------------------------------------------------------------|
/// | `system.diffusion_slope(x, t, out)`  | writes the derivative of g along g: diagonal noise g_i dg_i/dx_i, scalar noise sum_j g_j dg_i/dx_j |
template <class System, class S>
concept HasDiffusionSlope = State<S> && requires(const System& system, const S& x, double t, S& out) {
  system.diffusion_slope(x, t, out);
};

namespace detail {

struct AddMilstein {
  double dt;
  template <class T>
  void operator()(T& e, const T& w, const T& f, const T& g, const T& slope) const {
    const T h = static_cast<T>(std::abs(dt));
    const T moved = multiply_add(static_cast<T>(dt), f, e);
    const T shaken = multiply_add(g, w, moved);
    const T area = static_cast<T>(0.5) * multiply_add(w, w, -h);
    e = multiply_add(slope, area, shaken);
  }
};

}  // namespace detail

/// x <- x + f dt + g dW + (dg/dx g) (dW^2 - |dt|) / 2 \cite milstein_1975_approximate for the Ito equation; the system
/// gives `diffusion_slope` where its noise is not additive. Strong order 1 on additive, diagonal and scalar noise; with
/// additive noise it is Euler-Maruyama to the last bit.
template <State S>
class Milstein {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::ito,
                                        .noise_types = {.additive = true, .diagonal = true, .scalar = true},
                                        .drift_evaluations = 1,
                                        .diffusion_evaluations = 1};

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<Milstein, System>();
    if constexpr (System::noise_type == NoiseType::additive || is_no_noise<Noise>) {
      euler_.step(system, x, step, noise);
    } else {
      static_assert(HasDiffusionSlope<System, S>,
                    "Milstein: the system has no diffusion_slope(x, t, out) const; MilsteinDerivativeFree needs none");
      make_room(drift_, x);
      make_room(diffusion_, x);
      make_room(slope_, x);
      detail::drift_or_zero(system, x, step.t, drift_);
      system.diffusion(x, step.t, diffusion_);
      system.diffusion_slope(x, step.t, slope_);
      detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
        detail::update_with_noise(detail::AddMilstein{step.dt}, x, dw, drift_, diffusion_, slope_);
      });
    }
  }

 private:
  EulerMaruyama<S> euler_;
  S drift_{}, diffusion_{}, slope_{}, dw_{};
};

/// The Milstein method whose derivative is a difference of the noise at x and at x + f dt + g sqrt(|dt|)
/// \cite kloeden_1992_numerical (equation 11.1.3). Strong order 1 on additive, diagonal and scalar noise.
template <State S>
class MilsteinDerivativeFree {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::ito,
                                        .noise_types = {.additive = true, .diagonal = true, .scalar = true},
                                        .drift_evaluations = 1,
                                        .diffusion_evaluations = 2};

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<MilsteinDerivativeFree, System>();
    if constexpr (System::noise_type == NoiseType::additive || is_no_noise<Noise>) {
      euler_.step(system, x, step, noise);
    } else {
      make_room(drift_, x);
      make_room(diffusion_, x);
      make_room(support_, x);
      make_room(slope_, x);
      detail::drift_or_zero(system, x, step.t, drift_);
      system.diffusion(x, step.t, diffusion_);
      const double root = std::sqrt(std::abs(step.dt));
      detail::combine(support_, x, {step.dt, root}, drift_, diffusion_);
      system.diffusion(support_, step.t, slope_);
      update_elements(
          [root](auto& s, const auto& g) { s = (s - g) / static_cast<std::remove_reference_t<decltype(s)>>(root); },
          slope_, diffusion_);
      detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
        detail::update_with_noise(detail::AddMilstein{step.dt}, x, dw, drift_, diffusion_, slope_);
      });
    }
  }

 private:
  EulerMaruyama<S> euler_;
  S drift_{}, diffusion_{}, support_{}, slope_{}, dw_{};
};

}  // namespace easy_diffusion::sde
