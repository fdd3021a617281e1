/// \file
/// The driver: a stepper over a time grid, with observers.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// What happens when an element of the state is no longer finite.
enum class NonFinite {
  go_on,  ///< nothing looks; the state stays as it is
  fail    ///< looked for after every step: a ValueError names the step, the time and the element
};

struct IntegrateOptions {
  /// The last step of the grid without its noise: what samplers return, as the noise of the last step is visible in
  /// a picture.
  bool mean_of_last_step = false;
  NonFinite non_finite = NonFinite::go_on;
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

/// All observers in the order given; true where one wants to stop.
template <class S, class... Observers>
bool observe([[maybe_unused]] std::int64_t step, [[maybe_unused]] double t, [[maybe_unused]] const S& x,
             Observers&... observers) {
  bool stop = false;
  ((stop = wants_stop(observers, step, t, x) || stop), ...);
  return stop;
}

/// Number of the first element that is not finite; -1 where all are.
template <State S>
[[nodiscard]] std::int64_t first_not_finite(const S& x) {
  std::int64_t i = 0, first = -1;
  for_each_element(
      [&](const auto& e) {
        if (!std::isfinite(e) && first < 0) first = i;
        ++i;
      },
      x);
  return first;
}

/// \throw ValueError naming step, time and element where one is not finite
template <State S>
void expect_finite(const S& x, std::int64_t step, double t) {
  const std::int64_t first = first_not_finite(x);
  if (first >= 0)
    throw ValueError("integrate: expected a finite state, got one that is not at step " + std::to_string(step) +
                     ", t = " + shown(t) + ", element " + std::to_string(first));
}

template <class Observer>
inline constexpr bool is_options = std::is_same_v<std::remove_cvref_t<Observer>, IntegrateOptions>;

/// Something of the caller's while a loop works on it.
template <bool apart, class T>
struct InUse {
  T& value;
};
/// It works on one of its own, which no pointer knows and which can therefore stay in registers, and gives it back.
template <class T>
struct InUse<true, T> {
  explicit InUse(T& origin) : value(std::move(origin)), origin_(origin) {}
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  ~InUse() { origin_ = std::move(value); }

  T value;

 private:
  T& origin_;
};

/// `make_step(stepper, x, step)` for the first `n` steps of the grid. A number and what a stepper keeps for it are a few
/// registers: through memory they would cost more than the arithmetic. A function of its own, as inside a larger one a
/// compiler may find no register for them.
template <class Stepper, State S, class MakeStep>
[[gnu::noinline]] void run(Stepper& stepper, S& x, const TimeGrid& grid, std::int64_t n, const MakeStep& make_step) {
  constexpr bool apart = std::floating_point<S> && std::movable<Stepper>;
  InUse<apart, Stepper> own{stepper};
  InUse<apart, S> moving{x};
  for (std::int64_t i = 0; i < n; ++i) make_step(own.value, moving.value, grid.step(i));
}

/// The loop that all forms of `integrate` share: `make_step(stepper, x, step)` for every step of the grid, and
/// `make_last_step` for the last one where `options` want it without its noise.
template <class Stepper, State S, class MakeStep, class MakeLastStep, class... Observers>
IntegrateResult walk(Stepper& stepper, S& x, const TimeGrid& grid, const IntegrateOptions& options, const MakeStep& make_step,
                     const MakeLastStep& make_last_step, Observers&... observers) {
  static_assert((ObserverOf<Observers, S> && ...),
                "integrate: an observer takes (std::int64_t step, double t, const State& x) and returns void or Flow");
  const std::int64_t n = grid.steps();
  const std::int64_t alike = options.mean_of_last_step ? n - 1 : n;
  if (sizeof...(observers) == 0 && options.non_finite == NonFinite::go_on) {
    // Steps that nobody watches: choices and calls among them would cost every step.
    run(stepper, x, grid, alike, make_step);
    if (alike < n) make_last_step(stepper, x, grid.step(alike));
    return {n, grid.end(), false};
  }
  if (observe(0, grid.start(), x, observers...)) return {0, grid.start(), true};
  for (std::int64_t i = 0; i < n; ++i) {
    if (i < alike) {
      make_step(stepper, x, grid.step(i));
    } else {
      make_last_step(stepper, x, grid.step(i));
    }
    if (options.non_finite == NonFinite::fail) expect_finite(x, i + 1, grid.time(i + 1));
    if (observe(i + 1, grid.time(i + 1), x, observers...)) return {i + 1, grid.time(i + 1), true};
  }
  return {n, grid.end(), false};
}

}  // namespace detail

/// Moves `x` along the grid in place: x(grid.start()) becomes x(grid.end()).
/// \param stepper   keeps work states: the same one again allocates nothing
/// \param system    the equation; `x` has the type `Stepper::state_type`
/// \param noise     asked once a step, with the step's index in the grid
/// \param observers `observer(steps_made, t, x)` at the start and after every step, in the order given; once one
///                  returns `Flow::stop`, the rest are still asked and the integration ends
/// \throw whatever the system, the noise or an observer throws; ValueError where `options` ask for a finite state
template <class Stepper, class System, State S, class Noise, class... Observers>
requires(!is_ode_stepper<std::remove_cvref_t<Stepper>>) IntegrateResult
    integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, Noise&& noise,
              const IntegrateOptions& options, Observers&&... observers) {
  using Method = std::remove_cvref_t<Stepper>;
  static_assert(std::is_same_v<typename Method::state_type, S>, "integrate: the stepper is made for another state");
  expect_fit<Method, System>();
  static_assert(NoiseSource<std::remove_reference_t<Noise>, brownian_t<System, S>>,
                "integrate: not a noise source for the increments of this system");
  const NoNoise still;
  return detail::walk(
      stepper, x, grid, options,
      [&](Method& method, S& at, const Step& step) { method.step(system, at, step, noise); },
      [&](Method& method, S& at, const Step& step) { method.step(system, at, step, still); }, observers...);
}

/// The same with default options.
template <class Stepper, class System, State S, class Noise, class... Observers>
requires(!is_ode_stepper<std::remove_cvref_t<Stepper>> && !(detail::is_options<Observers> || ...)) IntegrateResult
    integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, Noise&& noise,
              Observers&&... observers) {
  return integrate(stepper, system, x, grid, noise, IntegrateOptions{}, observers...);
}

/// The same for an ordinary equation: no noise.
template <class Stepper, class System, State S, class... Observers>
requires(is_ode_stepper<std::remove_cvref_t<Stepper>>) IntegrateResult
    integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, const IntegrateOptions& options,
              Observers&&... observers) {
  using Method = std::remove_cvref_t<Stepper>;
  static_assert(std::is_same_v<typename Method::state_type, S>, "integrate: the stepper is made for another state");
  expect_ode_fit<Method, System>();
  const auto make_step = [&](Method& method, S& at, const Step& step) { method.step(system, at, step); };
  return detail::walk(stepper, x, grid, options, make_step, make_step, observers...);
}

/// The same with default options.
template <class Stepper, class System, State S, class... Observers>
requires(is_ode_stepper<std::remove_cvref_t<Stepper>> && !(detail::is_options<Observers> || ...)) IntegrateResult
    integrate(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid, Observers&&... observers) {
  return integrate(stepper, system, x, grid, IntegrateOptions{}, observers...);
}

}  // namespace easy_diffusion::sde
