/// \file
/// The variance-exploding process with strength sigma^t.
#pragma once

#include <cmath>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// dx = sigma^t dW on t in [0, 1] \cite song_2021_score. From x(0) the marginal is normal with mean x(0) and standard
/// deviation sqrt((sigma^(2t) - 1) / (2 ln sigma)).
class VarianceExploding {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;
  static constexpr bool zero_drift = true;

  /// \throw ValueError unless sigma is finite and > 0
  explicit VarianceExploding(double sigma = 25) : sigma_(sigma), log_sigma_(std::log(sigma)) {
    if (!(sigma > 0) || !std::isfinite(sigma))
      throw ValueError("variance-exploding process: sigma: expected a finite number above 0, got " +
                       detail::shown(sigma));
  }

  [[nodiscard]] double sigma() const noexcept { return sigma_; }

  template <State S>
  void drift(const S&, double, S& out) const {
    fill(out, 0);
  }

  [[nodiscard]] double linear_drift(double) const noexcept { return 0; }
  [[nodiscard]] double linear_integral(double, double) const noexcept { return 0; }

  /// sigma^t
  [[nodiscard]] double diffusion(double t) const noexcept { return std::exp(t * log_sigma_); }

  [[nodiscard]] double mean_factor(double) const noexcept { return 1; }
  /// \throw ValueError for t < 0
  [[nodiscard]] double marginal_std(double t) const {
    if (!(t >= 0))
      throw ValueError("variance-exploding process: expected a time of at least 0, got " + detail::shown(t));
    // (e^a - 1) / a tends to 1 as a = 2 t ln sigma does to 0.
    const double a = 2 * t * log_sigma_;
    return std::sqrt(t * (a == 0 ? 1.0 : std::expm1(a) / a));
  }

  /// Standard deviation at t = 1, from which sampling starts.
  [[nodiscard]] double prior_std() const { return marginal_std(1); }

 private:
  double sigma_, log_sigma_;
};

}  // namespace easy_diffusion::sde
