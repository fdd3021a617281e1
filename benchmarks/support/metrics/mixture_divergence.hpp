/// \file
/// How far samples are from a mixture of Gaussians whose density is known.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "support/metrics/sample_set.hpp"

namespace easy_diffusion::bench {

/// Parts of a Kullback-Leibler divergence KL(samples || mixture), in nats.
struct MixtureDivergence {
  double shares = 0;  ///< of how often each component is met
  double shapes = 0;  ///< of the samples of each component, on average over them

  [[nodiscard]] double total() const noexcept { return shares + shapes; }
};

/// KL of samples against a mixture of components that lie well apart. Each sample counts to the component of which it is
/// most probable; by the chain rule the divergence is that of the shares and, on average, that within the components.
/// Within one, each coordinate is measured by its mean and variance: the divergence between normal distributions of these.
/// What else a coordinate has, and correlation, would add to it, so this is a lower bound, exact for Gaussians of independent
/// coordinates. It needs no density estimate, which in 64 dimensions would be all bias: for exact samples the mean of this one
/// is about (2 K dimension + K - 1) / (2 samples) with K components. Infinite where a component's samples agree in a
/// coordinate. A component with a single sample has no shape.
/// \param samples one behind the other
/// \throw ShapeError, ValueError as `sample_count`
[[nodiscard]] inline MixtureDivergence mixture_divergence(const diffusion::GaussianMixture& mixture,
                                                          std::span<const double> samples) {
  const std::size_t d = mixture.dimension();
  const std::int64_t count = sample_count("mixture divergence", samples, d, 2);
  const auto& components = mixture.components();
  struct Found {
    double number = 0;
    std::vector<double> sum, squares;  // of differences from the component's mean
  };
  std::vector<Found> found(components.size(), {0, std::vector<double>(d), std::vector<double>(d)});
  for (std::size_t first = 0; first < samples.size(); first += d) {
    std::size_t best = 0;
    double most = -std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < components.size(); ++k) {
      double square = 0;
      for (std::size_t i = 0; i < d; ++i) {
        const double r = samples[first + i] - components[k].mean[i];
        square += r * r;
      }
      const double s = components[k].deviation;
      const double term = std::log(components[k].weight) - static_cast<double>(d) * std::log(s) - square / (2 * s * s);
      if (term > most) {
        most = term;
        best = k;
      }
    }
    ++found[best].number;
    for (std::size_t i = 0; i < d; ++i) {
      const double r = samples[first + i] - components[best].mean[i];
      found[best].sum[i] += r;
      found[best].squares[i] += r * r;
    }
  }
  MixtureDivergence result;
  for (std::size_t k = 0; k < components.size(); ++k) {
    const double n = found[k].number;
    if (n == 0) continue;
    const double share = n / static_cast<double>(count);
    const double variance = components[k].deviation * components[k].deviation;
    result.shares += share * std::log(share / components[k].weight);
    if (n < 2) continue;
    for (std::size_t i = 0; i < d; ++i) {
      const double mean = found[k].sum[i] / n;
      const double ratio = std::fmax(0, found[k].squares[i] / n - mean * mean) / variance;
      result.shapes += share * 0.5 * (mean * mean / variance + ratio - 1 - std::log(ratio));
    }
  }
  return result;
}

}  // namespace easy_diffusion::bench
