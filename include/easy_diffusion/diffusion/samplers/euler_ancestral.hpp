/// \file
/// Euler's method with fresh noise at every step.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/ancestral.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// An Euler step down to sigma_down, then noise of deviation sigma_up, sigma_down^2 + sigma_up^2 = sigma_t^2 with
/// sigma_up = eta times the posterior's deviation, at most sigma_t \cite song_2020_ddim. With eta up to 1 and a noise
/// scale of 1 it is DDIM; beyond, it is a setting of its own. eta = 0 is Euler to the last bit.
template <sde::State S>
class EulerAncestral {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 1, .stochastic = true};

  /// \throw ValueError for a negative or not finite option
  explicit EulerAncestral(const AncestralOptions& options = {}) : options_(options) {
    detail::check_ancestral(options);
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const { detail::check_levels<EulerAncestral>("Euler ancestral", levels); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    sde::make_room(x0_, x);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, x0_);
    const auto [down, deviation] = detail::ancestral_step(from, to, options_.eta);
    detail::StepWeights weights = detail::keep_epsilon(from, down);
    weights.noise = options_.noise_scale * deviation;
    if (weights.noise == 0) {
      detail::move(weights, x, x0_);
      return;
    }
    sde::make_room(z_, x);
    detail::standard_noise(noise, levels, i, z_);
    detail::move(weights, x, x0_, z_);
  }

 private:
  AncestralOptions options_;
  S x0_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
