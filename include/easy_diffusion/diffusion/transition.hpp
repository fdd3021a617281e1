/// \file
/// What lies between two levels of one picture: how much noise the noisier has on top, and where the cleaner was, given
/// the noisier and x0 \cite ho_2020_ddpm.
#pragma once

#include <algorithm>

#include "easy_diffusion/diffusion/noise_level.hpp"

namespace easy_diffusion::diffusion {

/// The noisier state is x_s = (alpha_s / alpha_t) x_t + sqrt(beta) noise; given it and x0 the cleaner x_t is normal about
/// x x_s + x0 x0. Of neighbours in a variance-preserving chain beta is 1 - alpha_bar_s / alpha_bar_t, at any stride.
struct Transition {
  double beta = 0;
  double x = 0;         ///< share of x_s in the mean of x_t
  double x0 = 1;        ///< share of x0 in it
  double variance = 0;  ///< of x_t given x_s and x0; 0 where x_t is clean
};

/// \pre `from` has noise, `to` is cleaner
[[nodiscard]] inline Transition transition(const NoiseLevel& from, const NoiseLevel& to) {
  const double ratio = from.alpha / to.alpha;
  const double kept = ratio * to.sigma;  // of the noise in x_s, the part that x_t had
  const double beta = std::max(0.0, (from.sigma - kept) * (from.sigma + kept));
  const double share = to.sigma / from.sigma;
  const double rest = beta / (from.sigma * from.sigma);
  return {beta, ratio * share * share, to.alpha * rest, beta * share * share};
}

}  // namespace easy_diffusion::diffusion
