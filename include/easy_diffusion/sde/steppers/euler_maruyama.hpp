/// \file
/// The Euler-Maruyama method.
#pragma once

#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// x <- x + f(x, t) dt + g(x, t) dW, for the Ito equation \cite maruyama_1955_transition. Strong order 1/2, and 1
/// where the noise is additive; weak order 1 \cite kloeden_1992_numerical (theorems 10.2.2 and 14.1.5). With dt < 0 it
/// runs a reverse-time equation: f dt is negative, g dW is added as ever.
template <State S>
class EulerMaruyama {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 0.5,
                                        .strong_order_additive = 1.0,
                                        .strong_order_general = 0.5,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::ito,
                                        .noise_types = {true, true, true, true},
                                        .drift_evaluations = 1,
                                        .diffusion_evaluations = 1};

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<EulerMaruyama, System>();
    constexpr bool drifts = !zero_drift<System>;
    constexpr bool diffuses = !is_no_noise<Noise>;
    if constexpr (drifts) {
      make_room(drift_, x);
      system.drift(x, step.t, drift_);
    }
    if constexpr (!diffuses) {
      if constexpr (drifts) update_elements(AddScaled{step.dt}, x, drift_);
    } else if constexpr (System::noise_type == NoiseType::additive) {
      const double g = system.diffusion(step.t);
      if constexpr (drifts) {
        update_with_noise(AddTwoScaled{step.dt, g}, step, noise, dw_, x, drift_);
      } else {
        update_with_noise(AddScaled{g}, step, noise, dw_, x);
      }
    } else if constexpr (System::noise_type == NoiseType::diagonal) {
      make_room(diffusion_, x);
      system.diffusion(x, step.t, diffusion_);
      if constexpr (drifts) {
        update_with_noise(AddScaledAndProduct{step.dt}, step, noise, dw_, x, drift_, diffusion_);
      } else {
        update_with_noise([](auto& e, const auto& b, const auto& w) { e = detail::multiply_add(b, w, e); }, step, noise, dw_, x, diffusion_);
      }
    } else if constexpr (System::noise_type == NoiseType::general) {
      make_room(diffusion_, x);
      typename System::brownian_type dw{};
      noise.increment(step, dw);
      system.diffusion(x, step.t, dw, diffusion_);
      if constexpr (drifts) {
        update_elements(AddTwoScaled{step.dt, 1}, x, drift_, diffusion_);
      } else {
        update_elements(AddScaled{1}, x, diffusion_);
      }
    } else {
      make_room(diffusion_, x);
      system.diffusion(x, step.t, diffusion_);
      scalar_t<S> dw{};
      noise.increment(step, dw);
      if constexpr (drifts) {
        update_elements(AddTwoScaled{step.dt, static_cast<double>(dw)}, x, drift_, diffusion_);
      } else {
        update_elements(AddScaled{static_cast<double>(dw)}, x, diffusion_);
      }
    }
  }

 private:
  struct AddScaled {
    double a;
    template <class T>
    void operator()(T& e, const T& p) const {
      e = detail::multiply_add(static_cast<T>(a), p, e);
    }
  };
  struct AddTwoScaled {
    double a, b;
    template <class T>
    void operator()(T& e, const T& p, const T& q) const {
      const T moved = detail::multiply_add(static_cast<T>(a), p, e);
      e = detail::multiply_add(static_cast<T>(b), q, moved);
    }
  };
  struct AddScaledAndProduct {
    double a;
    template <class T>
    void operator()(T& e, const T& p, const T& q, const T& r) const {
      const T moved = detail::multiply_add(static_cast<T>(a), p, e);
      e = detail::multiply_add(q, r, moved);
    }
  };

  S drift_{}, diffusion_{}, dw_{};
};

}  // namespace easy_diffusion::sde
