/// \file
/// Brings pictures to another size: nearest pixel, or bilinear between pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/axis_taps.hpp"

namespace easy_diffusion::ops {

/// Where in the input an output pixel looks, of n outputs along an axis of m inputs.
enum class Resampling {
  nearest,          ///< floor(i m / n), in whole numbers
  bilinear,         ///< (i + 1/2) m / n - 1/2, not before the first pixel: pixels are squares
  bilinear_corners  ///< i (m - 1) / (n - 1): the corner pixels stay where they are (PyTorch's align_corners)
};

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

template <class T>
AxisTaps<T> resampling_taps(Resampling mode, std::int64_t inputs, std::int64_t outputs) {
  if (mode == Resampling::nearest)
    return AxisTaps<T>(
        inputs, outputs,
        [&](std::int64_t i) {
          return std::pair{i * inputs / outputs, i * inputs / outputs + 1};
        },
        [](std::int64_t, std::int64_t) { return 1.0; });
  const auto source = [mode, m = static_cast<double>(inputs), n = static_cast<double>(outputs)](std::int64_t i) {
    const double at = static_cast<double>(i);
    if (mode == Resampling::bilinear_corners) return n > 1 ? at * (m - 1) / (n - 1) : 0.0;
    return std::max(0.0, (at + 0.5) * m / n - 0.5);
  };
  return AxisTaps<T>(
      inputs, outputs,
      [&](std::int64_t i) {
        const auto first = std::min(static_cast<std::int64_t>(source(i)), inputs - 1);
        return std::pair{first, std::min(first + 2, inputs)};
      },
      [&](std::int64_t i, std::int64_t input) {
        const double position = std::min(source(i), static_cast<double>(inputs - 1));
        return std::max(0.0, 1 - std::abs(position - static_cast<double>(input)));
      });
}

/// Shapes of a picture and of its resampled version. \return {batch, channels}
inline std::pair<std::int64_t, std::int64_t> check_resampling(const Shape& x, const Shape& y) {
  expect_rank("resample input", 4, "[N, H, W, C]", x);
  expect_rank("resample output", 4, "[N, H, W, C]", y);
  expect_shape("resample output", Shape{x[0], y[1], y[2], x[3]}, y);
  if (std::min({x[1], x[2], y[1], y[2]}) < 1)
    throw ShapeError("resample: expected at least one pixel, got " + x.to_string() + " to " + y.to_string());
  return {x[0], x[3]};
}

}  // namespace detail

/// \param x      [N, H, W, C]
/// \param[out] y [N, OH, OW, C], of any size
/// \throw ShapeError for a picture without pixels, or where batch or channels differ
template <class T>
void resample_forward(TensorView<const T> x, Resampling mode, TensorView<std::type_identity_t<T>> y) {
  const auto [batch, channels] = detail::check_resampling(x.shape(), y.shape());
  detail::apply_taps(x.data(), batch, channels, detail::resampling_taps<T>(mode, x.extent(1), y.extent(1)),
                     detail::resampling_taps<T>(mode, x.extent(2), y.extent(2)), y.data());
}

/// \param dy      [N, OH, OW, C]
/// \param[out] dx [N, H, W, C], written
/// \throw ShapeError as forward
template <class T>
void resample_backward(TensorView<const T> dy, Resampling mode, TensorView<std::type_identity_t<T>> dx) {
  const auto [batch, channels] = detail::check_resampling(dx.shape(), dy.shape());
  detail::apply_taps(dy.data(), batch, channels,
                     detail::resampling_taps<T>(mode, dx.extent(1), dy.extent(1)).transposed(),
                     detail::resampling_taps<T>(mode, dx.extent(2), dy.extent(2)).transposed(), dx.data());
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(resample_forward<float>) resample_forward<float>;
extern template decltype(resample_forward<double>) resample_forward<double>;
extern template decltype(resample_backward<float>) resample_backward<float>;
extern template decltype(resample_backward<double>) resample_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
