/// \file
/// UniPC \cite zhao_2023_unipc: a predictor and a corrector that costs no evaluation.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/exponential_adams.hpp"
#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// UniPC-p with B(h) = e^h - 1 and x0 predicted. The predictor UniP-p is DPM-Solver++ of order p; the x0 found where it
/// arrives serves the next step, and first the corrector UniC-p: the step is taken again with a polynomial through that x0
/// too, which raises its order to p + 1. As both begin at the same state, the corrector only adds the difference of their
/// weights to x. So a state is corrected as the next step begins, and the last one, for which nothing is evaluated, is not.
///
/// The p of a step is at most one more than the evaluations before it, and the number of steps left before a clean end. The
/// first step, corrected, leaves an error of third order: what UniPC-3 has beyond that shows where the run has a past
/// (`remember`), or begins at so much noise that x0 hardly changes: there its order is 4 (`best_order`). A step from pure noise is of order 1 and not corrected.
template <sde::State S, int order>
class UniPc {
  static_assert(order >= 1 && order <= 3, "UniPc: the order is 1, 2 or 3");

 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = std::min(order + 1, 3),
                                        .best_order = order > 2 ? order + 1 : 0,
                                        .best_where = best_where::with_past,
                                        .history = order};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_[0]; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<UniPc>("UniPC", levels);
    history_.forget();
    to_correct_ = 0;
  }

  /// An evaluation made before the run, at a level noisier than its first: after `start`, the oldest first.
  void remember(const NoiseLevel& level, const S& /*x*/, const S& x0) { history_.push(level, x0) = x0; }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    if (!history_.begin_step(i)) to_correct_ = 0;
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, history_.push(from, x));
    if (to_correct_ > 0) history_.add_to(x, 1, correction(), to_correct_ + 1);
    const std::size_t used = detail::step_order(order, history_.count(), levels, i);
    predicted_ = detail::scaled(detail::predictor_weights(history_, used, to), to.alpha);
    to_correct_ = from.is_pure_noise() ? 0 : used;
    history_.add_to(x, to.sigma / from.sigma, predicted_, used);
  }

 private:
  static constexpr std::size_t places = order + 1;

  /// The corrector's weights for the step that led to the latest evaluation, less the predictor's.
  [[nodiscard]] std::array<double, places> correction() const {
    const NoiseLevel& reached = history_.level(0);
    const double h = reached.lambda() - history_.level(1).lambda();
    std::array<double, places> w{};
    if (to_correct_ == 1) {
      w[0] = w[1] = -0.5 * std::expm1(-h);
    } else {
      w = detail::integrated_lagrange(detail::history_nodes(history_, to_correct_ + 1, 1, reached), to_correct_ + 1,
                                      detail::exponential_moments<places>(h));
    }
    w = detail::scaled(w, reached.alpha);
    for (std::size_t j = 0; j < to_correct_; ++j) w[j + 1] -= predicted_[j];
    return w;
  }

  detail::History<S, places> history_;
  std::array<double, places> predicted_{};  ///< weights of the last step
  std::size_t to_correct_ = 0;              ///< order of the last step; 0: nothing to correct
};

}  // namespace easy_diffusion::diffusion
