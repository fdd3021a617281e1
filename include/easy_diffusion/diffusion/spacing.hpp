/// \file
/// Which levels of a schedule a run of few steps visits.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/sde/grid.hpp"

namespace easy_diffusion::diffusion {

/// The timesteps of n of T steps. The first four are whole; the others may lie between two.
enum class Spacing {
  leading,      ///< floor(i T / n): from 0 on, short of T - 1 (a single one is 0); what DDIM used
  trailing,     ///< round((i + 1) T / n) - 1, halves to even: T - 1 is one of them
  linspace,     ///< from 0 to T - 1, rounded, halves to even
  quadratic,    ///< squares of numbers that rise evenly from 0 to the square root of T - 1, rounded
  karras,       ///< (sigma / alpha)^(1 / rho) falls evenly \cite karras_2022_elucidating
  exponential,  ///< log(sigma / alpha) falls evenly
  log_snr       ///< the same as exponential, by the name it has where lambda = log(alpha / sigma) is spoken of
};

inline constexpr std::array<std::string_view, 7> spacing_names = {"leading", "trailing",    "linspace", "quadratic",
                                                                  "karras",  "exponential", "log_snr"};

/// \throw ValueError naming what there is
[[nodiscard]] inline Spacing spacing_by_name(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < spacing_names.size(); ++i) {
    if (spacing_names[i] == name) return static_cast<Spacing>(i);
    known += (i > 0 ? ", " : "") + std::string(spacing_names[i]);
  }
  throw ValueError("spacing: expected one of " + known + ", got '" + std::string(name) + "'");
}

/// Where the last step of a run leads.
enum class End {
  clean,    ///< to the picture, by a step of first order
  smallest  ///< to the schedule's cleanest level that has noise: n steps then visit n + 1 timesteps
};

/// How times of whole timesteps become whole.
enum class Rounding {
  nearest,   ///< to the nearest, and pushed apart until all differ
  truncated  ///< towards 0, and repeated where two become one
};

struct SpacingOptions {
  Spacing spacing = Spacing::trailing;
  End end = End::clean;
  double rho = 7;              ///< of the Karras spacing
  double quadratic_end = 1;    ///< share of the T - 1 that the quadratic spacing reaches; the original's is 0.8 T / (T - 1)
  Rounding rounding = Rounding::nearest;  ///< of the quadratic spacing; the others have theirs
};

/// The quadratic timesteps of the original \cite song_2020_ddim, to the number: squares of n numbers from 0 to the root
/// of 0.8 T, truncated. Small ones are repeated: 100 of 1000 begin with four zeros. \pre total > 1
[[nodiscard]] inline SpacingOptions original_quadratic(std::int64_t total) {
  return {.spacing = Spacing::quadratic,
          .quadratic_end = 0.8 * static_cast<double>(total) / static_cast<double>(total - 1),
          .rounding = Rounding::truncated};
}

namespace detail {

/// To the nearest whole number, halves to the even one, whatever the mode of the processor: what NumPy and PyTorch do, and
/// with them the programs that others compare by. \pre value >= 0
[[nodiscard]] inline double rounded_to_even(double value) {
  const double below = std::floor(value), part = value - below;
  if (part != 0.5) return std::round(value);
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

/// Squares of n numbers from 0 to the root of `end`, truncated: as NumPy's linspace makes them, whose bits decide on which
/// side of a whole number a square lies.
inline std::vector<std::int64_t> truncated_squares(double end, std::int64_t n) {
  const double whole = std::round(end);
  const double root = std::sqrt(std::abs(end - whole) < 1e-9 * end ? whole : end);
  const double step = n > 1 ? root / static_cast<double>(n - 1) : 0;
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = n > 1 && i + 1 == n ? root : static_cast<double>(i) * step;
    result.push_back(static_cast<std::int64_t>(value * value));
  }
  return result;
}

/// Rounded to whole numbers, and pushed apart where that makes two the same: rising, each in [0, total).
inline std::vector<std::int64_t> distinct_rounded(const std::vector<double>& times, std::int64_t total) {
  const auto n = static_cast<std::int64_t>(times.size());
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t lowest = result.empty() ? 0 : result.back() + 1;
    const std::int64_t highest = total - n + i;  // leaves room for those to come
    result.push_back(std::clamp<std::int64_t>(std::llround(times[static_cast<std::size_t>(i)]), lowest, highest));
  }
  return result;
}

}  // namespace detail

/// n whole timesteps in [0, T), rising; all differ unless the rounding is `truncated`.
/// \throw ValueError unless 1 <= n <= T, for a spacing whose times are not whole, and a quadratic end outside (0, 1]
[[nodiscard]] inline std::vector<std::int64_t> timesteps(std::int64_t total, std::int64_t n,
                                                         const SpacingOptions& options = {}) {
  if (!(n >= 1 && n <= total))
    throw ValueError("steps: expected 1 to " + std::to_string(total) + ", got " + std::to_string(n));
  if (!(options.quadratic_end > 0 && options.quadratic_end <= 1))
    throw ValueError("quadratic spacing: expected an end above 0 and at most 1, got " +
                     sde::detail::shown(options.quadratic_end));
  const auto whole = [&](std::int64_t i) { return static_cast<double>(i) * static_cast<double>(total) / static_cast<double>(n); };
  const double last = static_cast<double>(total - 1);
  if (options.rounding == Rounding::truncated) {
    if (options.spacing != Spacing::quadratic)
      throw ValueError("timesteps: truncated rounding is that of the quadratic spacing, got another");
    return detail::truncated_squares(last * options.quadratic_end, n);
  }
  std::vector<double> times;
  for (std::int64_t i = 0; i < n; ++i) {
    // Of the last two a single step starts where the noise is.
    const double part = n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 1;
    switch (options.spacing) {
      case Spacing::leading: times.push_back(static_cast<double>(i * total / n)); break;
      case Spacing::trailing: times.push_back(detail::rounded_to_even(whole(i + 1)) - 1); break;
      case Spacing::linspace: times.push_back(detail::rounded_to_even(last * part)); break;
      case Spacing::quadratic: times.push_back(last * options.quadratic_end * part * part); break;
      default: throw ValueError("timesteps: expected a spacing of whole timesteps");
    }
  }
  return detail::distinct_rounded(times, total);
}

/// The levels of a run of n steps, from noise to picture. Truncated timesteps that are repeated are visited once: a step
/// from a level to itself leaves the state as it is, so that the picture is that of n steps, in fewer.
/// \throw ValueError unless 1 <= n <= T (with `End::smallest` n < T), for rho that is not positive, and for a spacing in
///        sigma / alpha where the schedule ends in pure noise
[[nodiscard]] inline NoiseLevels noise_levels(const Schedule& schedule, std::int64_t n,
                                              const SpacingOptions& options = {}) {
  const bool clean = options.end == End::clean;
  const std::int64_t count = clean ? n : n + 1;
  const std::int64_t total = schedule.steps();
  if (!(n >= 1 && count <= total))
    throw ValueError("steps: expected 1 to " + std::to_string(clean ? total : total - 1) + ", got " + std::to_string(n));
  std::vector<NoiseLevel> levels;
  if (options.spacing <= Spacing::quadratic) {
    std::vector<std::int64_t> times = timesteps(total, count, options);
    if (!clean) times.front() = 0;
    times.erase(std::unique(times.begin(), times.end()), times.end());
    if (times.size() == 1 && !clean)
      throw ValueError("spacing: expected two different timesteps to end at the smallest, got one");
    for (auto t = times.rbegin(); t != times.rend(); ++t) levels.push_back(schedule.level(*t));
  } else {
    const double from = schedule.level(total - 1).noise_to_signal(), to = schedule.level(0).noise_to_signal();
    if (!std::isfinite(from))
      throw ValueError("spacing: " + std::string(spacing_names[static_cast<std::size_t>(options.spacing)]) +
                       " needs a schedule that does not end in pure noise");
    if (!(options.rho > 0) || !std::isfinite(options.rho))
      throw ValueError("Karras spacing: expected rho above 0, got " + sde::detail::shown(options.rho));
    const double power = 1 / options.rho;
    for (std::int64_t i = 0; i < count; ++i) {
      if (i == 0 || i + 1 == count) {
        levels.push_back(schedule.level(i == 0 ? total - 1 : 0));
        continue;
      }
      const double part = static_cast<double>(i) / static_cast<double>(count - 1);
      const double noise =
          options.spacing == Spacing::karras
              ? std::pow(std::pow(from, power) + part * (std::pow(to, power) - std::pow(from, power)), options.rho)
              : std::exp(std::log(from) + part * (std::log(to) - std::log(from)));
      levels.push_back(schedule.level_with_noise(noise));
    }
  }
  if (clean) levels.push_back(schedule.level(-1));
  return NoiseLevels(std::move(levels));
}

/// Levels x0 + sigma epsilon from `high` down to `low`, spaced as in \cite karras_2022_elucidating, whose time is sigma.
/// With `End::clean` n steps visit n of them and then the picture.
/// \throw ValueError unless n >= 1, 0 < low < high and rho > 0
[[nodiscard]] inline NoiseLevels karras_levels(double high, double low, std::int64_t n, double rho = 7,
                                               End end = End::clean) {
  if (n < 1) throw ValueError("steps: expected at least 1, got " + std::to_string(n));
  if (!(low > 0 && low < high && std::isfinite(high)) || !(rho > 0))
    throw ValueError("Karras levels: expected 0 < low < high and rho above 0, got " + sde::detail::shown(low) + ", " +
                     sde::detail::shown(high) + " and " + sde::detail::shown(rho));
  const std::int64_t count = end == End::clean ? n : n + 1;
  const double from = std::pow(high, 1 / rho), to = std::pow(low, 1 / rho);
  std::vector<NoiseLevel> levels;
  for (std::int64_t i = 0; i < count; ++i) {
    const double part = count > 1 ? static_cast<double>(i) / static_cast<double>(count - 1) : 0;
    levels.push_back(exploding_level(i == 0 ? high : i + 1 == count ? low : std::pow(from + part * (to - from), rho)));
  }
  if (end == End::clean) levels.push_back(exploding_level(0));
  return NoiseLevels(std::move(levels));
}

/// Levels (1 - t) x0 + t epsilon of rectified flow \cite liu_2022_rectified_flow from t = 1, pure noise, to t = 0 in n
/// equal steps. \throw ValueError unless n >= 1
[[nodiscard]] inline NoiseLevels flow_levels(std::int64_t n) {
  if (n < 1) throw ValueError("steps: expected at least 1, got " + std::to_string(n));
  std::vector<NoiseLevel> levels;
  for (std::int64_t i = 0; i <= n; ++i) {
    const double t = static_cast<double>(n - i) / static_cast<double>(n);
    levels.push_back({t, static_cast<double>(i) / static_cast<double>(n), t});
  }
  return NoiseLevels(std::move(levels));
}

}  // namespace easy_diffusion::diffusion
