/// \file
/// Platen's method of weak order 2.
#pragma once

#include <cmath>
#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/detail/increments.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Platen's explicit method of weak order 2 for Ito equations with additive, diagonal or scalar noise
/// \cite kloeden_1992_numerical (equation 15.1.1; the mixed terms of 15.1.3 are zero for such noise). With the normal
/// increments used here its strong order is 1.
template <State S>
class PlatenWeak2 {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .weak_order = 2.0,
                                        .calculus = Calculus::ito,
                                        .noise_types = {.additive = true, .diagonal = true, .scalar = true},
                                        .drift_evaluations = 2,
                                        .diffusion_evaluations = 3};

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<PlatenWeak2, System>();
    for (S* const s : {&drift_, &drift_end_, &diffusion_, &above_, &below_, &work_}) make_room(*s, x);
    const double root = std::sqrt(std::abs(step.dt));
    const double end = step.t + step.dt;
    detail::drift_or_zero(system, x, step.t, drift_);
    detail::diffusion_of(system, x, step.t, diffusion_);
    detail::combine(work_, x, {step.dt, root}, drift_, diffusion_);
    detail::diffusion_of(system, work_, end, above_);
    detail::combine(work_, x, {step.dt, -root}, drift_, diffusion_);
    detail::diffusion_of(system, work_, end, below_);
    detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
      detail::combine(work_, x, {step.dt}, drift_);
      detail::update_with_noise([](auto& e, const auto& w, const auto& g) { e = detail::multiply_add(g, w, e); }, work_, dw, diffusion_);
      detail::drift_or_zero(system, work_, end, drift_end_);
      detail::add_combination(x, {0.5 * step.dt, 0.5 * step.dt}, drift_, drift_end_);
      // A mean step has no noise, and (dW^2 - h) has the mean 0.
      if constexpr (!is_no_noise<Noise>) {
        detail::update_with_noise(
            [h = root * root, share = 0.25 / root](auto& e, const auto& w, const auto& g, const auto& up, const auto& down) {
              using T = std::remove_reference_t<decltype(e)>;
              const T mean = T(0.25) * ((up + down) + (g + g));
              const T slope = static_cast<T>(share) * (up - down);
              const T shaken = detail::multiply_add(mean, w, e);
              e = detail::multiply_add(slope, detail::multiply_add(w, w, -static_cast<T>(h)), shaken);
            },
            x, dw, diffusion_, above_, below_);
      }
    });
  }

 private:
  S drift_{}, drift_end_{}, diffusion_{}, above_{}, below_{}, work_{}, dw_{};
};

}  // namespace easy_diffusion::sde
