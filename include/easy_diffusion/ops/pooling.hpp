/// \file
/// Average and maximum pooling over channels-last pictures, with windows of one size or as many as asked for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/axis_taps.hpp"

namespace easy_diffusion::ops {

/// What a pooling's windows are: all of one size, or (`adaptive`) cut so that the result has the size asked for.
struct Pool2dOptions {
  std::int64_t kernel = 2;
  std::int64_t stride = 0;   ///< 0: the kernel
  std::int64_t padding = 0;  ///< on each side, at most half the kernel; maximum pooling only
  bool ceil_mode = false;    ///< a last window may reach past the edge

  std::int64_t adaptive_h = 0;  ///< rows of the result; 0: windows of one size
  std::int64_t adaptive_w = 0;  ///< columns of the result

  /// `torch.nn.AdaptiveAvgPool2d` and `AdaptiveMaxPool2d`: output i of n sees the inputs floor(i H / n) to
  /// ceil((i + 1) H / n).
  static Pool2dOptions adaptive(std::int64_t h, std::int64_t w) {
    Pool2dOptions options;
    options.adaptive_h = h;
    options.adaptive_w = w;
    return options;
  }
};

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

/// Windows along one axis: output i sees the inputs [first, last).
struct PoolAxis {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t kernel = 0;  ///< 0: adaptive
  std::int64_t stride = 0;
  std::int64_t padding = 0;

  [[nodiscard]] std::pair<std::int64_t, std::int64_t> window(std::int64_t i) const {
    if (kernel == 0) return {i * inputs / outputs, ((i + 1) * inputs + outputs - 1) / outputs};
    const std::int64_t first = i * stride - padding;
    return {std::max<std::int64_t>(first, 0), std::min(first + kernel, inputs)};
  }

  PoolAxis(std::int64_t extent, std::int64_t adaptive, const Pool2dOptions& options) : inputs(extent) {
    if (adaptive > 0) {
      outputs = adaptive;
      return;
    }
    kernel = options.kernel;
    stride = options.stride > 0 ? options.stride : options.kernel;
    padding = options.padding;
    const std::int64_t room = inputs + 2 * padding - kernel;
    if (room < 0) return;
    outputs = (options.ceil_mode ? room + stride - 1 : room) / stride + 1;
    // A window that would begin in the padding behind the picture is left out.
    if (options.ceil_mode && (outputs - 1) * stride >= inputs + padding) --outputs;
  }
};

struct PoolGeometry {
  PoolAxis h, w;

  PoolGeometry(const Shape& x, const Pool2dOptions& o) : h(0, 1, o), w(0, 1, o) {
    expect_rank("pool2d input", 4, "[N, H, W, C]", x);
    const bool adaptive = o.adaptive_h != 0 || o.adaptive_w != 0;
    if (adaptive && (o.adaptive_h < 1 || o.adaptive_w < 1))
      throw ValueError("pool2d: expected a result of at least 1x1, got " + std::to_string(o.adaptive_h) + "x" +
                       std::to_string(o.adaptive_w));
    if (!adaptive && (o.kernel < 1 || o.stride < 0 || o.padding < 0 || 2 * o.padding > o.kernel))
      throw ValueError("pool2d: expected kernel >= 1, stride >= 0, 0 <= padding <= kernel / 2, got " +
                       std::to_string(o.kernel) + ", " + std::to_string(o.stride) + " and " +
                       std::to_string(o.padding));
    h = PoolAxis(x[1], o.adaptive_h, o);
    w = PoolAxis(x[2], o.adaptive_w, o);
    if (x[1] < 1 || x[2] < 1 || h.outputs < 1 || w.outputs < 1)
      throw ShapeError("pool2d: nothing is left of input " + x.to_string() + " under a window of " +
                       std::to_string(o.kernel) + "x" + std::to_string(o.kernel));
  }
};

template <class T>
AxisTaps<T> average_taps(const PoolAxis& axis) {
  return AxisTaps<T>(
      axis.inputs, axis.outputs, [&](std::int64_t i) { return axis.window(i); },
      [&](std::int64_t i, std::int64_t) {
        const auto [first, last] = axis.window(i);
        return 1.0 / static_cast<double>(last - first);
      });
}

inline void expect_no_padding(const Pool2dOptions& options) {
  if (options.padding != 0) throw ValueError("avg_pool2d: expected padding 0, got " + std::to_string(options.padding));
}

}  // namespace detail

/// Shape of a pooling's result.
/// \param x [N, H, W, C] \return [N, OH, OW, C]
/// \throw ShapeError where nothing is left, ValueError for options out of range
[[nodiscard]] inline Shape pool2d_output_shape(const Shape& x, const Pool2dOptions& options) {
  const detail::PoolGeometry g(x, options);
  return {x[0], g.h.outputs, g.w.outputs, x[3]};
}

/// The mean of each window.
/// \param x       [N, H, W, C]
/// \param options without padding
/// \param[out] y  [N, OH, OW, C], see `pool2d_output_shape`
/// \throw ShapeError, ValueError as `pool2d_output_shape`, or where y has another shape
template <class T>
void avg_pool2d_forward(TensorView<const T> x, const Pool2dOptions& options, TensorView<std::type_identity_t<T>> y) {
  detail::expect_no_padding(options);
  expect_shape("avg_pool2d output", pool2d_output_shape(x.shape(), options), y.shape());
  const detail::PoolGeometry g(x.shape(), options);
  detail::apply_taps(x.data(), x.extent(0), x.extent(3), detail::average_taps<T>(g.h), detail::average_taps<T>(g.w),
                     y.data());
}

/// \param dy      [N, OH, OW, C]
/// \param[out] dx [N, H, W, C], written
/// \throw ShapeError where shapes do not belong together
template <class T>
void avg_pool2d_backward(TensorView<const T> dy, const Pool2dOptions& options, TensorView<std::type_identity_t<T>> dx) {
  detail::expect_no_padding(options);
  expect_shape("avg_pool2d output gradient", pool2d_output_shape(dx.shape(), options), dy.shape());
  const detail::PoolGeometry g(dx.shape(), options);
  detail::apply_taps(dy.data(), dx.extent(0), dx.extent(3), detail::average_taps<T>(g.h).transposed(),
                     detail::average_taps<T>(g.w).transposed(), dx.data());
}

/// The largest of each window; of equal ones the first, and NaN before all numbers.
/// \param x          [N, H, W, C]
/// \param[out] y     [N, OH, OW, C], see `pool2d_output_shape`
/// \param[out] place [N, OH, OW, C], row * W + column of the pixel that was taken, saved for backward; may be empty
/// \throw ShapeError, ValueError as `pool2d_output_shape`, or where a result has another shape
template <class T>
void max_pool2d_forward(TensorView<const T> x, const Pool2dOptions& options, TensorView<std::type_identity_t<T>> y,
                        TensorView<std::int32_t> place) {
  expect_shape("max_pool2d output", pool2d_output_shape(x.shape(), options), y.shape());
  if (place) expect_shape("max_pool2d places", y.shape(), place.shape());
  const detail::PoolGeometry g(x.shape(), options);
  const std::int64_t channels = x.extent(3);
  parallel_for(0, x.extent(0) * g.h.outputs, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const auto [top, bottom] = g.h.window(row % g.h.outputs);
      const T* picture = x.data() + row / g.h.outputs * g.h.inputs * g.w.inputs * channels;
      for (std::int64_t j = 0; j < g.w.outputs; ++j) {
        const auto [left, right] = g.w.window(j);
        T* out = y.data() + (row * g.w.outputs + j) * channels;
        std::int32_t* from = place ? place.data() + (row * g.w.outputs + j) * channels : nullptr;
        const auto start = static_cast<std::int32_t>(top * g.w.inputs + left);
        std::copy_n(picture + start * channels, channels, out);
        if (from != nullptr) std::fill_n(from, channels, start);
        for (std::int64_t h = top; h < bottom; ++h)
          for (std::int64_t w = left; w < right; ++w) {
            const auto pixel = static_cast<std::int32_t>(h * g.w.inputs + w);
            const T* in = picture + pixel * channels;
            for (std::int64_t c = 0; c < channels; ++c) {
              if (!(in[c] > out[c] || (std::isnan(in[c]) && !std::isnan(out[c])))) continue;
              out[c] = in[c];
              if (from != nullptr) from[c] = pixel;
            }
          }
      }
    }
  });
}

/// \param dy      [N, OH, OW, C]
/// \param place   [N, OH, OW, C], as forward left it
/// \param[out] dx [N, H, W, C], written
/// \throw ShapeError where shapes do not belong together
template <class T>
void max_pool2d_backward(TensorView<const T> dy, TensorView<const std::int32_t> place,
                         TensorView<std::type_identity_t<T>> dx) {
  expect_rank("max_pool2d input gradient", 4, "[N, H, W, C]", dx.shape());
  expect_rank("max_pool2d output gradient", 4, "[N, H, W, C]", dy.shape());
  expect_shape("max_pool2d places", dy.shape(), place.shape());
  const std::int64_t channels = dx.extent(3);
  expect_shape("max_pool2d output gradient", Shape{dx.extent(0), dy.extent(1), dy.extent(2), channels}, dy.shape());
  const std::int64_t sample = dx.extent(1) * dx.extent(2) * channels;
  const std::int64_t outputs = dy.extent(1) * dy.extent(2);
  parallel_for(0, dx.extent(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      T* picture = dx.data() + n * sample;
      std::fill_n(picture, sample, T(0));
      for (std::int64_t i = n * outputs; i < (n + 1) * outputs; ++i)
        for (std::int64_t c = 0; c < channels; ++c)
          picture[place[i * channels + c] * channels + c] += dy[i * channels + c];
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
