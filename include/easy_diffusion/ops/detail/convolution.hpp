/// \file
/// The three products of a strided convolution, from which both `conv2d` and `conv_transpose2d` are made: a convolution
/// relates a large grid of pixels to a small one (see `ConvolutionGeometry`). The weight is [KH, KW, C_large, C_small].
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/gather_plan.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"
#include "easy_diffusion/ops/detail/winograd.hpp"
#include "easy_diffusion/ops/detail/winograd_strided.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Products with at most this many columns run their vectors along the channels instead.
inline constexpr std::int64_t few_columns = 4;

/// out = in * B for every row of the plan, by the kernel that suits B's shape.
template <class T>
void planned_product(const GatherPlan& plan, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                     const T* in, StoredWeight<T> b, PanelStrides strides, const Epilogue<T>& epilogue, T* out) {
  if (columns > few_columns) {
    std::int64_t rows = 0;
    for (const auto& k : plan.classes) rows += plan.samples * k.pixels;
    gather_gemm(plan, in, make_panels(b, taps, channels, columns, strides, rows), epilogue, out);
    return;
  }
  const SharedTensor<T> turned = b.laid_out(WeightLayout::dot, taps, channels, columns, strides, false, [&] {
    Tensor<T> result = Tensor<T>::uninitialized(Shape{columns, taps, channels});
    for (std::int64_t n = 0; n < columns; ++n)
      for (std::int64_t t = 0; t < taps; ++t)
        for (std::int64_t c = 0; c < channels; ++c)
          result[(n * taps + t) * channels + c] =
              b.data[t * strides.tap + c * strides.channel + n * strides.column];
    return result;
  });
  gather_dot(plan, taps, channels, in, turned.data(), columns, epilogue, out);
}

/// How a 3x3 convolution of stride 1 is computed. It depends on the layer and the size of its pictures, never on the batch.
enum class UnitMethod { direct, winograd_2, winograd_4 };

inline UnitMethod choose_unit_method(std::int64_t in_c, std::int64_t out_c, std::int64_t out_h, std::int64_t out_w) {
  const std::int64_t side = std::min(out_h, out_w);
  if (std::min(in_c, out_c) < 32 || side < 4 || side == 5 || side == 7) return UnitMethod::direct;
  return side >= 12 ? UnitMethod::winograd_4 : UnitMethod::winograd_2;
}

/// \return whether it was done by Winograd's algorithm
template <class T>
bool winograd_product(const UnitConvolution& g, const T* in, StoredWeight<T> weight, PanelStrides strides, bool flipped,
                      const Epilogue<T>& epilogue, T* out) {
  switch (choose_unit_method(g.in_c, g.out_c, g.out_h, g.out_w)) {
    case UnitMethod::winograd_2: Winograd<2, T>(g).run(in, weight, strides, flipped, epilogue, out); return true;
    case UnitMethod::winograd_4: Winograd<4, T>(g).run(in, weight, strides, flipped, epilogue, out); return true;
    case UnitMethod::direct: break;
  }
  return false;
}

/// Tile of a 3x3 convolution of stride 2 in minimal filtering: 2, 4 or 5, or 0 for the direct product. It depends on the
/// layer and the size of its pictures, never on the batch.
inline int choose_strided_tile(const ConvolutionGeometry& g) {
  if (g.kernel_h != 3 || g.kernel_w != 3 || g.stride != 2 || std::min(g.large_c, g.small_c) < 32) return 0;
  const auto products = [&](std::int64_t n) {
    return ((g.small_h + n - 1) / n) * ((g.small_w + n - 1) / n) * (2 * n + 1) * (2 * n + 1);
  };
  const std::int64_t direct = 9 * g.small_h * g.small_w;
  if (std::max(g.small_h, g.small_w) <= 2) return 4 * products(2) < 3 * direct ? 2 : 0;
  if (std::min(g.small_h, g.small_w) < 5) return 0;
  const int n = products(5) < products(4) ? 5 : 4;
  return 5 * products(n) < 3 * direct ? n : 0;
}

/// f(StridedWinograd<n, T>) for the tile chosen. \return false where the direct product is better
template <class T, class F>
bool strided_product(const ConvolutionGeometry& g, F&& f) {
  switch (choose_strided_tile(g)) {
    case 2: f(StridedWinograd<2, T>(g)); return true;
    case 4: f(StridedWinograd<4, T>(g)); return true;
    case 5: f(StridedWinograd<5, T>(g)); return true;
    default: return false;
  }
}

/// small = large * weight, then the epilogue over C_small. Writes every element of `small`.
template <class T>
void convolve_large_to_small(const ConvolutionGeometry& g, const T* large,
                             std::type_identity_t<StoredWeight<T>> weight, const Epilogue<T>& epilogue, T* small) {
  const PanelStrides strides{g.large_c * g.small_c, g.small_c, 1};
  if (g.is_unit() && winograd_product<T>({g.batch, g.large_h, g.large_w, g.large_c, g.small_h, g.small_w, g.small_c, g.padding},
                                      large, weight, strides, false, epilogue, small))
    return;
  if (strided_product<T>(g, [&](auto&& product) { product.large_to_small(large, weight, epilogue, small); })) return;
  planned_product(PlanWorkspace::of_thread().make(g, true), g.taps(), g.large_c, g.small_c, large, weight, strides,
                  epilogue, small);
}

/// large = small * transposed weight, then the epilogue over C_large. Writes every element of `large`.
template <class T>
void convolve_small_to_large(const ConvolutionGeometry& g, const T* small,
                             std::type_identity_t<StoredWeight<T>> weight, const Epilogue<T>& epilogue, T* large) {
  const PanelStrides strides{g.large_c * g.small_c, 1, g.small_c};
  // A convolution with the kernel turned around and padding 2 - padding.
  if (g.is_unit() && winograd_product<T>({g.batch, g.small_h, g.small_w, g.small_c, g.large_h, g.large_w, g.large_c, 2 - g.padding},
                                      small, weight, strides, true, epilogue, large))
    return;
  if (strided_product<T>(g, [&](auto&& product) { product.small_to_large(small, weight, epilogue, large); })) return;
  planned_product(PlanWorkspace::of_thread().make(g, false), g.taps(), g.small_c, g.large_c, small, weight, strides,
                  epilogue, large);
}

/// dweight [KH, KW, C_large, C_small] += sum over small pixels of large (x) small.
template <class T>
void add_convolution_weight_gradient(const ConvolutionGeometry& g, const T* large, const T* small, T* dweight) {
  // Where pictures are small, transforms cost more than they save here.
  if (g.is_unit() && choose_unit_method(g.large_c, g.small_c, g.small_h, g.small_w) == UnitMethod::winograd_4) {
    const UnitConvolution unit{g.batch,   g.large_h, g.large_w, g.large_c,
                               g.small_h, g.small_w, g.small_c, g.padding};
    return Winograd<4, T>(unit).add_weight_gradient(large, small, dweight);
  }
  weight_gemm(PlanWorkspace::of_thread().make(g, true), g.taps(), g.large_c, g.small_c, large, small, dweight);
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
