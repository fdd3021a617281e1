/// \file
/// The variance-exploding process whose standard deviation grows geometrically.
#pragma once

#include <cmath>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// dx = sigma(t) sqrt(2 ln(high / low)) dW with sigma(t) = low (high / low)^t on t in [0, 1] \cite song_2021_score. From x(0)
/// the marginal is normal with mean x(0) and variance sigma(t)^2 - low^2: data that already carry noise of deviation `low`
/// have noise of deviation sigma(t).
class GeometricVarianceExploding {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;
  static constexpr bool zero_drift = true;

  /// \throw ValueError unless 0 < low < high, both finite
  explicit GeometricVarianceExploding(double low = 0.01, double high = 50)
      : low_(low), log_ratio_(std::log(high / low)) {
    if (!(low > 0) || !(high > low) || !std::isfinite(high))
      throw ValueError("geometric variance-exploding process: expected 0 < low < high, got " + detail::shown(low) +
                       " and " + detail::shown(high));
  }

  [[nodiscard]] double sigma(double t) const noexcept { return low_ * std::exp(t * log_ratio_); }

  template <State S>
  void drift(const S&, double, S& out) const {
    fill(out, 0);
  }
  [[nodiscard]] double linear_drift(double) const noexcept { return 0; }
  [[nodiscard]] double linear_integral(double, double) const noexcept { return 0; }
  [[nodiscard]] double diffusion(double t) const noexcept { return sigma(t) * std::sqrt(2 * log_ratio_); }

  [[nodiscard]] double mean_factor(double) const noexcept { return 1; }
  /// \throw ValueError for t < 0
  [[nodiscard]] double marginal_std(double t) const {
    if (!(t >= 0))
      throw ValueError("geometric variance-exploding process: expected a time of at least 0, got " + detail::shown(t));
    return low_ * std::sqrt(std::expm1(2 * t * log_ratio_));
  }
  /// Standard deviation at t = 1, from which sampling starts.
  [[nodiscard]] double prior_std() const { return marginal_std(1); }

 private:
  double low_, log_ratio_;
};

}  // namespace easy_diffusion::sde
