/// \file
/// Gaussian Fourier features of a time \cite tancik_2020_fourier.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y = [sin(2 pi t w), cos(2 pi t w)].
/// \param t      [N]
/// \param w      [D] frequencies
/// \param[out] y [N, 2 D]
/// \throw ShapeError where shapes do not fit
template <class T>
void fourier_features_forward(TensorView<const T> t, TensorView<const std::type_identity_t<T>> w,
                              TensorView<std::type_identity_t<T>> y) {
  expect_rank("fourier_features times", 1, "[N]", t.shape());
  expect_rank("fourier_features frequencies", 1, "[D]", w.shape());
  const std::int64_t n = t.extent(0);
  const std::int64_t d = w.extent(0);
  expect_shape("fourier_features output", Shape{n, 2 * d}, y.shape());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t k = 0; k < d; ++k) {
      // t w first, then the factors 2 and pi, as the original rounds it: with frequencies near 100 the order shows.
      const T angle = t[i] * w[k] * T(2) * std::numbers::pi_v<T>;
      y[i * 2 * d + k] = std::sin(angle);
      y[i * 2 * d + d + k] = std::cos(angle);
    }
}

/// dt[n] = 2 pi sum over k of w[k] (dy_sin cos(2 pi t w) - dy_cos sin(2 pi t w)); the frequencies are fixed.
/// \param y       as forward wrote it, [N, 2 D]
/// \param w       [D]
/// \param dy      [N, 2 D]
/// \param[out] dt [N], written
/// \throw ShapeError where shapes do not fit
template <class T>
void fourier_features_backward(TensorView<const T> y, TensorView<const std::type_identity_t<T>> w,
                               TensorView<const std::type_identity_t<T>> dy, TensorView<std::type_identity_t<T>> dt) {
  const std::int64_t d = w.extent(0);
  expect_rank("fourier_features time gradient", 1, "[N]", dt.shape());
  const std::int64_t n = dt.extent(0);
  expect_shape("fourier_features output", Shape{n, 2 * d}, y.shape());
  expect_shape("fourier_features output gradient", y.shape(), dy.shape());
  for (std::int64_t i = 0; i < n; ++i) {
    T sum = T(0);
    for (std::int64_t k = 0; k < d; ++k) {
      const std::int64_t s = i * 2 * d + k;
      sum += w[k] * (dy[s] * y[s + d] - dy[s + d] * y[s]);
    }
    dt[i] = sum * T(2) * std::numbers::pi_v<T>;
  }
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
