/// \file
/// The variance-preserving processes, linear and cosine, and the sub-variance-preserving one.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// beta(t) = low + t (high - low) on t in [0, 1] \cite song_2021_score.
class LinearBeta {
 public:
  /// \throw ValueError unless 0 < low <= high, both finite
  explicit LinearBeta(double low = 0.1, double high = 20) : low_(low), high_(high) {
    if (!(low > 0) || !(high >= low) || !std::isfinite(high))
      throw ValueError("linear beta: expected 0 < low <= high, got " + detail::shown(low) + " and " +
                       detail::shown(high));
  }
  [[nodiscard]] double beta(double t) const noexcept { return low_ + t * (high_ - low_); }
  /// Integral of beta from t0 to t1.
  [[nodiscard]] double integral(double t0, double t1) const noexcept {
    return (t1 - t0) * (low_ + 0.5 * (t0 + t1) * (high_ - low_));
  }
  [[nodiscard]] static double last_time() noexcept { return 1; }

 private:
  double low_, high_;
};

/// alpha(t) = cos((t + s) / (1 + s) pi/2) / cos(s / (1 + s) pi/2) \cite nichol_2021_improved in continuous time. beta has a
/// pole at t = 1: the process ends at `last_time` \cite lu_2022_dpm_solver.
class CosineBeta {
 public:
  /// \throw ValueError unless 0 <= offset <= 1
  explicit CosineBeta(double offset = 0.008) : offset_(offset) {
    if (!(offset >= 0 && offset <= 1))
      throw ValueError("cosine beta: offset: expected a number from 0 to 1, got " + detail::shown(offset));
  }
  [[nodiscard]] double beta(double t) const noexcept { return 2 * rate() * std::tan(angle(t)); }
  [[nodiscard]] double integral(double t0, double t1) const noexcept {
    return 2 * std::log(std::cos(angle(t0)) / std::cos(angle(t1)));
  }
  [[nodiscard]] static double last_time() noexcept { return 0.9946; }

 private:
  static constexpr double half_pi = 1.57079632679489661923;
  [[nodiscard]] double rate() const noexcept { return half_pi / (1 + offset_); }
  [[nodiscard]] double angle(double t) const noexcept { return (t + offset_) * rate(); }
  double offset_;
};

namespace detail {

/// What both kinds share: the drift -beta/2 x and the factor alpha of x(0).
template <class Beta>
class ScalingProcess {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;

  explicit ScalingProcess(Beta beta) : beta_(beta) {}

  [[nodiscard]] double beta(double t) const noexcept { return beta_.beta(t); }

  template <State S>
  void drift(const S& x, double t, S& out) const {
    update_elements(
        [a = linear_drift(t)](const auto& e, auto& f) { f = static_cast<std::remove_reference_t<decltype(f)>>(a) * e; },
        x, out);
  }
  [[nodiscard]] double linear_drift(double t) const noexcept { return -0.5 * beta_.beta(t); }
  [[nodiscard]] double linear_integral(double t0, double t1) const noexcept { return -0.5 * beta_.integral(t0, t1); }

  /// alpha(t), the factor of x(0) in the marginal's mean.
  /// \throw ValueError for a time outside [0, last_time()]
  [[nodiscard]] double mean_factor(double t) const { return std::exp(-0.5 * log_variance_left(t)); }
  /// Where the process ends.
  [[nodiscard]] static double last_time() noexcept { return Beta::last_time(); }

 protected:
  [[nodiscard]] double log_variance_left(double t) const {
    if (!(t >= 0 && t <= last_time()))
      throw ValueError("variance-preserving process: expected a time from 0 to " + shown(last_time()) + ", got " +
                       shown(t));
    return beta_.integral(0, t);
  }

  Beta beta_;
};

}  // namespace detail

/// dx = -beta(t)/2 x dt + sqrt(beta(t)) dW \cite song_2021_score. From x(0) the marginal is normal with mean alpha x(0) and
/// variance 1 - alpha^2.
template <class Beta = LinearBeta>
class VariancePreserving : public detail::ScalingProcess<Beta> {
 public:
  explicit VariancePreserving(Beta beta = Beta()) : detail::ScalingProcess<Beta>(beta) {}

  [[nodiscard]] double diffusion(double t) const noexcept { return std::sqrt(this->beta_.beta(t)); }
  /// \throw ValueError for a time outside [0, last_time()]
  [[nodiscard]] double marginal_std(double t) const { return std::sqrt(-std::expm1(-this->log_variance_left(t))); }
  /// Standard deviation from which sampling starts: that of the limit.
  [[nodiscard]] static double prior_std() noexcept { return 1; }
};

using CosineVariancePreserving = VariancePreserving<CosineBeta>;

/// dx = -beta(t)/2 x dt + sqrt(beta(t) (1 - alpha^4)) dW \cite song_2021_score. From x(0) the marginal is normal with mean
/// alpha x(0) and standard deviation 1 - alpha^2, always below that of the variance-preserving process.
template <class Beta = LinearBeta>
class SubVariancePreserving : public detail::ScalingProcess<Beta> {
 public:
  explicit SubVariancePreserving(Beta beta = Beta()) : detail::ScalingProcess<Beta>(beta) {}

  [[nodiscard]] double diffusion(double t) const noexcept {
    return std::sqrt(this->beta_.beta(t) * -std::expm1(-2 * this->beta_.integral(0, t)));
  }
  /// \throw ValueError for a time outside [0, last_time()]
  [[nodiscard]] double marginal_std(double t) const { return -std::expm1(-this->log_variance_left(t)); }
  [[nodiscard]] static double prior_std() noexcept { return 1; }
};

}  // namespace easy_diffusion::sde
