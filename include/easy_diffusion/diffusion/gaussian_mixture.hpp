/// \file
/// Data that is known exactly: a mixture of round Gaussians, its noised densities, and its denoiser. Every sampler can be
/// tested on it without a network.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// N(mean, deviation^2 I), with a weight.
struct MixtureComponent {
  double weight = 1;
  std::vector<double> mean;
  double deviation = 1;
};

/// A mixture of round Gaussians in `dimension` dimensions. A state of m * dimension elements is m samples, one behind the
/// other.
class GaussianMixture {
 public:
  /// \throw ValueError for no component, different or zero dimensions, a weight or deviation that is not positive
  explicit GaussianMixture(std::vector<MixtureComponent> components) : components_(std::move(components)) {
    if (components_.empty()) throw ValueError("mixture: expected at least one component, got none");
    double total = 0;
    for (const MixtureComponent& c : components_) {
      if (c.mean.empty() || c.mean.size() != components_.front().mean.size())
        throw ValueError("mixture: expected means of one dimension, got " + std::to_string(c.mean.size()) +
                         " beside " + std::to_string(components_.front().mean.size()));
      if (!(c.weight > 0 && c.deviation > 0 && std::isfinite(c.weight) && std::isfinite(c.deviation)))
        throw ValueError("mixture: expected weights and deviations above 0");
      total += c.weight;
    }
    for (MixtureComponent& c : components_) c.weight /= total;
  }

  [[nodiscard]] std::size_t dimension() const noexcept { return components_.front().mean.size(); }
  [[nodiscard]] const std::vector<MixtureComponent>& components() const noexcept { return components_; }

  /// Log-density, in nats, of one sample noised to `level`. \param x dimension() numbers
  [[nodiscard]] double log_density(std::span<const double> x, const NoiseLevel& level) const {
    double most = -std::numeric_limits<double>::infinity();
    for (const MixtureComponent& c : components_) most = std::max(most, log_term(c, x, level));
    double sum = 0;
    for (const MixtureComponent& c : components_) sum += std::exp(log_term(c, x, level) - most);
    return most + std::log(sum);
  }

  /// The denoiser: the mean of x0 given the noised samples. Computed in double.
  /// \throw ShapeError unless the number of elements is a multiple of dimension()
  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    const auto d = static_cast<std::int64_t>(dimension());
    if (sde::element_count(x) % d != 0)
      throw ShapeError("mixture: expected samples of " + std::to_string(d) + " elements, got " +
                       std::to_string(sde::element_count(x)) + " elements");
    constexpr std::size_t most_dimensions = 64;
    if (dimension() > most_dimensions) throw ShapeError("mixture: expected at most 64 dimensions");
    double point[most_dimensions];
    double mean[most_dimensions];
    if constexpr (requires { x.data(); x.size(); }) {
      for (std::int64_t first = 0; first < static_cast<std::int64_t>(x.size()); first += d) {
        for (std::int64_t i = 0; i < d; ++i) point[i] = static_cast<double>(at(x, first + i));
        posterior_mean(point, level, mean);
        for (std::int64_t i = 0; i < d; ++i) assign(at(x0, first + i), mean[i]);
      }
    } else {
      // A state that is reached element by element only is one sample.
      std::size_t i = 0;
      sde::for_each_element([&](const auto& e) { point[i++ % most_dimensions] = static_cast<double>(e); }, x);
      posterior_mean(point, level, mean);
      i = 0;
      sde::for_each_element([&](auto& e) { assign(e, mean[i++]); }, x0);
    }
  }

  /// Sample number `index` of a seed; the same for any number of samples. \param out dimension() numbers
  void draw(std::uint64_t seed, std::uint64_t index, std::span<double> out) const {
    const NoiseAddress which{seed, streams::user, 0}, where{seed, streams::user, 1};
    double rest = uniform<double>(which, index);
    std::size_t k = 0;
    while (k + 1 < components_.size() && rest >= components_[k].weight) rest -= components_[k++].weight;
    fill_normal(out, where, index * dimension());
    for (std::size_t i = 0; i < dimension(); ++i)
      out[i] = components_[k].mean[i] + components_[k].deviation * out[i];
  }

 private:
  template <class S>
  static auto& at(S& x, std::int64_t i) {
    return x.data()[i];
  }
  template <class T>
  static void assign(T& to, double value) {
    to = static_cast<T>(value);
  }

  [[nodiscard]] static double variance(const MixtureComponent& c, const NoiseLevel& level) {
    const double kept = level.alpha * c.deviation;
    return kept * kept + level.sigma * level.sigma;
  }

  [[nodiscard]] double log_term(const MixtureComponent& c, std::span<const double> x, const NoiseLevel& level) const {
    const double v = variance(c, level);
    double square = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double r = x[i] - level.alpha * c.mean[i];
      square += r * r;
    }
    return std::log(c.weight) - 0.5 * (square / v + static_cast<double>(x.size()) * std::log(2 * std::numbers::pi * v));
  }

  /// In one pass: what has been summed is scaled down where a larger term comes.
  void posterior_mean(const double* x, const NoiseLevel& level, double* mean) const {
    const std::span<const double> point(x, dimension());
    double most = -std::numeric_limits<double>::infinity(), total = 0;
    std::fill_n(mean, dimension(), 0.0);
    for (const MixtureComponent& c : components_) {
      const double term = log_term(c, point, level);
      if (term > most) {
        const double scale = std::exp(most - term);
        total *= scale;
        for (std::size_t i = 0; i < dimension(); ++i) mean[i] *= scale;
        most = term;
      }
      const double share = std::exp(term - most);
      const double pull = level.alpha * c.deviation * c.deviation / variance(c, level);
      total += share;
      for (std::size_t i = 0; i < dimension(); ++i)
        mean[i] += share * (c.mean[i] + pull * (x[i] - level.alpha * c.mean[i]));
    }
    for (std::size_t i = 0; i < dimension(); ++i) mean[i] /= total;
  }

  std::vector<MixtureComponent> components_;
};

}  // namespace easy_diffusion::diffusion
