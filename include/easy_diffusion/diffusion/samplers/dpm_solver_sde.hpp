/// \file
/// SDE-DPM-Solver++ 2M \cite lu_2022_dpm_solver_plus_plus: DPM-Solver++ 2M for the reverse-time equation with noise.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/exponential_adams.hpp"
#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// x_t = (sigma_t / sigma_s) e^(-eta h) x_s + alpha_t (1 - e^(-(1 + eta) h)) D + sigma_t sqrt(1 - e^(-2 eta h)) z, with h and
/// D of 2M: x0 of this step and of the one before, extrapolated to the middle of the step. eta = 0 is 2M without noise,
/// eta = 1 the reverse of the diffusion itself; with D = x0 alone, as in the first step, that is DDPM with the small
/// variance. No noise in a step to a clean state.
template <sde::State S>
class SdeDpmSolver2M {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .history = 1, .stochastic = true};

  /// \throw ValueError unless eta is a finite number of at least 0
  explicit SdeDpmSolver2M(double eta = 1) : eta_(eta) {
    if (!(eta >= 0 && std::isfinite(eta)))
      throw ValueError("eta: expected a number of at least 0, got " + sde::detail::shown(eta));
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_[0]; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<SdeDpmSolver2M>("SDE-DPM-Solver++", levels);
    history_.forget();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    history_.begin_step(i);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, history_.push(from, x));
    const std::size_t used = detail::step_order(2, history_.count(), levels, i);
    const double h = to.lambda() - from.lambda();
    const double forgotten = eta_ > 0 ? eta_ * h : 0;  // h may be infinite
    const auto w = detail::line_weights(history_, used, h, -std::expm1(-h - forgotten));
    history_.add_to(x, to.sigma / from.sigma * std::exp(-forgotten), detail::scaled(w, to.alpha), used);
    const double deviation = to.sigma * std::sqrt(-std::expm1(-2 * forgotten));
    if (deviation == 0) return;
    sde::make_room(z_, x);
    detail::standard_noise(noise, levels, i, z_);
    sde::detail::add_combination(x, {deviation}, z_);
  }

 private:
  double eta_;
  detail::History<S, 2> history_;
  S z_{};
};

}  // namespace easy_diffusion::diffusion
