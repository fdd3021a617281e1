/// \file
/// The three products of a strided convolution, from which both `conv2d` and `conv_transpose2d` are made.
///
/// A convolution relates a large grid of pixels to a small one: small pixel (y, x) meets, at kernel element (i, j), the
/// large pixel (y stride + i - padding, x stride + j - padding). The weight is [KH, KW, C_large, C_small].
#pragma once

#include <cstdint>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Extents of both grids and of the kernel between them.
struct ConvolutionGeometry {
  std::int64_t batch, large_h, large_w, large_c, small_h, small_w, small_c, kernel_h, kernel_w, stride, padding;

  [[nodiscard]] std::int64_t taps() const { return kernel_h * kernel_w; }
};

/// Products with at most this many columns run their vectors along the channels instead.
inline constexpr std::int64_t few_columns = 4;

template <class T, class Locate>
void convolution_product(std::int64_t rows, const std::vector<std::int64_t>& tap_ids, std::int64_t taps,
                         std::int64_t channels, std::int64_t columns, const PackedPanels<T>& panels,
                         const Tensor<T>& dot_weight, const T* bias, const Locate& locate) {
  const Epilogue<T> epilogue{bias, false};
  if (columns <= few_columns) {
    gather_dot(rows, tap_ids, taps, channels, dot_weight.data(), columns, epilogue, locate);
  } else {
    gather_gemm(rows, tap_ids, panels, epilogue, locate);
  }
}

/// The weight as the product needs it: panels, or [columns][taps][channels] where there are few columns.
template <class T>
struct PreparedWeight {
  PackedPanels<T> panels;
  Tensor<T> dot;

  PreparedWeight(const T* weight, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                 PanelStrides strides) {
    if (columns > few_columns) {
      panels = pack_panels(weight, taps, channels, columns, strides);
      return;
    }
    dot.resize(Shape{columns, taps, channels});
    for (std::int64_t n = 0; n < columns; ++n)
      for (std::int64_t t = 0; t < taps; ++t)
        for (std::int64_t c = 0; c < channels; ++c)
          dot(n, t, c) = weight[t * strides.tap + c * strides.channel + n * strides.column];
  }
};

/// small = large * weight (+ bias over C_small). Writes every element of `small`.
template <class T>
void convolve_large_to_small(const ConvolutionGeometry& g, const T* large, const T* weight, const T* bias, T* small) {
  const PreparedWeight<T> prepared(weight, g.taps(), g.large_c, g.small_c, {g.large_c * g.small_c, g.small_c, 1});
  const Tensor<T> zeros(Shape{g.large_c});
  std::vector<std::int64_t> tap_ids(static_cast<std::size_t>(g.taps()));
  for (std::int64_t t = 0; t < g.taps(); ++t) tap_ids[static_cast<std::size_t>(t)] = t;
  const std::int64_t pixels = g.small_h * g.small_w;
  const auto locate = [&, nothing = zeros.data()](std::int64_t row, const T** taps) {
    const std::int64_t n = row / pixels;
    const std::int64_t y = (row % pixels) / g.small_w * g.stride - g.padding;
    const std::int64_t x = row % g.small_w * g.stride - g.padding;
    const T* picture = large + n * g.large_h * g.large_w * g.large_c;
    for (std::int64_t i = 0; i < g.kernel_h; ++i)
      for (std::int64_t j = 0; j < g.kernel_w; ++j) {
        const bool inside = y + i >= 0 && y + i < g.large_h && x + j >= 0 && x + j < g.large_w;
        *taps++ = inside ? picture + ((y + i) * g.large_w + x + j) * g.large_c : nothing;
      }
    return small + row * g.small_c;
  };
  convolution_product(g.batch * pixels, tap_ids, g.taps(), g.large_c, g.small_c, prepared.panels, prepared.dot, bias,
                      locate);
}

/// large = small * transposed weight (+ bias over C_large). Writes every element of `large`.
///
/// Large pixels whose coordinates agree modulo the stride meet the same kernel elements, so each such phase is one
/// product without wasted multiplications.
template <class T>
void convolve_small_to_large(const ConvolutionGeometry& g, const T* small, const T* weight, const T* bias, T* large) {
  const PreparedWeight<T> prepared(weight, g.taps(), g.small_c, g.large_c, {g.large_c * g.small_c, 1, g.small_c});
  const Tensor<T> zeros(Shape{g.small_c});
  for (std::int64_t phase_y = 0; phase_y < std::min(g.stride, g.large_h); ++phase_y) {
    for (std::int64_t phase_x = 0; phase_x < std::min(g.stride, g.large_w); ++phase_x) {
      std::vector<std::int64_t> tap_ids;
      for (std::int64_t i = 0; i < g.kernel_h; ++i)
        for (std::int64_t j = 0; j < g.kernel_w; ++j)
          if ((phase_y + g.padding - i) % g.stride == 0 && (phase_x + g.padding - j) % g.stride == 0)
            tap_ids.push_back(i * g.kernel_w + j);
      const std::int64_t rows_h = (g.large_h - phase_y + g.stride - 1) / g.stride;
      const std::int64_t rows_w = (g.large_w - phase_x + g.stride - 1) / g.stride;
      const auto locate = [&, nothing = zeros.data()](std::int64_t row, const T** taps) {
        const std::int64_t n = row / (rows_h * rows_w);
        const std::int64_t y = phase_y + row / rows_w % rows_h * g.stride;
        const std::int64_t x = phase_x + row % rows_w * g.stride;
        const T* picture = small + n * g.small_h * g.small_w * g.small_c;
        for (const std::int64_t tap : tap_ids) {
          // Exact by the choice of taps; negative only left of or above the small grid.
          const std::int64_t up = y + g.padding - tap / g.kernel_w;
          const std::int64_t left = x + g.padding - tap % g.kernel_w;
          const std::int64_t sy = up / g.stride;
          const std::int64_t sx = left / g.stride;
          const bool inside = up >= 0 && sy < g.small_h && left >= 0 && sx < g.small_w;
          *taps++ = inside ? picture + (sy * g.small_w + sx) * g.small_c : nothing;
        }
        return large + ((n * g.large_h + y) * g.large_w + x) * g.large_c;
      };
      convolution_product(g.batch * rows_h * rows_w, tap_ids, g.taps(), g.small_c, g.large_c, prepared.panels,
                          prepared.dot, bias, locate);
    }
  }
}

/// dweight [KH, KW, C_large, C_small] += sum over small pixels of large (x) small.
template <class T>
void add_convolution_weight_gradient(const ConvolutionGeometry& g, const T* large, const T* small, T* dweight) {
  const Tensor<T> zeros(Shape{g.large_c});
  const std::int64_t pixels = g.small_h * g.small_w;
  const auto locate = [&, nothing = zeros.data()](std::int64_t pixel, std::int64_t tap) {
    const std::int64_t n = pixel / pixels;
    const std::int64_t y = (pixel % pixels) / g.small_w * g.stride - g.padding + tap / g.kernel_w;
    const std::int64_t x = pixel % g.small_w * g.stride - g.padding + tap % g.kernel_w;
    const bool inside = y >= 0 && y < g.large_h && x >= 0 && x < g.large_w;
    return inside ? large + ((n * g.large_h + y) * g.large_w + x) * g.large_c : nothing;
  };
  weight_gemm(g.taps(), g.large_c, g.small_c, g.batch * pixels, small, dweight, locate);
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
