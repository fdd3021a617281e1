/// \file
/// DPM-2: the midpoint method for the probability-flow equation, and its ancestral form.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/ancestral.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// The midpoint method of y = x / alpha in s = sigma / alpha, whose middle is that of log s: DPM-Solver-2
/// \cite lu_2022_dpm_solver in the form of \cite karras_2022_elucidating. Two evaluations a step, and one at a step of
/// order 1: to a clean state, from pure noise, or to it. With eta > 0 it is ancestral: the step leads to sigma_down,
/// and noise back up. The noise is exact, so that the weak order is 2 too.
template <sde::State S>
class Dpm2 {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .stochastic = true, .any_direction = true};

  /// \param path levels between those of the run
  /// \throw ValueError for an empty function, or a negative or not finite option
  explicit Dpm2(LevelPath path, const AncestralOptions& options = {.eta = 0})
      : path_("DPM-2", std::move(path)), options_(options) {
    detail::check_ancestral(options);
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    // A large eta makes all of a level fresh noise: such a step leads through a clean state.
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < levels.steps(); ++i)
      count += detail::is_first_order_step(levels[i], aim(levels[i], levels[i + 1]).down) ? 1 : 2;
    return count;
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const {
    detail::check_levels<Dpm2>("DPM-2", levels);
    if (options_.eta > 0 && !levels.denoises()) throw ValueError("DPM-2: from picture to noise eta must be 0");
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    const NoiseLevel& from = levels[i];
    const auto [to, deviation] = aim(from, levels[i + 1]);
    sde::make_room(x0_, x);
    denoiser(x, from, x0_);
    if (detail::is_first_order_step(from, to)) {
      detail::move(detail::keep_epsilon(from, to), x, x0_);
    } else {
      // Sigma_down may lie below all levels of the run, the middle then not: a path may have no levels there.
      const NoiseLevel& limit = deviation > 0 ? levels[levels.steps() - (levels.back().is_clean() ? 1 : 0)] : to;
      const NoiseLevel middle = path_.between(from, limit, std::sqrt(from.noise_to_signal() * to.noise_to_signal()));
      detail::move(detail::keep_epsilon(from, middle), x, x0_);
      sde::make_room(other_, x);
      denoiser(x, middle, other_);
      // The Euler step to the middle has kept epsilon; the one found there differs from it by the difference of the x0.
      const double w = detail::epsilon_length(from, to) * middle.alpha / middle.sigma;
      const detail::StepWeights kept = detail::keep_epsilon(middle, to);
      detail::move({kept.x, kept.x0 + w, -w}, x, x0_, other_);
      std::swap(x0_, other_);
    }
    const double up = options_.noise_scale * deviation;
    if (up == 0) return;
    sde::make_room(z_, x);
    detail::standard_noise(noise, levels, i, z_);
    detail::move({1, up}, x, z_);
  }

 private:
  [[nodiscard]] detail::AncestralStep aim(const NoiseLevel& from, const NoiseLevel& to) const {
    if (options_.eta == 0) return {to, 0};  // in both directions
    return detail::ancestral_step(from, to, options_.eta);
  }

  detail::StepPath path_;
  AncestralOptions options_;
  S x0_{}, other_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
