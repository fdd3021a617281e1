/// \file
/// DEIS \cite zhang_2022_deis, the exponential Adams-Bashforth method on epsilon.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/epsilon_history.hpp"
#include "easy_diffusion/diffusion/detail/exponential_adams.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// tAB-DEIS of order p: epsilon is a polynomial of degree p - 1 through the evaluations of this step and of those before, and
/// its integral is exact. The time t of the polynomial is lambda here, which is the same for every way to scale a state. One
/// evaluation a step; orders rise from 1 at the first step and fall to 1 at the last where that leads to a clean state. Order 1
/// is DDIM with eta = 0. The first step leaves an error of second order; a higher order shows where the run has a past
/// (`remember`).
template <sde::State S, int order>
class Deis : public detail::EpsilonMultistep<S, order> {
  using detail::EpsilonMultistep<S, order>::history_;

 public:
  static constexpr SamplerTraits traits{.order = std::min(order, 2),
                                        .best_order = order > 2 ? order : 0,
                                        .best_where = best_where::exact_past,
                                        .history = order - 1};

  void start(const NoiseLevels& levels) {
    detail::check_levels<Deis>("DEIS", levels);
    history_.epsilon.forget();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    history_.epsilon.begin_step(i);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    history_.evaluate(denoiser, x, from);
    const std::size_t used = detail::step_order(order, history_.epsilon.count(), levels, i);
    std::array<double, std::size_t{order}> w{};
    if (used > 1) {
      w = detail::integrated_lagrange(detail::history_nodes(history_.epsilon, used, 0, to), used,
                                      detail::exponential_moments<std::size_t{order}>(from.lambda() - to.lambda()));
      w = detail::scaled(w, to.sigma);
    }
    history_.move(x, to, w, used);
  }
};

}  // namespace easy_diffusion::diffusion
