/// \file
/// Ancestral steps: a deterministic step beyond the level that is wanted, and noise back up to it.
#pragma once

#include <algorithm>
#include <cmath>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/transition.hpp"
#include "easy_diffusion/sde/grid.hpp"

namespace easy_diffusion::diffusion {

struct AncestralOptions {
  double eta = 1;          ///< share of the posterior's noise; 0: none. Above 1: more, as far as the level allows
  double noise_scale = 1;  ///< "s_noise": what the noise is multiplied by beside
};

namespace detail {

/// \throw ValueError for a negative or not finite number
inline void check_ancestral(const AncestralOptions& options) {
  if (!(options.eta >= 0 && options.noise_scale >= 0 && std::isfinite(options.eta) &&
        std::isfinite(options.noise_scale)))
    throw ValueError("ancestral sampler: expected a finite eta and noise scale of at least 0, got " +
                     sde::detail::shown(options.eta) + " and " + sde::detail::shown(options.noise_scale));
}

struct AncestralStep {
  NoiseLevel down;       ///< where the deterministic step leads; alpha and time are those of the wanted level
  double deviation = 0;  ///< of the noise back up
};

/// \pre `from` has noise, `to` is cleaner
[[nodiscard]] inline AncestralStep ancestral_step(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  const double up = std::min(to.sigma, eta * std::sqrt(transition(from, to).variance));
  if (up == 0) return {to, 0};
  NoiseLevel down = to;
  if (eta <= 1) {
    // sqrt(sigma_t^2 - up^2), without the difference
    const double kept = eta * from.alpha / to.alpha * to.sigma;
    down.sigma = to.sigma / from.sigma * std::hypot(std::sqrt(1 - eta * eta) * from.sigma, kept);
  } else {
    down.sigma = std::sqrt(std::fmax(0, (to.sigma - up) * (to.sigma + up)));
  }
  return {down, up};
}

}  // namespace detail

}  // namespace easy_diffusion::diffusion
