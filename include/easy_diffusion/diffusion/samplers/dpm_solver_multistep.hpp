/// \file
/// DPM-Solver++ with steps that look back \cite lu_2022_dpm_solver_plus_plus: 2M and 3M.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/exponential_adams.hpp"
#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - e^(-h)) D, with h = lambda_t - lambda_s and D extrapolated from the x0 of
/// this step and of those before. One evaluation a step. Orders rise from 1 at the first step and fall to 1 at the last where
/// that leads to a clean state. Order 1 is DDIM with eta = 0.
///
/// The first step leaves an error of second order, which is what 3M has as a whole; its own order shows where the run has a
/// past (`remember`). Its quadratic is integrated exactly: the programs that come with the paper halve the last term, which
/// leaves a method of order 2.
template <sde::State S, int order>
class DpmSolverMultistep {
  static_assert(order >= 1 && order <= 3, "DpmSolverMultistep: the order is 1, 2 or 3");

 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = std::min(order, 2),
                                        .best_order = order > 2 ? order : 0,
                                        .best_where = best_where::exact_past,
                                        .history = order - 1};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_[0]; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<DpmSolverMultistep>("DPM-Solver++", levels);
    history_.forget();
  }

  /// An evaluation made before the run, at a level noisier than its first: after `start`, the oldest first.
  void remember(const NoiseLevel& level, const S& /*x*/, const S& x0) { history_.push(level, x0) = x0; }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    history_.begin_step(i);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, history_.push(from, x));
    const std::size_t used = detail::step_order(order, history_.count(), levels, i);
    history_.add_to(x, to.sigma / from.sigma, detail::scaled(detail::predictor_weights(history_, used, to), to.alpha),
                    used);
  }

 private:
  detail::History<S, std::size_t{order}> history_;
};

template <sde::State S>
using DpmSolver2M = DpmSolverMultistep<S, 2>;
template <sde::State S>
using DpmSolver3M = DpmSolverMultistep<S, 3>;

}  // namespace easy_diffusion::diffusion
