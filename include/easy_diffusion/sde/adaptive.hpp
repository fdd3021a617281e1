/// \file
/// Ordinary equations with steps whose length follows an error estimate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// The error of a step is measured as the root mean square of e_i / (absolute + relative max(|x_i|, |next_i|)), and the step
/// is accepted where that is at most 1.
struct Tolerances {
  double relative = 1e-6;
  double absolute = 1e-6;
};

struct AdaptiveOptions {
  Tolerances tolerances;
  double first_step = 0;             ///< length; 0: estimated
  double longest_step = 0;           ///< 0: no limit
  std::int64_t max_steps = 100'000;  ///< tried, accepted or not
};

/// What an adaptive integration did.
struct AdaptiveResult {
  std::int64_t steps = 0;     ///< accepted
  std::int64_t rejected = 0;  ///< tried and thrown away
  double t = 0;
  bool stopped = false;  ///< by an observer
};

namespace detail {

inline void check_tolerances(const char* what, const Tolerances& tolerances) {
  const auto bad = [](double value) { return !(value > 0) || !std::isfinite(value); };
  if (bad(tolerances.relative))
    throw ValueError(std::string(what) + ": relative tolerance: expected a finite number above 0, got " +
                     shown(tolerances.relative));
  if (bad(tolerances.absolute))
    throw ValueError(std::string(what) + ": absolute tolerance: expected a finite number above 0, got " +
                     shown(tolerances.absolute));
}

inline void check_span(const char* what, double start, double end) {
  if (!std::isfinite(start) || !std::isfinite(end) || start == end)
    throw ValueError(std::string(what) + ": expected two finite times that differ, got " + shown(start) + " and " +
                     shown(end));
}

/// Root mean square of e / (absolute + relative max(|x|, |next|)).
template <State S>
double error_norm(const S& error, const S& x, const S& next, const Tolerances& tolerances) {
  double sum = 0;
  std::int64_t n = 0;
  for_each_element(
      [&](const auto& e, const auto& a, const auto& b) {
        const double size = std::max(std::abs(static_cast<double>(a)), std::abs(static_cast<double>(b)));
        const double scaled = static_cast<double>(e) / (tolerances.absolute + tolerances.relative * size);
        sum += scaled * scaled;
        ++n;
      },
      error, x, next);
  return n > 0 ? std::sqrt(sum / static_cast<double>(n)) : 0;
}

/// \param drift work: the drift at x \throw ValueError where that is not finite, as no step then leads anywhere
template <class System, State S>
void expect_finite_drift(const System& system, const S& x, std::int64_t step, double t, S& drift) {
  if constexpr (!zero_drift<System> && HasDrift<System, S>) {
    make_room(drift, x);
    system.drift(x, t, drift);
    if (const std::int64_t element = first_not_finite(drift); element >= 0)
      throw ValueError("integrate_adaptive: the drift is not finite (element " + std::to_string(element) +
                       ") where the state is, at step " + std::to_string(step) + ", t = " + shown(t));
  }
}

/// A step that moves a time of that size.
[[nodiscard]] inline double shortest_step(double t) { return 4 * std::numeric_limits<double>::epsilon() * std::abs(t); }

/// A first step \cite hairer_1993_nonstiff (section II.4): an explicit Euler step probes how fast the drift changes.
template <class System, State S>
double first_step(const System& system, const S& x, double t, double span, double error_order,
                  const Tolerances& tolerances, S& drift, S& probe, S& other) {
  const double direction = span < 0 ? -1 : 1;
  make_room(drift, x);
  make_room(probe, x);
  make_room(other, x);
  expect_finite_drift(system, x, 0, t, drift);
  const double size = error_norm(x, x, x, tolerances);
  const double slope = error_norm(drift, x, x, tolerances);
  double h = size < 1e-5 || slope < 1e-5 ? 1e-6 : 0.01 * size / slope;
  h = std::min(std::max(h, 16 * shortest_step(t)), std::abs(span));
  combine(probe, x, {direction * h}, drift);
  system.drift(probe, t + direction * h, other);
  add_combination(other, {-1.0}, drift);
  const double bend = error_norm(other, x, x, tolerances) / h;
  const double steepest = std::max(slope, bend);
  const double longer = steepest <= 1e-15 ? std::max(1e-6, h * 1e-3) : std::pow(0.01 / steepest, 1 / (error_order + 1));
  return std::min(std::max(std::min(100 * h, longer), 16 * shortest_step(t)), std::abs(span));
}

/// The controller of the length of a step, proportional and integral \cite hairer_1996_stiff (section IV.2).
class StepControl {
 public:
  explicit StepControl(double error_order) : integral_(1 / (error_order + 1) - 0.75 * proportional) {}

  /// Factor for the next step after an error (1 = the tolerance).
  double after(double error, bool accepted) {
    if (!accepted) {
      rejected_ = true;
      return std::max(shrink, safety * std::pow(error, -integral_));
    }
    double factor = safety * std::pow(std::max(error, 1e-10), -integral_) * std::pow(before_, proportional);
    factor = std::clamp(factor, shrink, grow);
    if (rejected_) factor = std::min(factor, 1.0);
    before_ = std::max(error, 1e-4);
    rejected_ = false;
    return factor;
  }

 private:
  static constexpr double proportional = 0.04, safety = 0.9, shrink = 0.2, grow = 10;
  double integral_;
  double before_ = 1e-4;
  bool rejected_ = false;
};

template <class System, class Stepper, State S, class Accepted>
AdaptiveResult adapt(Stepper& stepper, const System& system, S& x, double start, double end,
                     const AdaptiveOptions& options, Accepted&& accepted) {
  check_tolerances("integrate_adaptive", options.tolerances);
  check_span("integrate_adaptive", start, end);
  if (!(options.first_step >= 0) || !(options.longest_step >= 0))
    throw ValueError("integrate_adaptive: expected lengths of steps of at least 0, got " + shown(options.first_step) +
                     " and " + shown(options.longest_step));
  const double span = end - start;
  const double direction = span < 0 ? -1 : 1;
  const double limit = options.longest_step > 0 ? options.longest_step : std::abs(span);
  expect_finite(x, 0, start);
  S next = make_like(x), error = make_like(x);
  double h = options.first_step;
  if (h == 0) {
    S drift = make_like(x);
    h = first_step(system, x, start, span, Stepper::error_order, options.tolerances, drift, next, error);
  }
  StepControl control(Stepper::error_order);
  AdaptiveResult result{0, 0, start, false};
  double t = start;
  bool first = true;
  bool finite = true;
  while (t != end) {
    if (result.steps + result.rejected >= options.max_steps)
      throw ValueError("integrate_adaptive: " + std::to_string(options.max_steps) + " steps did not suffice; t = " +
                       shown(t) + " of " + shown(end));
    h = std::min(h, limit);
    // A step is too short where it does not move the time, however large the end may be.
    if (!(h > shortest_step(t))) {
      expect_finite_drift(system, x, result.steps, t, next);
      throw ValueError("integrate_adaptive: " +
                       std::string(finite ? "the step became zero" : "no step, however short, gave a finite state") +
                       " at step " + std::to_string(result.steps) + ", t = " + shown(t));
    }
    // The last step ends exactly at the end, and none much shorter than the others is left for it.
    const double left = std::abs(end - t);
    const bool last = h * 1.01 >= left;
    const Step step{result.steps, t, direction * (last ? left : h)};
    stepper.attempt(system, x, step, first, next, error);
    first = false;
    const double size = error_norm(error, x, next, options.tolerances);
    finite = std::isfinite(size);
    if (size <= 1) {
      const double after = last ? end : t + step.dt;
      const bool stop = accepted(result.steps + 1, step, after, next);
      stepper.accept();
      std::swap(x, next);
      t = after;
      ++result.steps;
      result.t = t;
      if (stop) {
        result.stopped = true;
        return result;
      }
    } else {
      ++result.rejected;
    }
    // A state that is not finite asks for a much shorter step.
    h = std::abs(step.dt) * (finite ? control.after(size, size <= 1) : 0.1);
  }
  return result;
}

}  // namespace detail

/// Moves `x` from `start` to `end` in place, in steps as long as the tolerances allow; the last one ends exactly at `end`.
/// \param stepper   one with an error estimate: `DormandPrince5`
/// \param observers as of `integrate`, at the start and after every accepted step
/// \throw ValueError for tolerances that are not above 0, times that do not differ, more steps than `max_steps`, a start
///        that is not finite, a drift that is not where the state is, and a step that shrinks to nothing
template <class Stepper, class System, State S, class... Observers>
AdaptiveResult integrate_adaptive(Stepper&& stepper, const System& system, S& x, double start, double end,
                                  const AdaptiveOptions& options = {}, Observers&&... observers) {
  static_assert((ObserverOf<std::remove_reference_t<Observers>, S> && ...),
                "integrate_adaptive: an observer takes (std::int64_t step, double t, const State& x)");
  expect_ode_fit<std::remove_cvref_t<Stepper>, System>();
  detail::check_span("integrate_adaptive", start, end);
  if (detail::observe(0, start, x, observers...)) return {0, 0, start, true};
  return detail::adapt(stepper, system, x, start, end, options,
                       [&](std::int64_t step, const Step&, double t, const S& next) {
                         return detail::observe(step, t, next, observers...);
                       });
}

/// The same, with observers that look at the times of a grid: the state there comes from the stepper's dense output, and
/// the lengths of the steps do not depend on the grid. Observers count its times.
template <class Stepper, class System, State S, class... Observers>
AdaptiveResult integrate_adaptive(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid,
                                  const AdaptiveOptions& options = {}, Observers&&... observers) {
  static_assert((ObserverOf<std::remove_reference_t<Observers>, S> && ...),
                "integrate_adaptive: an observer takes (std::int64_t step, double t, const State& x)");
  expect_ode_fit<std::remove_cvref_t<Stepper>, System>();
  if (detail::observe(0, grid.start(), x, observers...)) return {0, 0, grid.start(), true};
  S between = make_like(x);
  std::int64_t next_time = 1;
  return detail::adapt(stepper, system, x, grid.start(), grid.end(), options,
                       [&](std::int64_t, const Step& step, double after, const S& next) {
                         while (next_time < grid.steps() && (grid.time(next_time) - after) * step.dt <= 0) {
                           const double theta = (grid.time(next_time) - step.t) / step.dt;
                           stepper.interpolate(x, next, step.dt, theta, between);
                           if (detail::observe(next_time, grid.time(next_time), between, observers...)) return true;
                           ++next_time;
                         }
                         return after == grid.end() && detail::observe(grid.steps(), after, next, observers...);
                       });
}

}  // namespace easy_diffusion::sde
