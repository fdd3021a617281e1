/// \file
/// The three products of a strided convolution, from which both `conv2d` and `conv_transpose2d` are made: a convolution
/// relates a large grid of pixels to a small one (see `ConvolutionGeometry`). The weight is [KH, KW, C_large, C_small].
#pragma once

#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/gather_plan.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Products with at most this many columns run their vectors along the channels instead.
inline constexpr std::int64_t few_columns = 4;

/// out = in * B for every row of the plan, by the kernel that suits B's shape.
template <class T>
void planned_product(const GatherPlan& plan, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                     const T* in, const T* b, PanelStrides strides, const Epilogue<T>& epilogue, T* out) {
  if (columns > few_columns) {
    std::int64_t rows = 0;
    for (const auto& k : plan.classes) rows += plan.samples * k.pixels;
    gather_gemm(plan, in, make_panels(b, taps, channels, columns, strides, rows), epilogue, out);
    return;
  }
  Tensor<T> turned = Tensor<T>::uninitialized(Shape{columns, taps, channels});
  for (std::int64_t n = 0; n < columns; ++n)
    for (std::int64_t t = 0; t < taps; ++t)
      for (std::int64_t c = 0; c < channels; ++c)
        turned[(n * taps + t) * channels + c] = b[t * strides.tap + c * strides.channel + n * strides.column];
  gather_dot(plan, taps, channels, in, turned.data(), columns, epilogue, out);
}

/// small = large * weight, then the epilogue over C_small. Writes every element of `small`.
template <class T>
void convolve_large_to_small(const ConvolutionGeometry& g, const T* large, const T* weight,
                             const Epilogue<T>& epilogue, T* small) {
  planned_product(PlanWorkspace::of_thread().make(g, true), g.taps(), g.large_c, g.small_c, large, weight,
                  {g.large_c * g.small_c, g.small_c, 1}, epilogue, small);
}

/// large = small * transposed weight, then the epilogue over C_large. Writes every element of `large`.
template <class T>
void convolve_small_to_large(const ConvolutionGeometry& g, const T* small, const T* weight,
                             const Epilogue<T>& epilogue, T* large) {
  planned_product(PlanWorkspace::of_thread().make(g, false), g.taps(), g.small_c, g.large_c, small, weight,
                  {g.large_c * g.small_c, 1, g.small_c}, epilogue, large);
}

/// dweight [KH, KW, C_large, C_small] += sum over small pixels of large (x) small.
template <class T>
void add_convolution_weight_gradient(const ConvolutionGeometry& g, const T* large, const T* small, T* dweight) {
  weight_gemm(PlanWorkspace::of_thread().make(g, true), g.taps(), g.large_c, g.small_c, large, small, dweight);
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
