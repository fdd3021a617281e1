/// \file
/// Euler's method for the probability-flow equation.
#pragma once

#include <cstdint>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Of y = x / alpha in s = sigma / alpha: y_t = y_s + (s_t - s_s) epsilon \cite karras_2022_elucidating. That is DDIM
/// with eta = 0, which does the work, and which also walks from pure noise, where s is infinite.
template <sde::State S>
class Euler {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 1, .any_direction = true};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return ddim_.evaluations(levels); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return ddim_.predicted_x0(); }

  void start(const NoiseLevels& levels) const { detail::check_levels<Euler>("Euler", levels); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    ddim_.step(denoiser, x, levels, i, noise);
  }

 private:
  Ddim<S> ddim_;
};

}  // namespace easy_diffusion::diffusion
