/// \file
/// Heun's method that raises the noise before each step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// The paper's S_churn, S_tmin, S_tmax and S_noise.
struct ChurnOptions {
  double churn = 0;   ///< of N steps each raises sigma / alpha by a factor of 1 + min(churn / N, sqrt(2) - 1)
  double lowest = 0;  ///< sigma / alpha from which on that happens
  double highest = std::numeric_limits<double>::infinity();  ///< and up to which
  double noise_scale = 1;  ///< of the noise that is added; the exact marginals ask for 1
};

/// The stochastic sampler of \cite karras_2022_elucidating (algorithm 2). Noise is raised as far as the path has levels
/// (`LevelPath::highest`): at the first level too, but where that is the last timestep of a schedule, as there is no noisier
/// one; on a path that does not say where it ends up to the run's first level with a finite sigma / alpha. Without churn it is `Heun` to the last bit. Its order is that of the weak error, with a noise scale of 1.
template <sde::State S>
class EdmStochastic {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .stochastic = true};

  /// \param path levels between those of the run
  /// \throw ValueError for an empty function, a negative option, or lowest > highest
  explicit EdmStochastic(LevelPath path, const ChurnOptions& options = {})
      : path_("EDM stochastic", std::move(path)), options_(options) {
    if (!(options.churn >= 0 && options.noise_scale >= 0 && std::isfinite(options.churn) &&
          std::isfinite(options.noise_scale)))
      throw ValueError("churn: expected a finite churn and noise scale of at least 0, got " +
                       sde::detail::shown(options.churn) + " and " + sde::detail::shown(options.noise_scale));
    if (!(options.lowest >= 0 && options.lowest <= options.highest))
      throw ValueError("churn: expected 0 <= lowest <= highest, got " + sde::detail::shown(options.lowest) + " and " +
                       sde::detail::shown(options.highest));
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return 2 * levels.steps() - detail::first_order_steps(levels);
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const { detail::check_levels<EdmStochastic>("EDM stochastic", levels); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    const NoiseLevel& from = levels[i];
    const double before = from.noise_to_signal();
    const double wanted = before * (1 + growth(before, levels.steps()));
    const NoiseLevel& highest = levels[levels.front().is_pure_noise() ? 1 : 0];
    const NoiseLevel raised = wanted > before ? path_.above(from, highest, wanted) : from;
    const double after = raised.noise_to_signal();
    if (after > before) {
      const double added = raised.alpha * std::sqrt((after - before) * (after + before));
      sde::make_room(z_, x);
      detail::standard_noise(noise, levels, i, z_);
      detail::move({raised.alpha / from.alpha, options_.noise_scale * added}, x, z_);
    }
    detail::heun_step(denoiser, x, raised, levels[i + 1], x0_, other_);
  }

 private:
  /// The paper's gamma.
  [[nodiscard]] double growth(double noise_to_signal, std::int64_t steps) const {
    if (!(noise_to_signal >= options_.lowest && noise_to_signal <= options_.highest) || !std::isfinite(noise_to_signal))
      return 0;
    return std::min(options_.churn / static_cast<double>(steps), std::numbers::sqrt2 - 1);
  }

  detail::StepPath path_;
  ChurnOptions options_;
  S x0_{}, other_{}, z_{};
};

}  // namespace easy_diffusion::diffusion
