/// \file
/// One Brownian path for the noise of runs, so that a picture hardly depends on how many steps made it.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/noise_step.hpp"
#include "easy_diffusion/sde/brownian_tree.hpp"
#include "easy_diffusion/sde/concepts.hpp"

namespace easy_diffusion::diffusion {

/// A path for the noise of a run: `sde::BrownianTree<S> noise(brownian_path(levels, seed))`. Runs along other levels walk on
/// the same path where the tree's start and end are the same; it may begin earlier and end later than they need.
/// \throw ValueError for levels without a step
[[nodiscard]] inline sde::BrownianTreeConfig brownian_path(const NoiseLevels& levels, std::uint64_t seed,
                                                           std::uint64_t first_element = 0) {
  if (levels.steps() == 0) throw ValueError("Brownian path: expected levels with at least one step, got none");
  const sde::Step last = noise_step(levels, levels.steps() - 1);
  return {.seed = seed,
          .start = noise_step(levels, 0).t,
          .end = levels.back().is_clean() ? 0 : last.t + last.dt,
          .depth = 30,
          .first_element = first_element};
}

}  // namespace easy_diffusion::diffusion
