/// \file
/// The variance of a step of the reverse chain: fixed, or learned by the network.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::diffusion {

/// Variance of p(x_t | x_s). A network that learns it puts out a number v for every element beside its prediction.
enum class VarianceType {
  learned,       ///< v is the logarithm of the variance
  fixed_small,   ///< that of the posterior q(x_t | x_s, x0): right for data that is one point
  fixed_large,   ///< beta: right for data that is standard normal
  learned_range  ///< (v + 1) / 2 goes from the small to the large one in the logarithm \cite nichol_2021_improved
};

inline constexpr std::array<std::string_view, 4> variance_type_names = {"learned", "fixed_small", "fixed_large",
                                                                        "learned_range"};

[[nodiscard]] inline std::string to_string(VarianceType type) {
  return std::string(variance_type_names[static_cast<std::size_t>(type)]);
}

/// \throw ValueError naming what there is
[[nodiscard]] inline VarianceType variance_type_by_name(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < variance_type_names.size(); ++i) {
    if (variance_type_names[i] == name) return static_cast<VarianceType>(i);
    known += (i > 0 ? ", " : "") + std::string(variance_type_names[i]);
  }
  throw ValueError("variance type: expected one of " + known + ", got '" + std::string(name) + "'");
}

[[nodiscard]] constexpr bool is_learned(VarianceType type) noexcept {
  return type == VarianceType::learned || type == VarianceType::learned_range;
}

/// The logarithm of the variance as a line in what the network puts out: constant + slope v.
struct LogVariance {
  double constant = 0;
  double slope = 0;

  [[nodiscard]] double operator()(double v) const noexcept { return constant + slope * v; }
};

/// \param small,large logarithms of the posterior's variance and of beta
[[nodiscard]] inline LogVariance log_variance(VarianceType type, double small, double large) noexcept {
  switch (type) {
    case VarianceType::learned: return {0, 1};
    case VarianceType::fixed_small: return {small, 0};
    case VarianceType::fixed_large: return {large, 0};
    default: return {0.5 * (large + small), 0.5 * (large - small)};
  }
}

}  // namespace easy_diffusion::diffusion
