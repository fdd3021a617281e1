/// \file
/// The driver: a stepper over a time grid, with observers.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

struct IntegrateOptions {
  /// The last step of the grid without its noise: what samplers return, as the noise of the last step is visible in
  /// a picture.
  bool mean_of_last_step = false;
};

/// Where an integration ended.
struct IntegrateResult {
  std::int64_t steps = 0;  ///< made
  double t = 0;
  bool stopped = false;  ///< by an observer
};

namespace detail {

template <class Observer, class S>
bool wants_stop(Observer& observer, std::int64_t step, double t, const S& x) {
  if constexpr (std::is_void_v<decltype(observer(step, t, x))>) {
    observer(step, t, x);
    return false;
  } else {
    return observer(step, t, x) == Flow::stop;
  }
}

}  // namespace detail

/// Moves `x` along the grid in place: x(grid.start()) becomes x(grid.end()).
/// \param stepper   keeps work states: the same one again allocates nothing
/// \param system    the equation; `x` has the type `Stepper::state_type`
/// \param noise     asked once a step, with the step's index in the grid
/// \param observers `observer(steps_made, t, x)` at the start and after every step, in the order given; once one
///                  returns `Flow::stop`, the rest are still asked and the integration ends
/// \throw whatever the system, the noise or an observer throws
template <class Stepper, class System, State S, class Noise, class... Observers>
IntegrateResult integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, Noise&& noise,
                          const IntegrateOptions& options, Observers&&... observers) {
  using Method = std::remove_cvref_t<Stepper>;
  static_assert(std::is_same_v<typename Method::state_type, S>, "integrate: the stepper is made for another state");
  static_assert(NoiseSource<std::remove_reference_t<Noise>, S>, "integrate: not a noise source for this state");
  static_assert((ObserverOf<std::remove_reference_t<Observers>, S> && ...),
                "integrate: an observer takes (std::int64_t step, double t, const State& x) and returns void or Flow");
  expect_fit<Method, System>();
  const auto observe = [&]([[maybe_unused]] std::int64_t step) {
    bool stop = false;
    ((stop = detail::wants_stop(observers, step, grid.time(step), x) || stop), ...);
    return stop;
  };
  if (observe(0)) return {0, grid.start(), true};
  const NoNoise still;
  const std::int64_t n = grid.steps();
  for (std::int64_t i = 0; i < n; ++i) {
    if (options.mean_of_last_step && i == n - 1) {
      stepper.step(system, x, grid.step(i), still);
    } else {
      stepper.step(system, x, grid.step(i), noise);
    }
    if (observe(i + 1)) return {i + 1, grid.time(i + 1), true};
  }
  return {n, grid.end(), false};
}

/// The same with default options.
template <class Stepper, class System, State S, class Noise, class... Observers>
requires(!(std::is_same_v<std::remove_cvref_t<Observers>, IntegrateOptions> || ...)) IntegrateResult
    integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, Noise&& noise,
              Observers&&... observers) {
  return integrate(stepper, system, x, grid, noise, IntegrateOptions{}, observers...);
}

}  // namespace easy_diffusion::sde
