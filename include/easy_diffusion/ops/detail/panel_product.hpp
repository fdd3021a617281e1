/// \file
/// Small matrix products inside one thread, C (+)= A B, for operations that are made of several of them. B is packed
/// into panels as wide as a register tile; A is read where it lies, by rows or by columns.
///
/// Every element of C is one chain of fused multiply-adds over the steps in order, whatever tile it falls into, and
/// goes on from what was there: cutting rows, columns or steps differently changes no bit.
#pragma once

#include <algorithm>
#include <cstdint>

#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Columns rounded up to whole vectors: the row length of C, and what a packed B has for each step.
template <class T>
constexpr std::int64_t padded(std::int64_t columns) {
  return (columns + Pack<T>::lanes - 1) / Pack<T>::lanes * Pack<T>::lanes;
}

/// Calls f(first column, width) for each panel of a matrix with so many columns; all widths are whole vectors.
template <class T, class F>
inline void for_each_panel(std::int64_t columns, F&& f) {
  constexpr std::int64_t widest = tile_vectors * Pack<T>::lanes;
  for (std::int64_t column = 0; column < columns; column += widest)
    f(column, std::min(widest, padded<T>(columns - column)));
}

/// Packs B [steps, columns], whose rows are `stride` apart; zeros fill the last vector. Panel after panel, each of them
/// [steps, width]: the panel at column c begins at steps * c.
template <class T>
inline void pack_rows(const T* b, std::int64_t steps, std::int64_t columns, std::int64_t stride, T* out) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  for_each_panel<T>(columns, [&](std::int64_t column, std::int64_t width) {
    const std::int64_t valid = std::min(width, columns - column);
    T* to = out + steps * column;
    for (std::int64_t s = 0; s < steps; ++s, to += width) {
      const T* from = b + s * stride + column;
      std::int64_t i = 0;
      for (; i + lanes <= valid; i += lanes) Pack<T>::load(from + i).store(to + i);
      if (i < valid) load_partial(from + i, valid - i).store(to + i);
    }
  });
}

/// Packs B = M^T, M being [columns, steps] with rows `stride` apart, into the same panels.
template <class T>
inline void pack_transposed(const T* m, std::int64_t steps, std::int64_t columns, std::int64_t stride, T* out) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  for_each_panel<T>(columns, [&](std::int64_t column, std::int64_t width) {
    T* panel = out + steps * column;
    for (std::int64_t v = 0; v < width; v += lanes) {
      const std::int64_t valid = std::min(lanes, columns - column - v);
      const T* from = m + (column + v) * stride;
      std::int64_t s = 0;
      for (; s + lanes <= steps; s += lanes) transpose_square(from + s, stride, valid, panel + s * width + v, width);
      for (; s < steps; ++s) {
        T* to = panel + s * width + v;
        for (std::int64_t i = 0; i < valid; ++i) to[i] = from[i * stride + s];
        for (std::int64_t i = valid; i < lanes; ++i) to[i] = T(0);
      }
    }
  });
}

/// Where A's elements lie: `row * rows + step * steps`.
struct Strides {
  std::int64_t rows, steps;
};

template <int rows, int vectors, class T>
inline void panel_tile(std::int64_t steps, const T* a, Strides strides, const T* panel, T* c, std::int64_t c_stride,
                       bool accumulate) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  Array<P, rows, vectors> sum;
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = accumulate ? P::load(c + r * c_stride + v * lanes) : P(T(0));
  for (std::int64_t s = 0; s < steps; ++s, panel += vectors * lanes, a += strides.steps) {
    Array<P, vectors> b;
    for (int v = 0; v < vectors; ++v) b[v] = P::load(panel + v * lanes);
    for (int r = 0; r < rows; ++r) {
      const P x(a[r * strides.rows]);
      for (int v = 0; v < vectors; ++v) sum[r][v] = fma(x, b[v], sum[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v].store(c + r * c_stride + v * lanes);
}

template <int vectors, class T>
inline void panel_rows(std::int64_t rows, std::int64_t steps, const T* a, Strides strides, const T* panel, T* c,
                       std::int64_t c_stride, bool accumulate) {
  const auto tiles = [&]<int n>(std::integral_constant<int, n>) {
    for (; rows >= n; rows -= n, a += n * strides.rows, c += n * c_stride)
      panel_tile<n, vectors>(steps, a, strides, panel, c, c_stride, accumulate);
  };
  tiles(std::integral_constant<int, tile_rows(vectors)>());
  tiles(std::integral_constant<int, 4>());
  tiles(std::integral_constant<int, 2>());
  tiles(std::integral_constant<int, 1>());
}

/// C [rows, columns] = A [rows, steps] B [steps, columns], added to C with `accumulate`.
/// \param b packed panels
/// \param c rows are `c_stride` >= padded(columns) apart and written that far
template <class T>
inline void panel_product(std::int64_t rows, std::int64_t steps, std::int64_t columns, const T* a, Strides strides,
                          const T* b, T* c, std::int64_t c_stride, bool accumulate) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  for_each_panel<T>(columns, [&](std::int64_t column, std::int64_t width) {
    const T* panel = b + steps * column;
    T* to = c + column;
    if constexpr (tile_vectors == 4) {
      if (width == 4 * lanes) return panel_rows<4>(rows, steps, a, strides, panel, to, c_stride, accumulate);
      if (width == 3 * lanes) return panel_rows<3>(rows, steps, a, strides, panel, to, c_stride, accumulate);
    }
    if (width == 2 * lanes) return panel_rows<2>(rows, steps, a, strides, panel, to, c_stride, accumulate);
    panel_rows<1>(rows, steps, a, strides, panel, to, c_stride, accumulate);
  });
}

/// to [rows, columns] = factor * from, whose rows are `from_stride` apart; those of `to` are `to_stride` apart.
template <class T>
inline void copy_scaled(std::int64_t rows, std::int64_t columns, const T* from, std::int64_t from_stride, T factor,
                        T* to, std::int64_t to_stride) {
  const Pack<T> f(factor);
  for (std::int64_t r = 0; r < rows; ++r)
    map_packs(
        columns, to + r * to_stride, [&](Pack<T> x) { return f * x; }, from + r * from_stride);
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
