/// \file
/// What a discriminator and the network that it judges are trained by, and how much the latter heeds the former.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::latent {

/// How a discriminator's logits become a loss.
enum class DiscriminatorLossKind {
  hinge,   ///< mean max(0, 1 - real) and mean max(0, 1 + fake) \cite lim_2017_geometric_gan
  vanilla  ///< mean softplus(-real) and mean softplus(fake) \cite goodfellow_2014_gan
};

template <class T>
struct DiscriminatorLoss {
  double value = 0;
  Tensor<T> dreal, dfake;  ///< of the logits
};

namespace detail {

/// log(1 + exp(x)) without overflow.
inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
inline double logistic(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

/// Value and derivative of a function.
struct Point {
  double value, slope;
};

/// Mean of f(sign logit) and its gradient times `share`; f(x) gives a `Point`.
template <class T, class F>
double mean_of_logits(const Tensor<T>& logits, double sign, double share, Tensor<T>& gradient, F&& f) {
  if (logits.size() < 1)
    throw ShapeError("discriminator loss: expected at least one logit, got " + logits.shape().to_string());
  gradient = Tensor<T>::uninitialized(logits.shape());
  const double count = static_cast<double>(logits.size());
  double sum = 0;
  for (std::int64_t i = 0; i < logits.size(); ++i) {
    const auto [value, slope] = f(sign * static_cast<double>(logits[i]));
    sum += value;
    gradient[i] = static_cast<T>(share * sign * slope / count);
  }
  return share * sum / count;
}

}  // namespace detail

/// Half the sum of both means: real logits are wanted high, fake ones low.
/// \param real,fake logits of any shape
/// \throw ShapeError where there are none
template <class T>
[[nodiscard]] DiscriminatorLoss<T> discriminator_loss(DiscriminatorLossKind kind, const Tensor<T>& real,
                                                      const Tensor<T>& fake) {
  const auto f = [kind](double x) -> detail::Point {
    if (kind == DiscriminatorLossKind::hinge) return {std::max(0.0, 1 + x), 1 + x > 0 ? 1.0 : 0.0};
    return {detail::softplus(x), detail::logistic(x)};
  };
  DiscriminatorLoss<T> loss;
  loss.value =
      detail::mean_of_logits(real, -1, 0.5, loss.dreal, f) + detail::mean_of_logits(fake, 1, 0.5, loss.dfake, f);
  return loss;
}

template <class T>
struct GeneratorLoss {
  double value = 0;
  Tensor<T> dfake;  ///< of the logits
};

/// -mean(fake): the network that is judged wants high logits. \throw ShapeError where there are none
template <class T>
[[nodiscard]] GeneratorLoss<T> generator_loss(const Tensor<T>& fake) {
  GeneratorLoss<T> loss;
  loss.value = detail::mean_of_logits(fake, -1, 1, loss.dfake, [](double x) -> detail::Point { return {x, 1}; });
  return loss;
}

/// Of the weight that balances a discriminator against the rest of the loss.
struct AdaptiveWeight {
  double floor = 1e-4;   ///< added to what divides
  double ceiling = 1e4;  ///< of the ratio
  double factor = 0.5;   ///< times the ratio

  /// factor clamp(|dnll| / (|dgenerator| + floor), 0, ceiling): the norms are those of two gradients of the decoder's
  /// last weight \cite esser_2020_vqgan, so that the discriminator's own scale cancels.
  template <class T>
  [[nodiscard]] double operator()(const Tensor<T>& dnll, const Tensor<T>& dgenerator) const {
    expect_shape("adaptive weight", dnll.shape(), dgenerator.shape());
    const auto norm = [](const Tensor<T>& x) {
      double sum = 0;
      for (const T v : x) sum += static_cast<double>(v) * static_cast<double>(v);
      return std::sqrt(sum);
    };
    return factor * std::clamp(norm(dnll) / (norm(dgenerator) + floor), 0.0, ceiling);
  }
};

}  // namespace easy_diffusion::latent
