/// \file
/// Geometric Brownian motion.
#pragma once

#include <cmath>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// dx = mu x dt + sigma x dW in Ito's sense, for which x(t) = x(0) exp((mu - sigma^2 / 2) t + sigma W(t))
/// \cite kloeden_1992_numerical (section 4.4).
class GeometricBrownianMotion {
 public:
  static constexpr NoiseType noise_type = NoiseType::diagonal;

  /// \throw ValueError unless mu is finite, and sigma is finite and > 0
  explicit GeometricBrownianMotion(double mu = 0, double sigma = 1) : mu_(mu), sigma_(sigma) {
    if (!std::isfinite(mu) || !(sigma > 0) || !std::isfinite(sigma))
      throw ValueError("geometric Brownian motion: expected a finite mu and a finite sigma above 0, got " +
                       detail::shown(mu) + " and " + detail::shown(sigma));
  }

  [[nodiscard]] double mu() const noexcept { return mu_; }
  [[nodiscard]] double sigma() const noexcept { return sigma_; }

  template <State S>
  void drift(const S& x, double, S& out) const {
    scale(x, mu_, out);
  }
  template <State S>
  void diffusion(const S& x, double, S& out) const {
    scale(x, sigma_, out);
  }
  template <State S>
  void diffusion_slope(const S& x, double, S& out) const {
    scale(x, sigma_ * sigma_, out);
  }

  /// x(t) on the path with that W(t).
  [[nodiscard]] double exact(double x0, double t, double w) const {
    return x0 * std::exp((mu_ - 0.5 * sigma_ * sigma_) * t + sigma_ * w);
  }
  [[nodiscard]] double marginal_mean(double x0, double t) const { return x0 * std::exp(mu_ * t); }
  [[nodiscard]] double marginal_std(double x0, double t) const {
    return std::abs(marginal_mean(x0, t)) * std::sqrt(std::expm1(sigma_ * sigma_ * t));
  }

 private:
  template <State S>
  static void scale(const S& x, double factor, S& out) {
    update_elements(
        [factor](const auto& e, auto& f) { f = static_cast<std::remove_reference_t<decltype(f)>>(factor) * e; }, x, out);
  }

  double mu_, sigma_;
};

}  // namespace easy_diffusion::sde
