/// \file
/// The matrix product behind every weight gradient: dB[tap][channel][column] += sum over pixels p of
/// in[p, tap][channel] * dy[p][column]. Threads share out (tap, channel) rows of dB, and every element sums its
/// pixels in one fixed order, so nothing depends on threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Adds the pixels of one block to a tile of `rows` channels by `vectors` vectors of columns.
template <int rows, int vectors, class T>
inline void weight_tile(const T* const* in, std::int64_t channel, const T* dy, std::int64_t columns,
                        std::int64_t column, std::int64_t pixels, T* db) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  P sum[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = P(T(0));
  const T* y = dy + column;
  for (std::int64_t p = 0; p < pixels; ++p, y += columns) {
    const T* x = in[p] + channel;
    P row_of_y[vectors];
    for (int v = 0; v < vectors; ++v) row_of_y[v] = P::load(y + v * lanes);
    for (int r = 0; r < rows; ++r) {
      const P a(x[r]);
      for (int v = 0; v < vectors; ++v) sum[r][v] = fma(a, row_of_y[v], sum[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) {
      T* to = db + (channel + r) * columns + column + v * lanes;
      (P::load(to) + sum[r][v]).store(to);
    }
}

/// The same for the columns that fill no vector.
template <class T>
inline void weight_edge(const T* const* in, std::int64_t channel, std::int64_t rows, const T* dy, std::int64_t columns,
                        std::int64_t column, std::int64_t count, std::int64_t pixels, T* db) {
  using P = Pack<T>;
  for (std::int64_t r = 0; r < rows; ++r) {
    P sum(T(0));
    for (std::int64_t p = 0; p < pixels; ++p)
      sum = fma(P(in[p][channel + r]), load_partial(dy + p * columns + column, count), sum);
    T* to = db + (channel + r) * columns + column;
    store_partial(load_partial(to, count) + sum, to, count);
  }
}

template <int vectors, class T, class... Args>
inline void weight_rows(std::int64_t rows, Args&&... args) {
  static_assert(tile_rows == 6);
  switch (rows) {
    case 6:
      return weight_tile<6, vectors, T>(args...);
    case 5:
      return weight_tile<5, vectors, T>(args...);
    case 4:
      return weight_tile<4, vectors, T>(args...);
    case 3:
      return weight_tile<3, vectors, T>(args...);
    case 2:
      return weight_tile<2, vectors, T>(args...);
    default:
      return weight_tile<1, vectors, T>(args...);
  }
}

/// `locate(pixel, tap)` gives the input vector that pixel meets at that tap (zeros where it lies outside).
/// dy is [pixels, columns], db is [taps, channels, columns] and is added to.
template <class T, class Locate>
void weight_gemm(std::int64_t taps, std::int64_t channels, std::int64_t columns, std::int64_t pixels, const T* dy,
                 T* db, Locate&& locate) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  constexpr std::int64_t block_pixels = 128;
  const std::int64_t row_tiles = (channels + tile_rows - 1) / tile_rows;
  // A piece of work is a few row tiles of one tap.
  constexpr std::int64_t tiles_together = 4;
  const std::int64_t groups = (row_tiles + tiles_together - 1) / tiles_together;
  parallel_for(0, taps * groups, 1, [&](std::int64_t first, std::int64_t last) {
    const T* in[block_pixels];
    for (std::int64_t begin = 0; begin < pixels; begin += block_pixels) {
      const std::int64_t count = std::min(block_pixels, pixels - begin);
      std::int64_t located_tap = -1;
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t tap = item / groups;
        const std::int64_t group = item % groups;
        if (tap != located_tap) {
          for (std::int64_t p = 0; p < count; ++p) in[p] = locate(begin + p, tap);
          located_tap = tap;
        }
        T* db_of_tap = db + tap * channels * columns;
        const T* dy_of_block = dy + begin * columns;
        const std::int64_t last_row = std::min(channels, (group + 1) * tiles_together * tile_rows);
        for (std::int64_t row = group * tiles_together * tile_rows; row < last_row; row += tile_rows) {
          const std::int64_t n = std::min<std::int64_t>(tile_rows, last_row - row);
          std::int64_t column = 0;
          if constexpr (tile_vectors == 4)
            for (; column + 4 * lanes <= columns; column += 4 * lanes)
              weight_rows<4, T>(n, in, row, dy_of_block, columns, column, count, db_of_tap);
          for (; column + 2 * lanes <= columns; column += 2 * lanes)
            weight_rows<2, T>(n, in, row, dy_of_block, columns, column, count, db_of_tap);
          for (; column + lanes <= columns; column += lanes)
            weight_rows<1, T>(n, in, row, dy_of_block, columns, column, count, db_of_tap);
          if (column < columns)
            weight_edge(in, row, n, dy_of_block, columns, column, columns - column, count, db_of_tap);
        }
      }
    }
  });
}

/// out[column] += sum over rows of x[row][column]. Rows are cut into pieces whose number depends on the shape
/// alone; the pieces' sums are added in order.
template <class T>
void add_column_sums(const T* x, std::int64_t rows, std::int64_t columns, T* out) {
  const std::int64_t pieces = std::clamp<std::int64_t>(rows / 256, 1, 64);
  Tensor<T> partial(Shape{pieces, columns});
  parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) {
      T* sum = partial.data() + piece * columns;
      for (std::int64_t row = rows * piece / pieces; row < rows * (piece + 1) / pieces; ++row)
        for (std::int64_t c = 0; c < columns; ++c) sum[c] += x[row * columns + c];
    }
  });
  for (std::int64_t piece = 0; piece < pieces; ++piece)
    for (std::int64_t c = 0; c < columns; ++c) out[c] += partial[piece * columns + c];
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
