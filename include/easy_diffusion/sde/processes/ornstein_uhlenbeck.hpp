/// \file
/// The Ornstein-Uhlenbeck process.
#pragma once

#include <cmath>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// dx = rate (mean - x) dt + sigma dW \cite uhlenbeck_1930_theory. From x(0) the marginal is normal with mean
/// mean + (x(0) - mean) e^(-rate t) and variance sigma^2 (1 - e^(-2 rate t)) / (2 rate).
class OrnsteinUhlenbeck {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;

  /// \throw ValueError unless rate and sigma are finite and > 0, and mean is finite
  explicit OrnsteinUhlenbeck(double rate = 1, double mean = 0, double sigma = 1)
      : rate_(rate), mean_(mean), sigma_(sigma) {
    if (!(rate > 0) || !std::isfinite(rate) || !(sigma > 0) || !std::isfinite(sigma) || !std::isfinite(mean))
      throw ValueError("Ornstein-Uhlenbeck process: expected a finite rate and sigma above 0 and a finite mean, got " +
                       detail::shown(rate) + ", " + detail::shown(sigma) + " and " + detail::shown(mean));
  }

  [[nodiscard]] double rate() const noexcept { return rate_; }
  [[nodiscard]] double mean() const noexcept { return mean_; }
  [[nodiscard]] double sigma() const noexcept { return sigma_; }

  template <State S>
  void drift(const S& x, double, S& out) const {
    update_elements(
        [r = rate_, m = mean_](const auto& e, auto& f) {
          using T = std::remove_reference_t<decltype(f)>;
          f = static_cast<T>(r) * (static_cast<T>(m) - e);
        },
        x, out);
  }
  [[nodiscard]] double linear_drift(double) const noexcept { return -rate_; }
  [[nodiscard]] double linear_integral(double t0, double t1) const noexcept { return -rate_ * (t1 - t0); }
  [[nodiscard]] double drift_offset(double) const noexcept { return rate_ * mean_; }
  [[nodiscard]] double diffusion(double) const noexcept { return sigma_; }

  /// Factor of x(0) in the marginal's mean, and what is added to it.
  [[nodiscard]] double mean_factor(double t) const { return std::exp(-rate_ * checked(t)); }
  [[nodiscard]] double mean_offset(double t) const { return -mean_ * std::expm1(-rate_ * checked(t)); }
  /// \throw ValueError for t < 0
  [[nodiscard]] double marginal_std(double t) const {
    return sigma_ * std::sqrt(-std::expm1(-2 * rate_ * checked(t)) / (2 * rate_));
  }

 private:
  [[nodiscard]] static double checked(double t) {
    if (!(t >= 0))
      throw ValueError("Ornstein-Uhlenbeck process: expected a time of at least 0, got " + detail::shown(t));
    return t;
  }

  double rate_, mean_, sigma_;
};

}  // namespace easy_diffusion::sde
