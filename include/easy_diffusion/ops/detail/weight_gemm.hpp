/// \file
/// The matrix product behind every weight gradient: dB[tap][channel][column] += sum over pixels p of
/// in[p, tap][channel] * dy[p][column]. Threads share out rows (tap, channel) of dB and, where these are few, pixels by
/// a partition that depends on the shape alone; every element sums its pixels in one fixed order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/gather_plan.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// A row of dB: where its input lies from the pixel on, and its number.
struct WeightRow {
  std::int64_t in, row;
};

/// The pixels of one block, and the operands they meet.
template <class T>
struct WeightBlock {
  const T* in;
  const T* dy;
  const GatherPlan::Pixel* pixels;
  std::int64_t count;
  std::int64_t columns;
  T* db;
};

template <int rows, int vectors, class T>
inline void weight_tile(const WeightBlock<T>& block, const WeightRow* row, std::int64_t column) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  Array<P, rows, vectors> sum;
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = P(T(0));
  Array<std::int64_t, rows> offset;
  for (int r = 0; r < rows; ++r) offset[r] = row[r].in;
  for (std::int64_t p = 0; p < block.count; ++p) {
    const std::int64_t x = block.pixels[p].in;
    const T* y = block.dy + block.pixels[p].out + column;
    Array<P, vectors> row_of_y;
    for (int v = 0; v < vectors; ++v) row_of_y[v] = P::load(y + v * lanes);
    for (int r = 0; r < rows; ++r) {
      const P a(block.in[x + offset[r]]);
      for (int v = 0; v < vectors; ++v) sum[r][v] = fma(a, row_of_y[v], sum[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) {
      T* to = block.db + row[r].row * block.columns + column + v * lanes;
      (P::load(to) + sum[r][v]).store(to);
    }
}

/// The tile of that many rows, 1 to `rows`.
template <int vectors, int rows, class T>
inline void weight_some_rows(std::int64_t count, const WeightBlock<T>& block, const WeightRow* row,
                             std::int64_t column) {
  if constexpr (rows > 1) {
    if (count < rows) return weight_some_rows<vectors, rows - 1>(count, block, row, column);
  }
  weight_tile<rows, vectors>(block, row, column);
}

/// Columns that fill no vector: here vectors run along the channels.
template <int some, class T>
inline void weight_edge(const WeightBlock<T>& block, WeightRow first, std::int64_t channels, std::int64_t column) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  for (std::int64_t c = 0; c < channels; c += lanes) {
    const std::int64_t count = std::min(lanes, channels - c);
    Array<P, some> sum;
    for (P& s : sum) s = P(T(0));
    for (std::int64_t p = 0; p < block.count; ++p) {
      const T* x = block.in + (block.pixels[p].in + first.in + c);
      const P a = count == lanes ? P::load(x) : load_partial(x, count);
      const T* y = block.dy + block.pixels[p].out + column;
      for (int j = 0; j < some; ++j) sum[j] = fma(a, P(y[j]), sum[j]);
    }
    for (int j = 0; j < some; ++j) {
      Array<T, lanes> buffer;
      sum[j].store(buffer);
      for (std::int64_t i = 0; i < count; ++i) block.db[(first.row + c + i) * block.columns + column + j] += buffer[i];
    }
  }
}

/// All columns of `count` rows, whose channels lie side by side within a tap.
template <class T>
inline void weight_rows(const WeightBlock<T>& block, const WeightRow* rows, std::int64_t count) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  std::int64_t column = 0;
  const auto panels = [&]<int vectors>(std::integral_constant<int, vectors>) {
    constexpr int tile = tile_rows(vectors);
    for (; column + vectors * lanes <= block.columns; column += vectors * lanes)
      for (std::int64_t r = 0; r < count; r += tile)
        weight_some_rows<vectors, tile>(std::min<std::int64_t>(tile, count - r), block, rows + r, column);
  };
  if constexpr (tile_vectors == 4) panels(std::integral_constant<int, 4>());
  panels(std::integral_constant<int, 2>());
  panels(std::integral_constant<int, 1>());
  while (column < block.columns) {
    const std::int64_t some = std::min<std::int64_t>(4, block.columns - column);
    for (std::int64_t r = 0; r < count;) {
      std::int64_t together = 1;
      while (r + together < count && rows[r + together].in == rows[r].in + together &&
             rows[r + together].row == rows[r].row + together)
        ++together;
      switch (some) {
        case 4: weight_edge<4>(block, rows[r], together, column); break;
        case 3: weight_edge<3>(block, rows[r], together, column); break;
        case 2: weight_edge<2>(block, rows[r], together, column); break;
        default: weight_edge<1>(block, rows[r], together, column); break;
      }
      r += together;
    }
    column += some;
  }
}

/// \param plan of the product that writes the pixels of `dy`
/// \param dy   [pixels, columns] \param db [taps, channels, columns], added to
template <class T>
void weight_gemm(const GatherPlan& plan, std::int64_t taps, std::int64_t channels, std::int64_t columns, const T* in,
                 const T* dy, T* db) {
  constexpr std::int64_t block_pixels = 128;
  const RowBlocks blocks(plan, block_pixels);
  // Rows of dB in groups: some channels of one tap, or everything where channels are few.
  constexpr std::int64_t together = 24;
  const bool few_channels = channels <= 4;
  const std::int64_t groups_of_tap = (channels + together - 1) / together;
  const std::int64_t groups = few_channels ? 1 : taps * groups_of_tap;
  const std::int64_t pieces = groups >= 16 ? 1 : std::clamp<std::int64_t>(blocks.count() / 4, 1, 16);
  const std::int64_t size = taps * channels * columns;
  Tensor<T> partial;
  if (pieces > 1) partial = Tensor<T>(Shape{pieces, size});
  parallel_for(0, groups * pieces, 1, [&](std::int64_t first_item, std::int64_t last_item) {
    GatherPlan::Pixel pixels[block_pixels];
    WeightRow rows[static_cast<std::size_t>(std::max<std::int64_t>(together, 4 * 64))];
    while (first_item < last_item) {
      const std::int64_t piece = first_item / groups;
      const std::int64_t first = first_item % groups;
      const std::int64_t last = std::min(groups, first + last_item - first_item);
      first_item += last - first;
      T* const out = pieces > 1 ? partial.data() + piece * size : db;
      for (std::int64_t b = blocks.count() * piece / pieces; b < blocks.count() * (piece + 1) / pieces; ++b) {
        const auto [found, count] = blocks.locate(b, pixels);
        const WeightBlock<T> block{in, dy, pixels, count, columns, out};
        const GatherPlan::Tap* const tap = plan.taps.data() + found->first_tap;
        if (few_channels) {
          std::int64_t n = 0;
          for (std::int64_t t = 0; t < found->taps; ++t) {
            for (std::int64_t c = 0; c < channels; ++c) rows[n++] = {tap[t].in + c, tap[t].id * channels + c};
            if (t + 1 == found->taps || n + channels > static_cast<std::int64_t>(std::size(rows))) {
              weight_rows(block, rows, n);
              n = 0;
            }
          }
          continue;
        }
        for (std::int64_t t = 0; t < found->taps; ++t) {
          const std::int64_t begin = std::max(first - tap[t].id * groups_of_tap, std::int64_t{0});
          const std::int64_t end = std::min(last - tap[t].id * groups_of_tap, groups_of_tap);
          for (std::int64_t group = begin; group < end; ++group) {
            const std::int64_t channel = group * together;
            const std::int64_t n = std::min(together, channels - channel);
            for (std::int64_t c = 0; c < n; ++c)
              rows[c] = {tap[t].in + channel + c, tap[t].id * channels + channel + c};
            weight_rows(block, rows, n);
          }
        }
      }
    }
  });
  if (pieces > 1)
    parallel_for(0, size, 4096, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t piece = 0; piece < pieces; ++piece)
        for (std::int64_t i = first; i < last; ++i) db[i] += partial[piece * size + i];
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
