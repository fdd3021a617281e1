/// \file
/// The logistic function, 1 / (1 + exp(-x)).
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// \param x      any shape
/// \param[out] y the same shape; may be x itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void sigmoid_forward(TensorView<const T> x, TensorView<std::type_identity_t<T>> y) {
  using P = detail::Pack<T>;
  expect_shape("sigmoid output", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    detail::map_packs(
        last - first, y.data() + first, [](P v) { return P(T(1)) / (P(T(1)) + exp(P(T(0)) - v)); }, x.data() + first);
  });
}

/// dx = dy y (1 - y).
/// \param y       as forward wrote it, any shape
/// \param dy      the same shape
/// \param[out] dx the same shape, written; may be dy itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void sigmoid_backward(TensorView<const T> y, TensorView<const std::type_identity_t<T>> dy,
                      TensorView<std::type_identity_t<T>> dx) {
  using P = detail::Pack<T>;
  expect_shape("sigmoid output gradient", y.shape(), dy.shape());
  expect_shape("sigmoid input gradient", y.shape(), dx.shape());
  parallel_for(0, y.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    detail::map_packs(
        last - first, dx.data() + first, [](P v, P g) { return g * v * (P(T(1)) - v); }, y.data() + first,
        dy.data() + first);
  });
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(sigmoid_forward<float>) sigmoid_forward<float>;
extern template decltype(sigmoid_forward<double>) sigmoid_forward<double>;
extern template decltype(sigmoid_backward<float>) sigmoid_backward<float>;
extern template decltype(sigmoid_backward<double>) sigmoid_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
