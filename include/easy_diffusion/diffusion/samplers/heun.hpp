/// \file
/// Heun's method for the probability-flow equation.
#pragma once

#include <cstdint>

#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// The trapezoidal rule on an Euler step of y = x / alpha in s = sigma / alpha \cite karras_2022_elucidating
/// (algorithm 1). Two evaluations a step, and one at a step of order 1: to a clean state (2 N - 1 in all), from pure
/// noise, or to it.
template <sde::State S>
class Heun {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .any_direction = true};

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return 2 * levels.steps() - detail::first_order_steps(levels);
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const { detail::check_levels<Heun>("Heun", levels); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    detail::heun_step(denoiser, x, levels[i], levels[i + 1], x0_, other_);
  }

 private:
  S x0_{}, other_{};
};

}  // namespace easy_diffusion::diffusion
