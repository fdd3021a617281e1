/// \file
/// iPNDM \cite zhang_2022_deis: PNDM's multistep formula, started by itself.
#pragma once

#include <algorithm>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/epsilon_history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// DDIM's step with epsilon from this step and those before by the Adams-Bashforth coefficients of equal steps, of order 1 at the
/// first step, 2 at the second, and so on to p. One evaluation a step; the last is of order 1 where it leads to a clean
/// state. Order 1 is DDIM with eta = 0.
///
/// The coefficients fit steps of equal length in sigma / alpha. Where the lengths change smoothly, as in the Karras spacing, a
/// step's differs from the one before by second order, and the method is of order 2, as it is from its first step's error
/// anyway; where they jump, as between rounded timesteps, it is of order 1. With equal steps and a past (`remember`) it is of
/// order p.
template <sde::State S, int order = 4>
class Ipndm : public detail::EpsilonMultistep<S, order> {
  using detail::EpsilonMultistep<S, order>::history_;

 public:
  static constexpr SamplerTraits traits{.order = std::min(order, 2),
                                        .best_order = order > 2 ? order : 0,
                                        .best_where = best_where::equal_steps,
                                        .history = order - 1};

  void start(const NoiseLevels& levels) {
    detail::check_levels<Ipndm>("iPNDM", levels);
    history_.epsilon.forget();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    history_.epsilon.begin_step(i);
    history_.evaluate(denoiser, x, levels[i]);
    history_.move_by_adams_bashforth(x, levels[i + 1]);
  }
};

}  // namespace easy_diffusion::diffusion
