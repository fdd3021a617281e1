/// \file
/// Softmax cross-entropy of class scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::nn {

template <class T>
struct Loss {
  double value = 0;  ///< nats, averaged over the batch
  Tensor<T> gradient;
};

/// Mean over the batch of -log softmax(logits)[label], in nats, and its gradient (softmax - one-hot) / N.
/// \param logits [N, K] \param labels N numbers in [0, K)
/// \throw ShapeError, ValueError where they do not fit
template <class T>
[[nodiscard]] Loss<T> cross_entropy(const Tensor<T>& logits, std::span<const std::int64_t> labels) {
  expect_rank("cross_entropy", 2, "[N, K]", logits.shape());
  const std::int64_t n = logits.extent(0);
  const std::int64_t k = logits.extent(1);
  if (static_cast<std::int64_t>(labels.size()) != n)
    throw ShapeError("cross_entropy: expected " + std::to_string(n) + " labels, got " + std::to_string(labels.size()));
  if (n < 1) throw ShapeError("cross_entropy: expected at least one sample, got " + logits.shape().to_string());
  Loss<T> loss{0, Tensor<T>::uninitialized(logits.shape())};
  for (std::int64_t i = 0; i < n; ++i) {
    const T* row = logits.data() + i * k;
    T* gradient = loss.gradient.data() + i * k;
    const std::int64_t label = labels[static_cast<std::size_t>(i)];
    if (label < 0 || label >= k)
      throw ValueError("cross_entropy: expected labels from 0 to below " + std::to_string(k) + ", got " +
                       std::to_string(label));
    const T largest = *std::max_element(row, row + k);
    T sum = T(0);
    for (std::int64_t j = 0; j < k; ++j) sum += gradient[j] = std::exp(row[j] - largest);
    loss.value += static_cast<double>(largest - row[label]) + std::log(static_cast<double>(sum));
    for (std::int64_t j = 0; j < k; ++j)
      gradient[j] = (gradient[j] / sum - (j == label ? T(1) : T(0))) / static_cast<T>(n);
  }
  loss.value /= static_cast<double>(n);
  return loss;
}

}  // namespace easy_diffusion::nn
