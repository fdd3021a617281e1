/// \file
/// What samplers with two evaluations a step share.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// A step to a clean state is the predicted x0; one from pure noise or to it has no finite length in sigma / alpha.
/// Both are made by keeping epsilon, with one evaluation.
[[nodiscard]] inline bool is_first_order_step(const NoiseLevel& from, const NoiseLevel& to) {
  return to.is_clean() || from.is_pure_noise() || to.is_pure_noise();
}

/// How many of the steps are such: only the first and the last can be.
[[nodiscard]] inline std::int64_t first_order_steps(const NoiseLevels& levels) {
  const std::int64_t n = levels.steps();
  if (n == 0) return 0;
  const std::int64_t first = is_first_order_step(levels[0], levels[1]) ? 1 : 0;
  return n == 1 ? first : first + (is_first_order_step(levels[n - 1], levels[n]) ? 1 : 0);
}

/// Length of a step of y = x / alpha in s = sigma / alpha, as it moves x along epsilon: alpha_t (s_t - s_s).
[[nodiscard]] inline double epsilon_length(const NoiseLevel& from, const NoiseLevel& to) {
  return to.sigma - from.sigma * (to.alpha / from.alpha);
}

/// Heun's step: y_t = y_s + (s_t - s_s) (epsilon_s + epsilon') / 2 with epsilon' found at the end of an Euler step.
/// That keeps epsilon_s, so that the two differ by alpha_t (x0_s - x0') / sigma_t, and the state at the beginning need
/// not be kept.
/// \param[out] x0    predicted last
/// \param      other work
template <class D, sde::State S>
void heun_step(const D& denoiser, S& x, const NoiseLevel& from, const NoiseLevel& to, S& x0, S& other) {
  sde::make_room(x0, x);
  denoiser(x, from, x0);
  move(keep_epsilon(from, to), x, x0);
  if (is_first_order_step(from, to)) return;
  sde::make_room(other, x);
  denoiser(x, to, other);
  const double w = 0.5 * epsilon_length(from, to) * to.alpha / to.sigma;
  move({1, w, -w}, x, x0, other);
  std::swap(x0, other);
}

}  // namespace easy_diffusion::diffusion::detail
