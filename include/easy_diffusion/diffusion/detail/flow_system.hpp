/// \file
/// The equations of a diffusion as the floor `sde/` integrates them.
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>

#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// x <- factor x
template <sde::State S>
void scale(S& x, double factor) {
  if (factor == 1) return;
  sde::update_elements([factor](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); }, x);
}

/// Evaluations at y = x / alpha inside one step.
template <class D, sde::State S>
struct StepDenoiser {
  const D& denoiser;
  const StepPath& path;
  const NoiseLevel& from;
  const NoiseLevel& to;
  S& x;   ///< work
  S& x0;  ///< predicted last

  /// out <- factor (x0 - y) where sigma / alpha is the given one
  void operator()(const S& y, double noise_to_signal, double factor, S& out) const {
    const NoiseLevel level = path.between(from, to, noise_to_signal);
    sde::make_room(x0, y);
    if (level.alpha == 1) {
      denoiser(y, level, x0);
    } else {
      sde::make_room(x, y);
      sde::update_elements(
          [a = level.alpha](auto& e, const auto& value) {
            using T = std::remove_reference_t<decltype(e)>;
            e = static_cast<T>(a) * value;
          },
          x, y);
      denoiser(std::as_const(x), level, x0);
    }
    sde::update_elements(
        [factor](auto& e, const auto& p, const auto& value) {
          using T = std::remove_reference_t<decltype(e)>;
          e = static_cast<T>(factor) * (p - value);
        },
        out, std::as_const(x0), y);
  }
};

/// dx = sqrt(2 s) dW: x / alpha of any process, in time s = sigma / alpha.
struct SignalProcess {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  static constexpr bool zero_drift = true;

  [[nodiscard]] double diffusion(double s) const { return std::sqrt(2 * s); }
  [[nodiscard]] double linear_drift(double) const noexcept { return 0; }
  [[nodiscard]] double linear_integral(double, double) const noexcept { return 0; }
};

}  // namespace easy_diffusion::diffusion::detail
