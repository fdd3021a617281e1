/// \file
/// How much of a picture and how much noise a state holds, and the list of such levels that a sampler walks along.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/grid.hpp"

namespace easy_diffusion::diffusion {

/// A state at this level is alpha x0 + sigma epsilon, with epsilon standard normal. Variance preserving: alpha^2 + sigma^2 = 1;
/// variance exploding: alpha = 1; rectified flow: alpha + sigma = 1.
struct NoiseLevel {
  double time = 0;   ///< what a network is told: a timestep, perhaps between two whole ones, or a time or noise level
  double alpha = 1;
  double sigma = 0;

  /// sigma / alpha, the noise level of x / alpha; infinite for pure noise.
  [[nodiscard]] double noise_to_signal() const noexcept {
    return alpha > 0 ? sigma / alpha : std::numeric_limits<double>::infinity();
  }
  /// log(alpha / sigma), half the logarithm of the signal-to-noise ratio: plus infinity for a clean state, minus infinity
  /// for pure noise.
  [[nodiscard]] double lambda() const noexcept {
    if (sigma <= 0) return std::numeric_limits<double>::infinity();
    return alpha > 0 ? std::log(alpha / sigma) : -std::numeric_limits<double>::infinity();
  }
  [[nodiscard]] bool is_clean() const noexcept { return sigma == 0; }
  [[nodiscard]] bool is_pure_noise() const noexcept { return alpha == 0; }

  friend bool operator==(const NoiseLevel&, const NoiseLevel&) = default;
};

/// Level of variance exploding: x = x0 + sigma epsilon, whose time is sigma itself.
[[nodiscard]] inline NoiseLevel exploding_level(double sigma) { return {sigma, 1, sigma}; }

/// The levels of a run, each cleaner than the one before (or each noisier, for the way from a picture to its noise): step i
/// leads from level i to level i + 1. Only the first and the last may be clean or pure noise. A way has at least one step,
/// but for `tail(0)`.
class NoiseLevels {
 public:
  /// \throw ValueError for fewer than two, a level with a negative or not finite number or with alpha = sigma = 0, and
  ///        where signal-to-noise ratios are not strictly monotone, naming the place
  explicit NoiseLevels(std::vector<NoiseLevel> levels) : levels_(std::move(levels)) {
    if (levels_.size() < 2)
      throw ValueError("noise levels: expected at least two, got " + std::to_string(levels_.size()));
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      const NoiseLevel& level = levels_[i];
      if (!std::isfinite(level.time) || !(level.alpha >= 0) || !(level.sigma >= 0) || !std::isfinite(level.alpha) ||
          !std::isfinite(level.sigma) || level.alpha + level.sigma == 0)
        throw ValueError("noise levels: expected a finite time and alpha, sigma of at least 0, not both 0, got " +
                         shown(level) + " at place " + std::to_string(i));
      if (i == 0) continue;
      const double before = levels_[i - 1].lambda(), now = level.lambda();
      if (now == before || (now > before) != (levels_[1].lambda() > levels_[0].lambda()))
        throw ValueError("noise levels: expected signal-to-noise ratios that rise (or fall) strictly, got " +
                         shown(level) + " at place " + std::to_string(i) + " after " + shown(levels_[i - 1]));
    }
  }

  [[nodiscard]] std::int64_t steps() const noexcept { return static_cast<std::int64_t>(levels_.size()) - 1; }
  /// \pre 0 <= i <= steps()
  [[nodiscard]] const NoiseLevel& operator[](std::int64_t i) const noexcept {
    return levels_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] const NoiseLevel& front() const noexcept { return levels_.front(); }
  [[nodiscard]] const NoiseLevel& back() const noexcept { return levels_.back(); }
  [[nodiscard]] const std::vector<NoiseLevel>& all() const noexcept { return levels_; }

  /// Whether the levels lead from noise to picture. True of a way of no steps.
  [[nodiscard]] bool denoises() const noexcept {
    return steps() == 0 || levels_[1].lambda() > levels_[0].lambda();
  }

  /// From the other end: for the way from a picture to its noise.
  [[nodiscard]] NoiseLevels reversed() const {
    if (steps() == 0) return *this;
    return NoiseLevels(std::vector<NoiseLevel>(levels_.rbegin(), levels_.rend()));
  }

  /// The last `strength` of the steps, at least one: picture to picture starts amid the way, from a picture noised to
  /// `front()` \cite meng_2021_sdedit. 1: all steps. 0: none, only the last level; where that is clean a picture noised to
  /// it is the picture, and a run along it leaves it.
  /// \throw ValueError unless 0 <= strength <= 1
  [[nodiscard]] NoiseLevels tail(double strength) const {
    if (!(strength >= 0 && strength <= 1))
      throw ValueError("strength: expected a number from 0 to 1, got " + sde::detail::shown(strength));
    if (strength == 0 || steps() == 0) {
      NoiseLevels none = *this;
      none.levels_.assign(1, levels_.back());
      return none;
    }
    const auto kept = std::clamp<std::int64_t>(std::llround(strength * static_cast<double>(steps())), 1, steps());
    return NoiseLevels(std::vector<NoiseLevel>(levels_.end() - static_cast<std::ptrdiff_t>(kept) - 1, levels_.end()));
  }

 private:
  static std::string shown(const NoiseLevel& level) {
    return "(time " + sde::detail::shown(level.time) + ", alpha " + sde::detail::shown(level.alpha) + ", sigma " +
           sde::detail::shown(level.sigma) + ")";
  }

  std::vector<NoiseLevel> levels_;
};

}  // namespace easy_diffusion::diffusion
