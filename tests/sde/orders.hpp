/// \file
/// Measuring an order: errors at several step sizes, and the slope of a line through them.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"

namespace easy_diffusion::tests {

/// Error at one step size.
struct ErrorAt {
  double dt = 0, mean = 0;
  double standard_error = 0;  ///< of the mean; 0 where nothing is random
};

struct Fit {
  double slope = 0, r2 = 0;
  bool precise = true;  ///< Monte-Carlo error below a tenth of the error, at every step size

  [[nodiscard]] bool shows(double order) const {
    return precise && r2 >= 0.99 && std::abs(slope - order) <= 0.15;  // false for NaN
  }
};

inline Fit fit(const std::vector<ErrorAt>& errors) {
  const auto n = static_cast<double>(errors.size());
  double mx = 0, my = 0;
  for (const ErrorAt& e : errors) {
    mx += std::log(e.dt) / n;
    my += std::log(e.mean) / n;
  }
  double xx = 0, xy = 0, yy = 0;
  Fit result;
  for (const ErrorAt& e : errors) {
    const double x = std::log(e.dt) - mx;
    const double y = std::log(e.mean) - my;
    xx += x * x, xy += x * y, yy += y * y;
    result.precise = result.precise && e.standard_error < 0.1 * e.mean;
  }
  result.slope = xy / xx;
  result.r2 = xy * xy / (xx * yy);
  return result;
}

/// Asserts the declared order.
inline void check_order(const std::vector<ErrorAt>& errors, double declared) {
  REQUIRE(errors.size() >= 5);
  const Fit line = fit(errors);
  CAPTURE(line.slope, line.r2, declared, errors.front().mean, errors.back().mean, errors.back().standard_error);
  CHECK(line.precise);
  CHECK(line.r2 >= 0.99);
  CHECK_THAT(line.slope, WithinAbs(declared, 0.15));
}

}  // namespace easy_diffusion::tests
