/// \file
/// Softmax over the last axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y = exp(x - max) / sum exp(x - max) over the last axis.
/// \param x      [..., C], C > 0
/// \param[out] y the same shape; may be x itself
/// \throw ShapeError where shapes do not fit
template <class T>
void softmax_forward(TensorView<const T> x, TensorView<std::type_identity_t<T>> y) {
  using P = detail::Pack<T>;
  const detail::Rows rows("softmax", x.shape());
  expect_shape("softmax output", x.shape(), y.shape());
  parallel_for(0, rows.count, rows.grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* in = x.data() + row * rows.width;
      T* out = y.data() + row * rows.width;
      const P largest(detail::largest_of_row(rows.width, in));
      detail::map_packs(
          rows.width, out, [&](P v) { return exp(v - largest); }, in);
      const T* exponentials = out;
      const P scale(T(1) / detail::sum_packs<T>(
                               rows.width, [](P v) { return v; }, exponentials));
      detail::map_packs(
          rows.width, out, [&](P v) { return v * scale; }, exponentials);
    }
  });
}

/// dx = y (dy - sum of y dy over the last axis).
/// \param y       the result of forward
/// \param dy      the same shape
/// \param[out] dx the same shape, written; may be dy itself
/// \throw ShapeError where shapes do not fit
template <class T>
void softmax_backward(TensorView<const T> y, TensorView<const std::type_identity_t<T>> dy,
                      TensorView<std::type_identity_t<T>> dx) {
  using P = detail::Pack<T>;
  const detail::Rows rows("softmax", y.shape());
  expect_shape("softmax output gradient", y.shape(), dy.shape());
  expect_shape("softmax input gradient", y.shape(), dx.shape());
  parallel_for(0, rows.count, rows.grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* probability = y.data() + row * rows.width;
      const T* gradient = dy.data() + row * rows.width;
      const P mean(detail::sum_packs<T>(
          rows.width, [](P p, P g) { return p * g; }, probability, gradient));
      detail::map_packs(
          rows.width, dx.data() + row * rows.width, [&](P p, P g) { return p * (g - mean); }, probability, gradient);
    }
  });
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(softmax_forward<float>) softmax_forward<float>;
extern template decltype(softmax_forward<double>) softmax_forward<double>;
extern template decltype(softmax_backward<float>) softmax_backward<float>;
extern template decltype(softmax_backward<double>) softmax_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
