/// \file
/// Heun's method on the velocity of rectified flow.
#pragma once

#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// dx/dt = (x - x0) / t on levels (1 - t) x0 + t epsilon, by the mean of the velocities at both ends of a step
/// \cite liu_2022_rectified_flow. Unlike a method in x / alpha it begins at pure noise as it is. The step to t = 0,
/// where x0 does not determine the velocity, is Euler's.
template <sde::State S>
class FlowHeun {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .any_direction = true};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return 2 * levels.steps() - (levels.steps() > 0 && levels.back().is_clean() ? 1 : 0);
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  /// \throw ValueError for levels that are not those of rectified flow
  void start(const NoiseLevels& levels) const {
    detail::check_levels<FlowHeun>("flow Heun", levels);
    for (const NoiseLevel& level : levels.all())
      if (!(std::abs(level.alpha + level.sigma - 1) <= 1e-12))
        throw ValueError("flow Heun: expected levels with alpha + sigma = 1, got " + sde::detail::shown(level.alpha) +
                         " and " + sde::detail::shown(level.sigma));
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise&) {
    sde::make_room(x0_, x);
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    denoiser(x, from, x0_);
    if (to.is_clean()) {
      detail::move(detail::keep_epsilon(from, to), x, x0_);
      return;
    }
    sde::make_room(end_, x);
    sde::make_room(end_x0_, x);
    end_ = x;
    detail::move(detail::keep_epsilon(from, to), end_, x0_);
    denoiser(end_, to, end_x0_);
    const double half = (to.sigma - from.sigma) / 2;
    sde::update_elements(
        [a = half / from.sigma, b = half / to.sigma](auto& e, const auto& p, const auto& y, const auto& q) {
          using T = std::remove_reference_t<decltype(e)>;
          const T first = sde::detail::multiply_add(static_cast<T>(a), e - p, e);
          e = sde::detail::multiply_add(static_cast<T>(b), y - q, first);
        },
        x, x0_, end_, end_x0_);
  }

 private:
  S x0_{}, end_{}, end_x0_{};
};

}  // namespace easy_diffusion::diffusion
