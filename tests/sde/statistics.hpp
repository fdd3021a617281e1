/// \file
/// Statistics that tests of noise share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace easy_diffusion::tests {

inline double mean_product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum / static_cast<double>(a.size());
}

/// Largest distance between the empirical and the normal distribution, times sqrt(n).
template <class T>
double kolmogorov_smirnov(const std::vector<T>& numbers, double standard_deviation) {
  std::vector<double> x(numbers.begin(), numbers.end());
  std::sort(x.begin(), x.end());
  const auto n = static_cast<double>(x.size());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double p = 0.5 * std::erfc(-x[i] / (standard_deviation * std::sqrt(2.0)));
    worst = std::max({worst, p - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - p});
  }
  return worst * std::sqrt(n);
}

}  // namespace easy_diffusion::tests
