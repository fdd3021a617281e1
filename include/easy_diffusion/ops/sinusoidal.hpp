/// \file
/// Sinusoidal features of a time, with fixed frequencies \cite vaswani_2017_attention.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {
/// Calls f(n, k, w) for every time n and frequency number k, after checking that the shapes belong together;
/// w = max_period^(-k / (half - 1)).
template <class T, class F>
void for_each_sinusoid(const Shape& times, const Shape& features, double max_period, F&& f) {
  expect_rank("sinusoidal_features times", 1, "[N]", times);
  expect_rank("sinusoidal_features", 2, "[N, width]", features);
  expect_shape("sinusoidal_features", Shape{times[0], features[1]}, features);
  const std::int64_t half = features[1] / 2;
  if (half < 2)
    throw ShapeError("sinusoidal_features: expected a width of at least 4, got " + std::to_string(features[1]));
  const T slope = static_cast<T>(-std::log(max_period) / static_cast<double>(half - 1));
  for (std::int64_t k = 0; k < half; ++k) {
    const T w = std::exp(static_cast<T>(k) * slope);
    for (std::int64_t n = 0; n < times[0]; ++n) f(n, k, w);
  }
}
}  // namespace detail

/// y = [sin(t w_k), cos(t w_k)] with w_k = max_period^(-k / (half - 1)) for k = 0 ... half - 1, half = width / 2; the last
/// column of an odd width is zero.
/// \param t      [N]
/// \param[out] y [N, width], width at least 4
/// \throw ShapeError where shapes do not fit
template <class T>
void sinusoidal_features_forward(TensorView<const T> t, TensorView<std::type_identity_t<T>> y,
                                 double max_period = 1e4) {
  const std::int64_t width = y.shape().back();
  detail::for_each_sinusoid<T>(t.shape(), y.shape(), max_period, [&](std::int64_t n, std::int64_t k, T w) {
    y[n * width + k] = std::sin(t[n] * w);
    y[n * width + width / 2 + k] = std::cos(t[n] * w);
    if (width % 2 != 0) y[n * width + width - 1] = T(0);
  });
}

/// dt[n] = sum over k of w_k (dy_sin cos(t w_k) - dy_cos sin(t w_k)).
/// \param y       as forward wrote it, [N, width]
/// \param dy      [N, width]
/// \param[out] dt [N], written
/// \throw ShapeError where shapes do not fit
template <class T>
void sinusoidal_features_backward(TensorView<const T> y, TensorView<const std::type_identity_t<T>> dy,
                                  TensorView<std::type_identity_t<T>> dt, double max_period = 1e4) {
  expect_shape("sinusoidal_features output gradient", y.shape(), dy.shape());
  const std::int64_t width = y.shape().back();
  const std::int64_t half = width / 2;
  for (T& value : dt) value = T(0);
  detail::for_each_sinusoid<T>(dt.shape(), y.shape(), max_period, [&](std::int64_t n, std::int64_t k, T w) {
    const std::int64_t s = n * width + k;
    dt[n] += w * (dy[s] * y[s + half] - dy[s + half] * y[s]);
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
