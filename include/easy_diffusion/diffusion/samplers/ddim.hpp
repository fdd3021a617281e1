/// \file
/// DDIM \cite song_2020_ddim, with DDPM as one end of it.
#pragma once

#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// x_t = alpha_t x0 + sqrt(sigma_t^2 - s^2) epsilon + s z, where s is eta times the deviation of the posterior of x_t given
/// x_s and x0. eta = 0 is the probability-flow equation by Euler's method (in x / alpha and sigma / alpha), eta = 1 is
/// DDPM with the small variance, at any stride.
template <sde::State S>
class Ddim {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 1, .stochastic = true, .any_direction = true};

  /// \throw ValueError unless 0 <= eta <= 1
  explicit Ddim(double eta = 0) : eta_(eta) {
    if (!(eta >= 0 && eta <= 1)) throw ValueError("eta: expected a number from 0 to 1, got " + sde::detail::shown(eta));
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const {
    detail::check_levels<Ddim>("DDIM", levels);
    if (eta_ > 0 && !levels.denoises()) throw ValueError("DDIM: from picture to noise eta must be 0");
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    sde::make_room(x0_, x);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, x0_);
    const double deviation = eta_ * posterior_deviation(from, to);
    if (deviation == 0) {
      detail::move(detail::keep_epsilon(from, to), x, x0_);
      return;
    }
    sde::make_room(z_, x);
    detail::standard_noise(noise, i, from, z_);
    const double kept = std::sqrt(std::fmax(0, to.sigma * to.sigma - deviation * deviation)) / from.sigma;
    detail::move({kept, to.alpha - from.alpha * kept, deviation}, x, x0_, z_);
  }

  /// Deviation of the posterior of the cleaner state given the noisier one and x0:
  /// sqrt(beta sigma_t^2 / sigma_s^2) with beta = sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2.
  [[nodiscard]] static double posterior_deviation(const NoiseLevel& from, const NoiseLevel& to) {
    const double kept = from.alpha / to.alpha * to.sigma;
    return std::sqrt(std::fmax(0, from.sigma * from.sigma - kept * kept)) * to.sigma / from.sigma;
  }

 private:
  double eta_;
  S x0_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
