/// \file
/// Ancestral sampling of DDPM \cite ho_2020_ddpm, at any stride.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/original_clip.hpp"
#include "easy_diffusion/diffusion/transition.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// The posterior's mean for the predicted x0, plus noise of the chosen variance; the step to the clean picture is without
/// noise. Under a stride the variances are those of the levels that are visited. Fixed small is DDIM with eta = 1; fixed large
/// makes the better pictures in 1000 steps, and much worse ones in few \cite song_2020_ddim.
template <sde::State S>
class Ddpm {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 1, .stochastic = true};

  /// \param variance a learned one needs a `VarianceDenoiser`
  explicit Ddpm(VarianceType variance = VarianceType::fixed_small, OriginalClip clip = OriginalClip::off)
      : variance_(variance), clip_(clip) {}

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  /// \throw ValueError for levels from picture to noise, and with the variance `learned`, which is that of single timesteps,
  ///        for levels that leave some out (`learned_range` lies between the two variances of a step of any length)
  void start(const NoiseLevels& levels) const {
    detail::check_levels<Ddpm>("DDPM", levels);
    if (variance_ != VarianceType::learned) return;
    for (std::int64_t i = 0; i < levels.steps(); ++i) {
      // The clean picture is timestep -1.
      if (levels[i].time - levels[i + 1].time != 1)
        throw ValueError("DDPM: the variance learned is that of single timesteps: expected all of them, got a step from " +
                         sde::detail::shown(levels[i].time) + " to " + sde::detail::shown(levels[i + 1].time));
    }
  }

  /// \throw ValueError for a learned variance of a denoiser that knows none
  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    sde::make_room(x0_, x);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    if (is_learned(variance_)) {
      predict_with_variance(denoiser, x, from);
    } else {
      denoiser(x, from, x0_);
    }
    if (clip_ == OriginalClip::on) clip();
    const Transition step = transition(from, to);
    if (to.is_clean()) {
      detail::move({step.x, step.x0, 0}, x, x0_);
      return;
    }
    sde::make_room(z_, x);
    detail::standard_noise(noise, levels, i, z_);
    if (is_learned(variance_)) {
      scale_noise(log_variance(variance_, std::log(step.variance), std::log(step.beta)));
      detail::move({step.x, step.x0, 1}, x, x0_, z_);
    } else {
      const double variance = variance_ == VarianceType::fixed_small ? step.variance : step.beta;
      detail::move({step.x, step.x0, std::sqrt(variance)}, x, x0_, z_);
    }
  }

 private:
  template <class D>
  void predict_with_variance(const D& denoiser, const S& x, const NoiseLevel& level) {
    if constexpr (VarianceDenoiser<D, S>) {
      sde::make_room(v_, x);
      denoiser(x, level, x0_, v_);
    } else {
      throw ValueError("DDPM: the variance " + to_string(variance_) +
                       " needs a denoiser that writes one: denoiser(x, level, x0, v)");
    }
  }

  void clip() {
    sde::update_elements(
        [](auto& p) {
          using T = std::remove_reference_t<decltype(p)>;
          p = std::clamp(p, T(-1), T(1));
        },
        x0_);
  }

  void scale_noise(const LogVariance& variance) {
    sde::update_elements(
        [variance](auto& z, const auto& v) {
          using T = std::remove_reference_t<decltype(z)>;
          z *= static_cast<T>(std::exp(0.5 * variance(static_cast<double>(v))));
        },
        z_, v_);
  }

  VarianceType variance_;
  OriginalClip clip_;
  S x0_{}, v_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
