/// \file
/// Levels inside a step.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"

namespace easy_diffusion::diffusion::detail {

/// A path of levels that is known not to be empty.
class StepPath {
 public:
  /// \throw ValueError for an empty function, naming the sampler
  StepPath(const char* sampler, LevelPath path) : path_(std::move(path)) {
    if (!path_) throw ValueError(std::string(sampler) + ": expected a path of levels, got an empty function");
  }

  /// The level of that sigma / alpha, or the end of the step that it reaches: a path may have no levels beyond.
  [[nodiscard]] NoiseLevel between(const NoiseLevel& from, const NoiseLevel& to, double noise_to_signal) const {
    const bool falls = to.noise_to_signal() < from.noise_to_signal();
    const NoiseLevel& low = falls ? to : from;
    const NoiseLevel& high = falls ? from : to;
    if (noise_to_signal >= high.noise_to_signal()) return high;
    if (noise_to_signal <= low.noise_to_signal()) return low;
    return path_(noise_to_signal);
  }

  /// The level of that sigma / alpha, which is at least that of `from`, as far up as the path has levels.
  /// \param first the highest level of the run: how far that is where the path does not say it
  [[nodiscard]] NoiseLevel above(const NoiseLevel& from, const NoiseLevel& first, double noise_to_signal) const {
    if (path_.highest() > first.noise_to_signal() && noise_to_signal > from.noise_to_signal())
      return path_(std::min(noise_to_signal, path_.highest()));
    return between(from, first, noise_to_signal);
  }

 private:
  LevelPath path_;
};

}  // namespace easy_diffusion::diffusion::detail
