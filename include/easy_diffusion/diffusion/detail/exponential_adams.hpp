/// \file
/// Weights of exponential multistep methods: what they integrate is a polynomial in lambda through evaluations, times an
/// exponential, and the integral is exact.
///
/// In lambda = log(alpha / sigma) the probability-flow equation is solved by
///     x_t = (sigma_t / sigma_s) x_s + alpha_t * integral over the step of e^(lambda - lambda_t) x0(lambda) dlambda
///     x_t = (alpha_t / alpha_s) x_s - sigma_t * integral over the step of e^(lambda_t - lambda) epsilon(lambda) dlambda
/// \cite lu_2022_dpm_solver_plus_plus \cite lu_2022_dpm_solver. With u = (lambda - lambda_s) / h, h the length of the step, u
/// runs from 0 to 1, and the exponential is e^(-h (1 - u)), or e^(h (1 - u)) for epsilon.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"

namespace easy_diffusion::diffusion::detail {

/// h times the integral from 0 to 1 of e^(-h (1 - u)) u^k du, for k = 0 ... n - 1; h of either sign, without loss of
/// digits near 0. Integration by parts gives M_0 = 1 - e^(-h), M_k = 1 - k / h M_(k - 1): stable upwards for large h and
/// downwards, from a series, for small.
template <std::size_t n>
[[nodiscard]] std::array<double, n> exponential_moments(double h) {
  std::array<double, n> m{};
  m[0] = -std::expm1(-h);
  if (std::abs(h) > 1) {
    for (std::size_t k = 1; k < n; ++k) m[k] = 1 - static_cast<double>(k) / h * m[k - 1];
  } else if (n > 1) {
    const auto last = static_cast<double>(n - 1);
    double term = h / (last + 1);  // h (-h)^j k! / (k + 1 + j)!
    for (int j = 1; j < 20; ++j) {
      m[n - 1] += term;
      term *= -h / (last + 1 + j);
    }
    for (std::size_t k = n - 1; k > 1; --k) m[k - 1] = h / static_cast<double>(k) * (1 - m[k]);
  }
  return m;
}

/// w_j such that the sum of w_j f(node_j) is the integral, with the given moments, of the polynomial through f at the first
/// `used` nodes.
template <std::size_t n>
[[nodiscard]] std::array<double, n> integrated_lagrange(const std::array<double, n>& nodes, std::size_t used,
                                                        const std::array<double, n>& moments) {
  std::array<double, n> w{};
  for (std::size_t j = 0; j < used; ++j) {
    std::array<double, n> polynomial{1};  // coefficients, lowest first
    for (std::size_t k = 0; k < used; ++k) {
      if (k == j) continue;
      const double scale = 1 / (nodes[j] - nodes[k]);
      for (std::size_t d = n - 1; d > 0; --d) polynomial[d] = scale * (polynomial[d - 1] - nodes[k] * polynomial[d]);
      polynomial[0] *= -scale * nodes[k];
    }
    for (std::size_t d = 0; d < used; ++d) w[j] += polynomial[d] * moments[d];
  }
  return w;
}

/// u of the evaluations in a history, for a step from the level of number `from` to `to`.
template <class H>
[[nodiscard]] std::array<double, H::capacity> history_nodes(const H& history, std::size_t used, std::size_t from,
                                                            const NoiseLevel& to) {
  const double start = history.level(from).lambda();
  const double h = to.lambda() - start;
  std::array<double, H::capacity> nodes{};
  for (std::size_t j = 0; j < used; ++j) nodes[j] = (history.level(j).lambda() - start) / h;
  return nodes;
}

/// Order of step i of a method of order `most`: no more than evaluations at hand, nor than steps left before a clean end, as
/// the last, along an infinite stretch of lambda, must be of order 1.
[[nodiscard]] inline std::size_t step_order(std::size_t most, std::size_t evaluations, const NoiseLevels& levels,
                                            std::int64_t i) {
  const std::size_t order = std::min(most, evaluations);
  return levels.back().is_clean() ? std::min(order, static_cast<std::size_t>(levels.steps() - i)) : order;
}

/// Weights of the latest x0 in a history and, with order 2, of the one before: together `gain`, and extrapolated along a line
/// in lambda to half of the step h that comes.
template <class H>
[[nodiscard]] std::array<double, H::capacity> line_weights(const H& history, std::size_t order, double h, double gain) {
  std::array<double, H::capacity> w{gain};
  if constexpr (H::capacity > 1) {
    if (order == 2) {
      w[1] = -0.5 * gain * h / (history.level(0).lambda() - history.level(1).lambda());
      w[0] -= w[1];
    }
  }
  return w;
}

/// Weights, without the factor alpha_t, of the x0 in a history for a step from the latest to `to`. Order 2 is that of
/// DPM-Solver++ 2M and of UniPC with B(h) = e^h - 1, where a line is taken at the middle of the step; order 3 is exact.
template <class H>
[[nodiscard]] std::array<double, H::capacity> predictor_weights(const H& history, std::size_t order,
                                                                const NoiseLevel& to) {
  const double h = to.lambda() - history.level(0).lambda();
  if (order <= 2) return line_weights(history, order, h, -std::expm1(-h));
  return integrated_lagrange(history_nodes(history, order, 0, to), order, exponential_moments<H::capacity>(h));
}

template <std::size_t n>
[[nodiscard]] std::array<double, n> scaled(std::array<double, n> w, double factor) {
  for (double& each : w) each *= factor;
  return w;
}

}  // namespace easy_diffusion::diffusion::detail
