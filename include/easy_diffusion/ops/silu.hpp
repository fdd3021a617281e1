/// \file
/// SiLU, also called swish: x sigmoid(x) \cite hendrycks_2016_gelu.
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
void silu_forward(TensorView<const T> x, TensorView<std::type_identity_t<T>> y) {
  using P = detail::Pack<T>;
  expect_shape("silu output", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    detail::map_packs(
        last - first, y.data() + first, [](P v) { return detail::silu(v); }, x.data() + first);
  });
}

/// dx = dy s (1 + x (1 - s)) with s = sigmoid(x).
/// \param x       as given to forward
/// \param dy      the same shape
/// \param[out] dx the same shape, written; may be dy itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void silu_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> dy,
                   TensorView<std::type_identity_t<T>> dx) {
  using P = detail::Pack<T>;
  expect_shape("silu output gradient", x.shape(), dy.shape());
  expect_shape("silu input gradient", x.shape(), dx.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    detail::map_packs(
        last - first, dx.data() + first, [](P v, P g) { return detail::silu_gradient(v, g); }, x.data() + first,
        dy.data() + first);
  });
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(silu_forward<float>) silu_forward<float>;
extern template decltype(silu_forward<double>) silu_forward<double>;
extern template decltype(silu_backward<float>) silu_backward<float>;
extern template decltype(silu_backward<double>) silu_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
