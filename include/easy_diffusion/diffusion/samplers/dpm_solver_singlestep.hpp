/// \file
/// DPM-Solver++ 2S \cite lu_2022_dpm_solver_plus_plus, which goes from level to level in pairs of steps.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/exponential_adams.hpp"
#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// A step of the method leads over two levels, s to u to t: u, which may lie anywhere between, is reached by a step of order
/// 1, and with the x0 found there
///     x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - e^(-h)) ((1 - 1 / (2 r)) x0_s + 1 / (2 r) x0_u),
/// h = lambda_t - lambda_s, r = (lambda_u - lambda_s) / h. So one evaluation a level, and no past beyond the pair. A level
/// that is left over, one of pure noise, and the last before a clean state are left by a step of order 1.
template <sde::State S>
class DpmSolver2S {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .history = 1};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_[0]; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<DpmSolver2S>("DPM-Solver++ 2S", levels);
    history_.forget();
    halfway_ = false;
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    const bool second = history_.begin_step(i) && halfway_;
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, history_.push(from, x));
    const double kept = to.sigma / from.sigma;
    std::array<double, 2> w{to.alpha * -std::expm1(from.lambda() - to.lambda()), 0};
    if (second) {
      // What the first of the pair has added is known from x0_s, so that the state at s need not be kept.
      const NoiseLevel& begin = history_.level(1);
      const double h = to.lambda() - begin.lambda(), first = from.lambda() - begin.lambda();
      const double gain = to.alpha * -std::expm1(-h);
      w[0] = gain * 0.5 * h / first;
      w[1] = gain - w[0] - kept * from.alpha * -std::expm1(-first);
    }
    history_.add_to(x, kept, w, second ? 2 : 1);
    halfway_ = !second && !from.is_pure_noise() && i + 2 <= levels.steps() && !levels[i + 2].is_clean();
  }

 private:
  detail::History<S, 2> history_;
  bool halfway_ = false;  ///< the last step was the first of a pair
};

}  // namespace easy_diffusion::diffusion
