/// \file
/// When the noise of a sampler's step is drawn: the time of noise sources, which is sigma / alpha.
#pragma once

#include <cstdint>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/concepts.hpp"

namespace easy_diffusion::diffusion {

/// Step i of a run as a source of noise sees it: from the one level's sigma / alpha to the other's, so that steps share no
/// time. Of x / alpha, in that time, the reverse-time equation of every process is one and the same
/// (`detail::SignalProcess`): on one path all of its samplers come to one picture as steps grow shorter, and a picture
/// changes little with their number. Pure noise, whose sigma / alpha is infinite, counts as twice the other level's
/// (1 where that is clean).
/// \pre 0 <= i < levels.steps()
[[nodiscard]] inline sde::Step noise_step(const NoiseLevels& levels, std::int64_t i) {
  const NoiseLevel& from = levels[i];
  const NoiseLevel& to = levels[i + 1];
  const auto time = [](const NoiseLevel& level, const NoiseLevel& other) {
    if (!level.is_pure_noise()) return level.noise_to_signal();
    return other.is_clean() ? 1.0 : 2 * other.noise_to_signal();
  };
  const double begin = time(from, to);
  return {i, begin, time(to, from) - begin};
}

}  // namespace easy_diffusion::diffusion
