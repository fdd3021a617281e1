/// \file
/// Levels between those of a run, for samplers that evaluate there.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>
#include <utility>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"

namespace easy_diffusion::diffusion {

/// The level of a given sigma / alpha, with the time that a network is told there: any function that finds it.
class LevelPath {
 public:
  LevelPath() = default;
  LevelPath(std::nullptr_t) noexcept {}
  /// \param highest the largest sigma / alpha that has a level, perhaps infinity; 0: not known, so that no sampler asks for
  ///                one above the levels of its run
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, LevelPath> && std::is_invocable_r_v<NoiseLevel, const F&, double>)
  LevelPath(F level_of, double highest = 0) : level_of_(std::move(level_of)), highest_(highest) {}

  explicit operator bool() const noexcept { return static_cast<bool>(level_of_); }
  /// \pre not empty
  [[nodiscard]] NoiseLevel operator()(double noise_to_signal) const { return level_of_(noise_to_signal); }
  [[nodiscard]] double highest() const noexcept { return highest_; }

 private:
  std::function<NoiseLevel(double)> level_of_;
  double highest_ = 0;
};

/// x0 + sigma epsilon, whose time is sigma.
[[nodiscard]] inline LevelPath exploding_path() {
  return {exploding_level, std::numeric_limits<double>::infinity()};
}

/// (1 - t) x0 + t epsilon.
[[nodiscard]] inline LevelPath flow_path() {
  return {[](double noise_to_signal) {
            const double t = noise_to_signal / (1 + noise_to_signal);
            return NoiseLevel{t, 1 / (1 + noise_to_signal), t};
          },
          std::numeric_limits<double>::infinity()};
}

/// Of a schedule, between its timesteps too. The path throws ValueError outside of them.
[[nodiscard]] inline LevelPath schedule_path(Schedule schedule) {
  // Between the last timestep and one before it there is no level where it is pure noise.
  double highest = 0;
  for (std::int64_t t = schedule.steps() - 1; t >= 0 && highest == 0; --t)
    if (!schedule.level(t).is_pure_noise()) highest = schedule.level(t).noise_to_signal();
  return {[schedule = std::move(schedule)](double noise_to_signal) { return schedule.level_with_noise(noise_to_signal); },
          highest};
}

}  // namespace easy_diffusion::diffusion
