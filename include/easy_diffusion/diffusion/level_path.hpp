/// \file
/// Levels between those of a run, for samplers that evaluate there.
#pragma once

#include <functional>
#include <utility>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"

namespace easy_diffusion::diffusion {

/// The level of a given sigma / alpha, with the time that a network is told there.
using LevelPath = std::function<NoiseLevel(double noise_to_signal)>;

/// x0 + sigma epsilon, whose time is sigma.
[[nodiscard]] inline LevelPath exploding_path() { return exploding_level; }

/// (1 - t) x0 + t epsilon.
[[nodiscard]] inline LevelPath flow_path() {
  return [](double noise_to_signal) {
    const double t = noise_to_signal / (1 + noise_to_signal);
    return NoiseLevel{t, 1 / (1 + noise_to_signal), t};
  };
}

/// Of a schedule, between its timesteps too. The path throws ValueError outside of them.
[[nodiscard]] inline LevelPath schedule_path(Schedule schedule) {
  return
      [schedule = std::move(schedule)](double noise_to_signal) { return schedule.level_with_noise(noise_to_signal); };
}

}  // namespace easy_diffusion::diffusion
