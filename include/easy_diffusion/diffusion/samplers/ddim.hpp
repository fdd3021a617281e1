/// \file
/// DDIM \cite song_2020_ddim, with DDPM as one end of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/original_clip.hpp"
#include "easy_diffusion/diffusion/transition.hpp"
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
  explicit Ddim(double eta = 0, OriginalClip clip = OriginalClip::off) : eta_(eta), clip_(clip) {
    if (!(eta >= 0 && eta <= 1)) throw ValueError("eta: expected a number from 0 to 1, got " + sde::detail::shown(eta));
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  /// \throw ValueError for levels from picture to noise unless eta = 0, or that begin with a clean state
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
    double deviation = 0, epsilon = to.sigma;
    if (eta_ > 0) {
      deviation = eta_ * posterior_deviation(from, to);
      // sqrt(sigma_t^2 - deviation^2), without the difference
      const double fresh = std::sqrt(1 - eta_ * eta_) * from.sigma, kept = eta_ * from.alpha / to.alpha * to.sigma;
      epsilon = to.sigma / from.sigma * std::hypot(fresh, kept);
    }
    if (clip_ == OriginalClip::on) clip(x, from);
    const double kept = epsilon / from.sigma;
    const detail::StepWeights weights{kept, clip_ == OriginalClip::on ? to.alpha : to.alpha - from.alpha * kept,
                                      deviation};
    if (deviation == 0) {
      detail::move(weights, x, x0_);
      return;
    }
    sde::make_room(z_, x);
    detail::standard_noise(noise, levels, i, z_);
    detail::move(weights, x, x0_, z_);
  }

  /// Deviation of the posterior of the cleaner state given the noisier one and x0. \pre `to` is cleaner
  [[nodiscard]] static double posterior_deviation(const NoiseLevel& from, const NoiseLevel& to) {
    return std::sqrt(transition(from, to).variance);
  }

 private:
  /// x becomes its noise sigma epsilon, before x0 is clamped.
  void clip(S& x, const NoiseLevel& from) {
    sde::update_elements(
        [alpha = from.alpha](auto& e, auto& p) {
          using T = std::remove_reference_t<decltype(e)>;
          e -= static_cast<T>(alpha) * p;
          p = std::clamp(p, T(-1), T(1));
        },
        x, x0_);
  }

  double eta_;
  OriginalClip clip_;
  S x0_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
