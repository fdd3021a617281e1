/// \file
/// Steps that several samplers share.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/noise_step.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

// Sums of two products say which is rounded alone: the bits of an element are then the same wherever in a batch it lies.

/// to = x x_from + x0 x0 + noise z.
struct StepWeights {
  double x = 0;
  double x0 = 0;
  double noise = 0;
};

/// From one level to another with epsilon kept, which is DDIM and, of x / alpha, Euler's method:
/// alpha_t x0 + sigma_t (x - alpha_s x0) / sigma_s. It has no infinity at clean states or pure noise.
[[nodiscard]] inline StepWeights keep_epsilon(const NoiseLevel& from, const NoiseLevel& to) {
  const double kept = to.sigma / from.sigma;
  return {kept, to.alpha - from.alpha * kept, 0};
}

/// x <- w.x x + w.x0 x0
template <sde::State S>
void move(const StepWeights& w, S& x, const S& x0) {
  sde::update_elements(
      [w](auto& e, const auto& p) {
        using T = std::remove_reference_t<decltype(e)>;
        e = sde::detail::multiply_add(static_cast<T>(w.x), e, static_cast<T>(w.x0) * p);
      },
      x, x0);
}

/// x <- w.x x + w.x0 x0 + w.noise z
template <sde::State S>
void move(const StepWeights& w, S& x, const S& x0, const S& z) {
  sde::update_elements(
      [w](auto& e, const auto& p, const auto& n) {
        using T = std::remove_reference_t<decltype(e)>;
        const T drift = sde::detail::multiply_add(static_cast<T>(w.x), e, static_cast<T>(w.x0) * p);
        e = sde::detail::multiply_add(static_cast<T>(w.noise), n, drift);
      },
      x, x0, z);
}

/// Standard normal noise of step i.
template <sde::State S, class Noise>
void standard_noise(Noise& noise, const NoiseLevels& levels, std::int64_t i, S& z) {
  sde::standard_increment(noise, noise_step(levels, i), z);
}

}  // namespace easy_diffusion::diffusion::detail
