/// \file
/// Adds an embedding, one number a sample and channel, to every pixel of a picture.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y[n, h, w, c] = x[n, h, w, c] + embedding[n, c].
/// \param x         [N, H, W, C]
/// \param embedding [N, C]
/// \param[out] y    [N, H, W, C]; may be x itself
/// \throw ShapeError where shapes do not fit
template <class T>
void embedding_add_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> embedding,
                           TensorView<std::type_identity_t<T>> y) {
  expect_rank("embedding_add input", 4, "[N, H, W, C]", x.shape());
  const std::int64_t channels = x.extent(3);
  const std::int64_t pixels = x.extent(1) * x.extent(2);
  expect_shape("embedding_add embedding", Shape{x.extent(0), channels}, embedding.shape());
  expect_shape("embedding_add output", x.shape(), y.shape());
  parallel_for(0, x.extent(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const T* e = embedding.data() + n * channels;
      for (std::int64_t i = n * pixels * channels; i < (n + 1) * pixels * channels; i += channels)
        for (std::int64_t c = 0; c < channels; ++c) y[i + c] = x[i + c] + e[c];
    }
  });
}

/// dembedding[n, c] = sum of dy over the pixels; dx is dy itself and needs no copy.
/// \param dy              [N, H, W, C]
/// \param[out] dembedding [N, C], written
/// \throw ShapeError where shapes do not fit
template <class T>
void embedding_add_backward(TensorView<const T> dy, TensorView<std::type_identity_t<T>> dembedding) {
  expect_rank("embedding_add output gradient", 4, "[N, H, W, C]", dy.shape());
  const std::int64_t channels = dy.extent(3);
  const std::int64_t pixels = dy.extent(1) * dy.extent(2);
  expect_shape("embedding_add embedding gradient", Shape{dy.extent(0), channels}, dembedding.shape());
  parallel_for(0, dy.extent(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      T* e = dembedding.data() + n * channels;
      for (std::int64_t c = 0; c < channels; ++c) e[c] = T(0);
      for (std::int64_t i = n * pixels * channels; i < (n + 1) * pixels * channels; i += channels)
        for (std::int64_t c = 0; c < channels; ++c) e[c] += dy[i + c];
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
