/// \file
/// Brownian motion of constant strength.
#pragma once

#include <cmath>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// dx = sigma dW. From x(0) the marginal is normal with mean x(0) and standard deviation sigma sqrt(t).
class BrownianMotion {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;
  static constexpr bool zero_drift = true;

  /// \throw ValueError unless sigma is finite and > 0
  explicit BrownianMotion(double sigma = 1) : sigma_(sigma) {
    if (!(sigma > 0) || !std::isfinite(sigma))
      throw ValueError("Brownian motion: sigma: expected a finite number above 0, got " + detail::shown(sigma));
  }

  [[nodiscard]] double sigma() const noexcept { return sigma_; }

  template <State S>
  void drift(const S&, double, S& out) const {
    fill(out, 0);
  }
  [[nodiscard]] double linear_drift(double) const noexcept { return 0; }
  [[nodiscard]] double linear_integral(double, double) const noexcept { return 0; }
  [[nodiscard]] double diffusion(double) const noexcept { return sigma_; }

  [[nodiscard]] double mean_factor(double) const noexcept { return 1; }
  /// \throw ValueError for t < 0
  [[nodiscard]] double marginal_std(double t) const {
    if (!(t >= 0)) throw ValueError("Brownian motion: expected a time of at least 0, got " + detail::shown(t));
    return sigma_ * std::sqrt(t);
  }

 private:
  double sigma_;
};

}  // namespace easy_diffusion::sde
