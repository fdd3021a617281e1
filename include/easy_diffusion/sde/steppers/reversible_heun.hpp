/// \file
/// The reversible Heun method: a step that can be taken back to rounding.
#pragma once

#include <cmath>
#include <utility>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/detail/increments.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// The reversible Heun method for Stratonovich equations \cite kidger_2021_reversible: it carries a second state z beside
/// x, needs one evaluation a step, and `undo` returns along the same path. Strong order 1/2, and 1 with additive noise, as
/// proven there; with diagonal and scalar noise, whose Brownian motions commute, 1 is what is measured: z strays from x by
/// sqrt(dt), but to alternating sides. Weak order 1, as measured. No step damps the distance of z and x: where the drift
/// contracts strongly, steps must be short, or it grows. It starts anew at step 0, and where a step does not begin where
/// the last one ended.
template <State S>
class ReversibleHeun {
 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.0,
                                        .strong_order_additive = 1.0,
                                        .strong_order_general = 0.5,
                                        .weak_order = 1.0,
                                        .calculus = Calculus::stratonovich,
                                        .noise_types = {true, true, true, true},
                                        .drift_evaluations = 1,
                                        .diffusion_evaluations = 1};  // two where the noise is general

  /// Forgets z.
  void reset() noexcept { running_ = false; }

  /// \throw whatever the system or the noise throws
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<ReversibleHeun, System>();
    if (step.index == 0 || !running_ || !(std::abs(step.t - t_) <= 1e-9 * std::abs(step.dt))) begin(system, x, step.t);
    move(system, x, step, noise, step.t + step.dt, 1);
  }

  /// Takes the last step back: `x` becomes what it was before `step` with the same `noise`. Several in turn lead back to
  /// the start.
  /// \pre the last call was `step`, or `undo` of the step that came after
  template <class System, class Noise>
  void undo(const System& system, S& x, const Step& step, Noise&& noise) {
    expect_fit<ReversibleHeun, System>();
    move(system, x, step, noise, step.t, -1);
  }

 private:
  template <class System>
  void begin(const System& system, const S& x, double t) {
    for (S* const s : {&z_, &drift_, &drift_next_, &diffusion_, &shake_, &shake_next_}) make_room(*s, x);
    z_ = x;
    detail::drift_or_zero(system, x, t, drift_);
    evaluate_diffusion(system, t);
    t_ = t;
    running_ = true;
  }

  // What is known of the noise at z without dW; general noise knows nothing.
  template <class System>
  void evaluate_diffusion(const System& system, double t) {
    if constexpr (System::noise_type != NoiseType::general) detail::diffusion_of(system, z_, t, diffusion_);
  }

  template <class System, class W>
  void shake(const System& system, double t, const W& dw, S& out) {
    if constexpr (System::noise_type == NoiseType::general) {
      system.diffusion(z_, t, dw, out);
    } else {
      detail::update_with_noise([](auto& e, const auto& w, const auto& g) { e = g * w; }, out, dw, diffusion_);
    }
  }

  // One formula for both directions: z' = 2x - z + s (f dt + g dW), x' = x + s/2 ((f + f') dt + (g + g') dW).
  template <class System, class Noise>
  void move(const System& system, S& x, const Step& step, Noise& noise, double to, double s) {
    detail::with_increment<System>(dw_, x, step, noise, [&](const auto& dw) {
      shake(system, t_, dw, shake_);
      const double h = s * step.dt;
      update_elements([](auto& z, const auto& e) { z = e + (e - z); }, z_, x);
      detail::add_combination(z_, {h, s}, drift_, shake_);
      detail::drift_or_zero(system, z_, to, drift_next_);
      evaluate_diffusion(system, to);
      shake(system, to, dw, shake_next_);
      detail::add_combination(x, {0.5 * h, 0.5 * s, 0.5 * h, 0.5 * s}, drift_, shake_, drift_next_, shake_next_);
      std::swap(drift_, drift_next_);
      t_ = to;
    });
  }

  S z_{}, drift_{}, drift_next_{}, diffusion_{}, shake_{}, shake_next_{}, dw_{};
  double t_ = 0;
  bool running_ = false;
};

}  // namespace easy_diffusion::sde
