/// \file
/// Loops over the samples of a batch `[N, ...]`.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::diffusion::detail {

/// Elements of one sample. \pre shape[0] > 0
[[nodiscard]] inline std::int64_t sample_elements(const Shape& shape) { return shape.numel() / shape[0]; }

/// f(n) for every sample, over threads.
template <class F>
void for_each_sample(const Shape& shape, F&& f) {
  constexpr std::int64_t grain = 16384;  // elements
  const std::int64_t elements = sample_elements(shape);
  parallel_for(0, shape[0], elements >= grain ? 1 : grain / elements, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) f(n);
  });
}

/// make(n)(x_i, others_i...) for every element of every sample n, over threads. \throw ShapeError for different shapes
template <class F, class T, class... Others>
void update_samples(F&& make, Tensor<T>& x, const Others&... others) {
  (expect_shape("batch", x.shape(), others.shape()), ...);
  const std::int64_t elements = sample_elements(x.shape());
  for_each_sample(x.shape(), [&](std::int64_t n) {
    const auto f = make(n);
    for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i) f(x[i], others[i]...);
  });
}

/// Where element i of a state finds its numbers in a network's output, whose channels are the mean's and then the
/// variance's, where there is one.
struct OutputLayout {
  std::int64_t channels;
  bool has_variance;

  [[nodiscard]] std::int64_t mean(std::int64_t i) const noexcept {
    return has_variance ? i + i / channels * channels : i;
  }
  /// \return `mean(i)` where there is no variance
  [[nodiscard]] std::int64_t variance(std::int64_t i) const noexcept { return has_variance ? mean(i) + channels : i; }
};

}  // namespace easy_diffusion::diffusion::detail
