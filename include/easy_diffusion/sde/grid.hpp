/// \file
/// Time grids: steps are counted in integers, and times are computed from the index, never summed up.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/sde/concepts.hpp"

namespace easy_diffusion::sde {

namespace detail {
inline std::string shown(double value) { return number_text(value, 9); }
}  // namespace detail

/// Times t_0, ..., t_N, strictly rising or strictly falling; time that falls is how a reverse-time equation runs.
/// The first and the last are exactly those asked for.
class TimeGrid {
 public:
  /// N steps of equal length. t_i = start + i (end - start) / N.
  /// \throw ValueError for steps < 1, start == end, a bound that is not finite, or steps too short for a double
  [[nodiscard]] static TimeGrid uniform(double start, double end, std::int64_t steps) {
    if (steps < 1) throw ValueError("time grid: steps: expected at least 1, got " + std::to_string(steps));
    if (!std::isfinite(start) || !std::isfinite(end))
      throw ValueError("time grid: expected finite bounds, got " + detail::shown(start) + " and " + detail::shown(end));
    const double dt = (end - start) / static_cast<double>(steps);
    if (start == end || !std::isfinite(dt) || start + dt == start || end - dt == end)
      throw ValueError("time grid: dt is zero: " + std::to_string(steps) + " steps from " + detail::shown(start) +
                       " to " + detail::shown(end));
    return TimeGrid(start, end, steps, {});
  }

  /// t_i = start + (end - start) (1 - (1 - i/N)^2): steps that shorten towards the end, where a reverse-time equation
  /// needs them.
  /// \throw as `uniform`
  [[nodiscard]] static TimeGrid quadratic(double start, double end, std::int64_t steps) {
    (void)uniform(start, end, steps);  // its checks
    std::vector<double> times(static_cast<std::size_t>(steps) + 1);
    for (std::int64_t i = 0; i <= steps; ++i) {
      const double rest = static_cast<double>(steps - i) / static_cast<double>(steps);
      times[static_cast<std::size_t>(i)] = start + (end - start) * (1 - rest * rest);
    }
    times.back() = end;
    return from_times(std::move(times));
  }

  /// t_i = (start^(1/rho) + i/N (end^(1/rho) - start^(1/rho)))^rho \cite karras_2022_elucidating, which is made for
  /// noise levels as times; i / N here, so that N steps have N + 1 times also for N = 1.
  /// \throw as `uniform`; ValueError for a negative bound or rho <= 0
  [[nodiscard]] static TimeGrid karras(double start, double end, std::int64_t steps, double rho = 7) {
    (void)uniform(start, end, steps);  // its checks
    if (!(start >= 0) || !(end >= 0) || !(rho > 0) || !std::isfinite(rho))
      throw ValueError("time grid: Karras: expected bounds of at least 0 and rho above 0, got " + detail::shown(start) +
                       ", " + detail::shown(end) + " and " + detail::shown(rho));
    const double first = std::pow(start, 1 / rho), last = std::pow(end, 1 / rho);
    std::vector<double> times(static_cast<std::size_t>(steps) + 1);
    for (std::int64_t i = 0; i <= steps; ++i)
      times[static_cast<std::size_t>(i)] =
          std::pow(first + (last - first) * (static_cast<double>(i) / static_cast<double>(steps)), rho);
    times.front() = start;
    times.back() = end;
    return from_times(std::move(times));
  }

  /// The given times.
  /// \throw ValueError for fewer than two, one that is not finite, or where they are not strictly monotone, naming
  ///        the index
  [[nodiscard]] static TimeGrid from_times(std::vector<double> times) {
    if (times.size() < 2)
      throw ValueError("time grid: expected at least two times, got " + std::to_string(times.size()));
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (!std::isfinite(times[i])) throw ValueError("time grid: time " + std::to_string(i) + " is not finite");
      if (i > 0 && times[i] == times[i - 1])
        throw ValueError("time grid: dt is zero: times " + std::to_string(i - 1) + " and " + std::to_string(i) +
                         " are both " + detail::shown(times[i]));
      if (i > 0 && (times[i] > times[i - 1]) != (times[1] > times[0]))
        throw ValueError("time grid: not monotone: time " + std::to_string(i) + " is " + detail::shown(times[i]) +
                         " after " + detail::shown(times[i - 1]));
    }
    const double start = times.front();
    const double end = times.back();
    const auto steps = static_cast<std::int64_t>(times.size()) - 1;
    return TimeGrid(start, end, steps, std::move(times));
  }

  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }
  [[nodiscard]] double start() const noexcept { return start_; }
  [[nodiscard]] double end() const noexcept { return end_; }

  /// t_i. \pre 0 <= i <= steps()
  [[nodiscard]] double time(std::int64_t i) const noexcept {
    if (!times_.empty()) return times_[static_cast<std::size_t>(i)];
    if (i == steps_) return end_;
    return start_ + (end_ - start_) * (static_cast<double>(i) / static_cast<double>(steps_));
  }

  /// Step i, from t_i to t_(i+1); on a uniform grid all dt are the same number. \pre 0 <= i < steps()
  [[nodiscard]] Step step(std::int64_t i) const noexcept {
    const double t = time(i);
    return {i, t, times_.empty() ? dt_ : time(i + 1) - t};
  }

 private:
  TimeGrid(double start, double end, std::int64_t steps, std::vector<double> times)
      : start_(start),
        end_(end),
        dt_((end - start) / static_cast<double>(steps)),
        steps_(steps),
        times_(std::move(times)) {}

  double start_, end_;
  double dt_;  // of a uniform grid
  std::int64_t steps_;
  std::vector<double> times_;  // empty where the grid is uniform
};

}  // namespace easy_diffusion::sde
