/// \file
/// The exact score of a Gaussian mixture in the plane under a process, and its density.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace easy_diffusion::tests {

using Point = std::array<double, 2>;

struct Component {
  double weight = 1;
  Point mean{};
  double deviation = 1;
};

/// Data drawn from components with round covariances; under a process with factor alpha and deviation s a component's
/// mean is alpha m and its variance alpha^2 d^2 + s^2.
template <class Process>
struct MixtureScore {
  Process process;
  std::vector<Component> components;

  [[nodiscard]] double log_density(const Point& x, double t) const {
    double most = -1e300, sum = 0;
    for (const Component& c : components) most = std::fmax(most, term(c, x, t));
    for (const Component& c : components) sum += std::exp(term(c, x, t) - most);
    return most + std::log(sum);
  }

  void operator()(const Point& x, double t, Point& out) const {
    out = {};
    const double total = log_density(x, t);
    for (const Component& c : components) {
      const double share = std::exp(term(c, x, t) - total), v = variance(c, t), a = process.mean_factor(t);
      for (std::size_t i = 0; i < 2; ++i) out[i] += share * (a * c.mean[i] - x[i]) / v;
    }
  }

  /// The Jacobian is symmetric: sum of shares (s_c s_c^T - I / v_c) less the outer product of the score.
  void pullback(const Point& x, double t, const Point& v, Point& out, Point& vjp) const {
    (*this)(x, t, out);
    vjp = {};
    const double total = log_density(x, t), a = process.mean_factor(t);
    for (const Component& c : components) {
      const double share = std::exp(term(c, x, t) - total), var = variance(c, t);
      const Point s{(a * c.mean[0] - x[0]) / var, (a * c.mean[1] - x[1]) / var};
      const double along = s[0] * v[0] + s[1] * v[1];
      for (std::size_t i = 0; i < 2; ++i) vjp[i] += share * (s[i] * along - v[i] / var);
    }
    const double along = out[0] * v[0] + out[1] * v[1];
    for (std::size_t i = 0; i < 2; ++i) vjp[i] -= out[i] * along;
  }

 private:
  [[nodiscard]] double variance(const Component& c, double t) const {
    const double a = process.mean_factor(t), s = process.marginal_std(t);
    return a * a * c.deviation * c.deviation + s * s;
  }
  [[nodiscard]] double term(const Component& c, const Point& x, double t) const {
    const double v = variance(c, t), a = process.mean_factor(t);
    const double dx = x[0] - a * c.mean[0], dy = x[1] - a * c.mean[1];
    return std::log(c.weight / (2 * 3.14159265358979323846 * v)) - 0.5 * (dx * dx + dy * dy) / v;
  }
};

}  // namespace easy_diffusion::tests
