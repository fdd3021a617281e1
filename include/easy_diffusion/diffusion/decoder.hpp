/// \file
/// Likelihood of 8-bit data under a normal distribution \cite ho_2020_ddpm: the last step of the chain's bound. Data are
/// k / 127.5 - 1 for whole numbers k of 0 to 255; the likelihood of one is the probability of its bin, which is
/// 2 / 255 wide, the first and the last reaching on for ever.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// How the normal distribution function is computed.
enum class NormalCdf {
  exact,           ///< by the error function, and by its continued fraction where that would be zero
  tanh_with_floor  ///< the approximation by a tanh that the original uses; no probability below 1e-12
};

/// A logarithm of a probability, in nats, and what it does as the distribution moves.
struct BinLikelihood {
  double log_probability = 0;
  double by_mean = 0;          ///< its derivative
  double by_log_variance = 0;  ///< its derivative
};

namespace detail {

inline constexpr double half_bin = 1.0 / 255;
inline constexpr double outer_bin = 0.999;  // data beyond are 0 or 255

/// log P(Z > x) of a standard normal Z.
[[nodiscard]] inline double log_normal_tail(double x) {
  if (x < 5) return std::log(0.5 * std::erfc(x / std::numbers::sqrt2));
  // x + 1 / (x + 2 / (x + 3 / ...)) settles to the last bit well before 60 terms.
  double fraction = x;
  for (int k = 60; k > 0; --k) fraction = x + k / fraction;
  return -0.5 * x * x - std::log(fraction) - 0.5 * std::log(2 * std::numbers::pi);
}

[[nodiscard]] inline double log_normal_density(double x) { return -0.5 * x * x - 0.5 * std::log(2 * std::numbers::pi); }

/// log P(low < Z < high), also far out where both tails are nothing in a double.
[[nodiscard]] inline double log_normal_between(double low, double high) {
  if (low + high < 0) return log_normal_between(-high, -low);
  if (high == std::numeric_limits<double>::infinity()) return log_normal_tail(low);
  if (low < 0) return std::log(0.5 * (std::erf(high / std::numbers::sqrt2) - std::erf(low / std::numbers::sqrt2)));
  const double inner = log_normal_tail(low);
  return inner + std::log(-std::expm1(log_normal_tail(high) - inner));
}

struct TanhCdf {
  double value, density;

  explicit TanhCdf(double z) {
    const double scale = std::sqrt(2 / std::numbers::pi), cubic = 0.044715;
    const double t = std::tanh(scale * (z + cubic * z * z * z));
    value = 0.5 * (1 + t);
    density = 0.5 * (1 - t * t) * scale * (1 + 3 * cubic * z * z);
  }
};

}  // namespace detail

/// Likelihood of a number of the data under N(mean, exp(log_variance)).
[[nodiscard]] inline BinLikelihood bin_likelihood(double x, double mean, double log_variance,
                                                  NormalCdf cdf = NormalCdf::exact) {
  const double inverse = std::exp(-0.5 * log_variance);
  const double high = inverse * (x - mean + detail::half_bin), low = inverse * (x - mean - detail::half_bin);
  const bool first = -x > detail::outer_bin, last = x > detail::outer_bin;
  double log_probability, at_low = 0, at_high = 0;  // densities at the ends over the probability
  if (cdf == NormalCdf::exact) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    log_probability = detail::log_normal_between(first ? -infinity : low, last ? infinity : high);
    if (!first) at_low = std::exp(detail::log_normal_density(low) - log_probability);
    if (!last) at_high = std::exp(detail::log_normal_density(high) - log_probability);
  } else {
    constexpr double floor = 1e-12;
    const detail::TanhCdf above(high), below(low);
    const double probability = (last ? 1 : above.value) - (first ? 0 : below.value);
    log_probability = std::log(std::fmax(probability, floor));
    if (probability > floor) {
      if (!first) at_low = below.density / probability;
      if (!last) at_high = above.density / probability;
    }
  }
  return {log_probability, inverse * (at_low - at_high), 0.5 * (low * at_low - high * at_high)};
}

/// \throw ValueError naming the first number that is not 8-bit data in [-1, 1]; a dequantised picture, whose likelihood is
///        another one, is refused
template <sde::State S>
void expect_eight_bit(const S& x) {
  sde::for_each_element(
      [](const auto& e) {
        const double level = 127.5 * (static_cast<double>(e) + 1);
        const double nearest = std::round(level);
        if (!(std::abs(level - nearest) <= 1e-3 && nearest >= 0 && nearest <= 255))
          throw ValueError("discretised likelihood: expected 8-bit data k / 127.5 - 1, not dequantised, got " +
                           sde::detail::shown(static_cast<double>(e)));
      },
      x);
}

}  // namespace easy_diffusion::diffusion
