/// \file
/// Every stepper of the floor `sde/` as a sampler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "easy_diffusion/diffusion/detail/flow_system.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/reverse.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/adams_bashforth.hpp"
#include "easy_diffusion/sde/steppers/reversible_heun.hpp"

namespace easy_diffusion::diffusion {

namespace detail {

/// Evaluations that a stepper makes in `steps` steps beyond those that its traits count.
template <class Stepper>
struct StartEvaluations {
  static constexpr std::int64_t in(std::int64_t) { return 0; }
};
template <class S, int order>
struct StartEvaluations<sde::AdamsBashforth<S, order>> {
  // Its first steps, which have no past, are of the classical Runge-Kutta method.
  static constexpr std::int64_t in(std::int64_t steps) { return 3 * std::min<std::int64_t>(order - 1, steps); }
};
template <class S>
struct StartEvaluations<sde::ReversibleHeun<S>> {
  static constexpr std::int64_t in(std::int64_t steps) { return std::min<std::int64_t>(1, steps); }
};

template <class Stepper>
consteval SamplerTraits reverse_stepper_traits() {
  if constexpr (sde::is_ode_stepper<Stepper>) {
    return {.order = static_cast<int>(Stepper::traits.order), .history = Stepper::traits.history, .any_start = false};
  } else {
    return {.order = static_cast<int>(Stepper::traits.weak_order),
            .best_order = static_cast<int>(Stepper::traits.weak_order_linear),
            .best_where = best_where::linear,
            .stochastic = true,
            .any_start = false};
  }
}

}  // namespace detail

/// A stepper of stochastic equations on the reverse-time equation, one of ordinary equations on the probability-flow
/// equation \cite song_2021_score. Both are those of y = x / alpha, which is x0 + s epsilon in time s = sigma / alpha
/// whatever the process of x: dy = sqrt(2 s) dW forwards. So a stepper meets one process only, and steps of the length
/// of s. Its noise is asked for as it asks, with a variance of |dt| = s_s - s_t. A step to a clean state is the
/// predicted x0, with one evaluation. The order is what the stepper declares (of a stochastic one the weak order,
/// rounded down); some do better where the denoiser is linear (`best_order`).
/// \tparam Stepper `sde::EulerMaruyama<S>`, `sde::RungeKutta4<S>`, ...
template <class Stepper>
class ReverseStepper {
 public:
  using state_type = typename Stepper::state_type;
  using S = state_type;
  static constexpr SamplerTraits traits = detail::reverse_stepper_traits<Stepper>();

  /// \param path levels between those of the run
  /// \throw ValueError for an empty function
  explicit ReverseStepper(LevelPath path, Stepper stepper = Stepper())
      : path_("reverse stepper", std::move(path)), stepper_(std::move(stepper)) {}

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    const std::int64_t of_order_1 = detail::first_order_steps(levels);
    const std::int64_t steps = levels.steps() - of_order_1;
    return of_order_1 + detail::StartEvaluations<Stepper>::in(steps) + steps * evaluations_of_a_step();
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<ReverseStepper>("reverse stepper", levels);
    if constexpr (requires { stepper_.reset(); }) stepper_.reset();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    sde::make_room(x0_, x);
    if (detail::is_first_order_step(from, to)) {
      denoiser(x, from, x0_);
      detail::move(detail::keep_epsilon(from, to), x, x0_);
      return;
    }
    const detail::StepDenoiser<D, S> evaluate{denoiser, path_, from, to, work_, x0_};
    const auto score = [&evaluate](const S& y, double s, S& out) { evaluate(y, s, 1 / (s * s), out); };
    const double begin = from.noise_to_signal();
    const sde::Step step{i, begin, to.noise_to_signal() - begin};
    detail::scale(x, 1 / from.alpha);
    if constexpr (sde::is_ode_stepper<Stepper>) {
      stepper_.step(sde::probability_flow(detail::SignalProcess{}, score), x, step);
    } else {
      stepper_.step(sde::reverse(detail::SignalProcess{}, score), x, step, noise);
    }
    detail::scale(x, to.alpha);
  }

 private:
  static constexpr int evaluations_of_a_step() {
    if constexpr (sde::is_ode_stepper<Stepper>) {
      return Stepper::traits.evaluations;
    } else {
      return Stepper::traits.drift_evaluations;
    }
  }

  detail::StepPath path_;
  Stepper stepper_;
  S x0_{}, work_{};
};

}  // namespace easy_diffusion::diffusion
