/// \file
/// Joins two pictures along their channels, and splits them again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {
/// Calls copy(joined row, a row, b row) for every pixel, after checking that the three shapes belong together.
template <class J, class A, class Copy>
void for_each_pixel_of_concat(TensorView<J> joined, TensorView<A> a, TensorView<A> b, Copy&& copy) {
  Shape expected = a.shape();
  if (a.shape().rank() == 0 || b.shape().rank() != a.shape().rank())
    throw ShapeError("concat: " + a.shape().to_string() + " and " + b.shape().to_string() + " differ in rank");
  const std::int64_t ca = a.shape().back();
  const std::int64_t cb = b.shape().back();
  expected = Shape(a.shape().begin(), a.shape().end() - 1);
  expect_shape("concat: extents before the channels", expected, Shape(b.shape().begin(), b.shape().end() - 1));
  expected.push_back(ca + cb);
  expect_shape("concat", expected, joined.shape());
  const std::int64_t pixels = ca + cb > 0 ? joined.size() / (ca + cb) : 0;
  parallel_for(0, pixels, 1024, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p)
      copy(joined.data() + p * (ca + cb), a.data() + p * ca, ca, b.data() + p * cb, cb);
  });
}
}  // namespace detail

/// y = [a, b] along the last axis.
/// \param a,b    [..., C_a], [..., C_b]
/// \param[out] y [..., C_a + C_b]
/// \throw ShapeError where shapes do not fit
template <class T>
void concat_forward(TensorView<const T> a, TensorView<const std::type_identity_t<T>> b,
                    TensorView<std::type_identity_t<T>> y) {
  detail::for_each_pixel_of_concat(y, a, b,
                                   [](T* out, const T* from_a, std::int64_t ca, const T* from_b, std::int64_t cb) {
                                     std::copy_n(from_a, ca, out);
                                     std::copy_n(from_b, cb, out + ca);
                                   });
}

/// Splits dy into da and db, which are written.
/// \param dy         [..., C_a + C_b]
/// \param[out] da,db [..., C_a], [..., C_b]
/// \throw ShapeError where shapes do not fit
template <class T>
void concat_backward(TensorView<const T> dy, TensorView<std::type_identity_t<T>> da,
                     TensorView<std::type_identity_t<T>> db) {
  detail::for_each_pixel_of_concat(dy, da, db, [](const T* grad, T* to_a, std::int64_t ca, T* to_b, std::int64_t cb) {
    std::copy_n(grad, ca, to_a);
    std::copy_n(grad + ca, cb, to_b);
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
