/// \file
/// The matrix product behind every layer: out[row] = sum over taps t of in[row, t] * B[t]. A linear layer has one tap; a
/// convolution has one per kernel element, and a `GatherPlan` says which pixel that meets. No input is copied or
/// rearranged; B is packed once a call, and not even that where few rows would not pay for it.
///
/// An output element is one chain of fused multiply-adds over (tap, channel) in order (`gather_dot`: one chain a
/// lane, added up as a tree), whatever tile it falls into: results do not depend on threads or batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_plan.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"
#include "easy_diffusion/ops/detail/stored_weight.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The widest register tile in vectors. With `tile_rows` rows it has rows * vectors accumulators, one row of B, and
/// numbers of A that come from memory as operands.
inline constexpr int tile_vectors = vector_registers >= 32 ? 4 : 2;
/// Rows of the tile of so many vectors.
inline constexpr int tile_rows(int vectors) {
  if (vector_registers >= 32) return vectors == 4 ? 6 : 8;
  return vectors == 2 ? 6 : 8;
}
/// A multiple of both.
inline constexpr std::int64_t block_rows = 48;

/// Columns are cut into panels of 4, 2 or 1 vectors (2 or 1 with 16 registers). \return vectors of the panel at `column`
template <class T>
inline int panel_vectors(std::int64_t column, std::int64_t columns) {
  const std::int64_t left = (columns - column + Pack<T>::lanes - 1) / Pack<T>::lanes;
  if (tile_vectors == 4 && left >= 4) return 4;
  return left >= 2 ? 2 : 1;
}

/// B[taps][channels][columns], either packed into panels, in which the order is [tap][channel][column of the panel] with
/// zeros past the last column, or as it lies, where its columns lie side by side and fill whole vectors.
template <class T>
struct ColumnPanels {
  std::int64_t taps = 0, channels = 0, columns = 0;
  const T* data = nullptr;
  std::int64_t tap_stride = 0, channel_stride = 0;  ///< of what is not packed
  bool is_packed = false;
  SharedTensor<T> packed;

  /// First element of a panel, and its strides.
  struct Panel {
    const T* data;
    std::int64_t tap_stride, channel_stride;
  };
  [[nodiscard]] Panel panel(std::int64_t column, int vectors) const {
    const std::int64_t width = vectors * Pack<T>::lanes;
    if (is_packed) return {data + taps * channels * column, channels * width, width};
    return {data + column, tap_stride, channel_stride};
  }
};

/// to[channel * width + column] = from[channel * channel_stride + column * column_stride]
template <class T>
inline void turn_matrix(const T* from, std::int64_t channels, std::int64_t columns, PanelStrides strides, T* to,
                        std::int64_t width) {
  if (strides.column == 1) {
    for (std::int64_t c = 0; c < channels; ++c) std::copy_n(from + c * strides.channel, columns, to + c * width);
    return;
  }
  // By squares: whole cache lines of the source are used up, and whole lines of the result are written at a time.
  constexpr std::int64_t square = Pack<T>::lanes;
  for (std::int64_t c = 0; c < channels; c += square)
    for (std::int64_t j = 0; j < columns; j += square) {
      const T* const corner = from + c * strides.channel + j * strides.column;
      if (strides.channel == 1 && c + square <= channels && j + square <= columns) {
        transpose_square(corner, strides.column, square, to + c * width + j, width);
        continue;
      }
      for (std::int64_t x = 0; x < std::min(square, channels - c); ++x)
        for (std::int64_t y = 0; y < std::min(square, columns - j); ++y)
          to[(c + x) * width + j + y] = corner[x * strides.channel + y * strides.column];
    }
}

/// The same for every tap: `to` is [taps][channels][columns].
template <class T>
void turn_matrices(const T* from, std::int64_t taps, std::int64_t channels, std::int64_t columns, PanelStrides strides,
                   T* to) {
  constexpr std::int64_t strip = 64;
  const std::int64_t strips = (channels + strip - 1) / strip;
  parallel_for(0, taps * strips, std::max<std::int64_t>(1, 16384 / (strip * columns)),
               [&](std::int64_t first, std::int64_t last) {
                 for (std::int64_t i = first; i < last; ++i) {
                   const std::int64_t tap = i / strips;
                   const std::int64_t c = i % strips * strip;
                   turn_matrix(from + tap * strides.tap + c * strides.channel, std::min(strip, channels - c), columns,
                               strides, to + (tap * channels + c) * columns, columns);
                 }
               });
}

template <class T>
Tensor<T> pack_panels(const T* b, std::int64_t taps, std::int64_t channels, std::int64_t columns, PanelStrides strides);

/// \param rows of the product; few of them leave B as it is, where its layout allows
template <class T>
ColumnPanels<T> make_panels(StoredWeight<T> b, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                            PanelStrides strides, std::int64_t rows) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  ColumnPanels<T> result;
  result.taps = taps;
  result.channels = channels;
  result.columns = columns;
  if (strides.column == 1 && columns % lanes == 0 && rows <= 2 * block_rows) {
    result.data = b.data;
    result.tap_stride = strides.tap;
    result.channel_stride = strides.channel;
    return result;
  }
  result.packed = b.laid_out(WeightLayout::panels, taps, channels, columns, strides, false,
                             [&] { return pack_panels(b.data, taps, channels, columns, strides); });
  result.is_packed = true;
  result.data = result.packed.data();
  return result;
}

template <class T>
Tensor<T> pack_panels(const T* b, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                      PanelStrides strides) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  const std::int64_t padded = (columns + lanes - 1) / lanes * lanes;
  Tensor<T> result = Tensor<T>::uninitialized(Shape{taps * channels * padded});
  T* const out = result.data();
  // A piece of work is one tap of one panel of the widest size (the narrower ones at the end go with the last).
  constexpr std::int64_t wide = tile_vectors * lanes;
  const std::int64_t pieces = (columns + wide - 1) / wide;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, channels * wide));
  parallel_for(0, pieces * taps, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t tap = i % taps;
      const std::int64_t end = std::min(columns, (i / taps + 1) * wide);
      std::int64_t column = i / taps * wide;
      while (column < end) {
        const std::int64_t width = panel_vectors<T>(column, columns) * lanes;
        const std::int64_t valid = std::min(width, columns - column);
        T* to = out + taps * channels * column + tap * channels * width;
        const T* from = b + tap * strides.tap + column * strides.column;
        turn_matrix(from, channels, valid, strides, to, width);
        for (std::int64_t c = 0; c < channels && valid < width; ++c)
          std::fill(to + c * width + valid, to + (c + 1) * width, T(0));
        column += width;
      }
    }
  });
  return result;
}

/// What happens to a finished sum before it is stored.
template <class T>
struct Epilogue {
  const T* bias = nullptr;      ///< [columns] or null
  const T* residual = nullptr;  ///< laid out as the output and added to it, or null
  bool accumulate = false;      ///< add to what is there
};

template <class T>
struct TileRows {
  const T* in;
  T* out;
  const GatherPlan::Pixel* rows;  ///< offsets of this tile's rows
  const GatherPlan::Tap* taps;
  std::int64_t tap_count;
};

/// Stores a tile's sums. \param count of the `vectors * lanes` columns that exist
template <int rows, int vectors, class T>
inline void store_tile(const Array<Pack<T>, rows, vectors>& sum, const TileRows<T>& tile, std::int64_t column,
                       std::int64_t valid, const Epilogue<T>& epilogue) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  for (int r = 0; r < rows; ++r) {
    const std::int64_t row = tile.rows[r].out + column;
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t count = std::min(lanes, valid - v * lanes);
      if (count <= 0) break;
      const std::int64_t at = row + v * lanes;
      const bool whole = count == lanes;
      const auto load = [&](const T* p) { return whole ? P::load(p) : load_partial(p, count); };
      P value = sum[r][v];
      if (epilogue.bias != nullptr) value = value + load(epilogue.bias + column + v * lanes);
      if (epilogue.residual != nullptr) value = value + load(epilogue.residual + at);
      if (epilogue.accumulate) value = value + load(tile.out + at);
      if (whole)
        value.store(tile.out + at);
      else
        store_partial(value, tile.out + at, count);
    }
  }
}

/// \tparam single one channel a tap: the loop over channels is left out
template <int rows, int vectors, bool single, class T>
inline void gather_tile(const TileRows<T>& tile, std::int64_t channels, const typename ColumnPanels<T>::Panel& panel,
                        std::int64_t column, std::int64_t valid, const Epilogue<T>& epilogue) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  Array<P, rows, vectors> sum;
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = P(T(0));
  for (std::int64_t t = 0; t < tile.tap_count; ++t) {
    Array<const T*, rows> a;
    for (int r = 0; r < rows; ++r) a[r] = tile.in + (tile.rows[r].in + tile.taps[t].in);
    const T* b = panel.data + tile.taps[t].id * panel.tap_stride;
    const std::int64_t depth = single ? 1 : channels;
    for (std::int64_t c = 0; c < depth; ++c, b += panel.channel_stride) {
      Array<P, vectors> row_of_b;
      for (int v = 0; v < vectors; ++v) row_of_b[v] = P::load(b + v * lanes);
      for (int r = 0; r < rows; ++r) {
        const P x(a[r][c]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = fma(x, row_of_b[v], sum[r][v]);
      }
    }
  }
  store_tile<rows, vectors>(sum, tile, column, valid, epilogue);
}

/// The tile of that many rows, 1 to tile_rows(vectors).
template <int vectors, bool single, int rows, class T, class... Args>
inline void gather_some_rows(std::int64_t count, const TileRows<T>& tile, const Args&... args) {
  if constexpr (rows > 1) {
    if (count < rows) return gather_some_rows<vectors, single, rows - 1>(count, tile, args...);
  }
  gather_tile<rows, vectors, single>(tile, args...);
}

template <int vectors, bool single, class T>
inline void gather_panel(std::int64_t count, TileRows<T> tile, std::int64_t channels,
                         const typename ColumnPanels<T>::Panel& panel, std::int64_t column, std::int64_t valid,
                         const Epilogue<T>& epilogue) {
  constexpr int rows = tile_rows(vectors);
  for (std::int64_t r = 0; r < count; r += rows, tile.rows += rows)
    gather_some_rows<vectors, single, rows>(std::min<std::int64_t>(rows, count - r), tile, channels, panel, column,
                                            valid, epilogue);
}

/// The columns [column, end) of at most `block_rows` rows; `column` begins a panel.
template <class T>
inline void gather_columns(const TileRows<T>& tile, std::int64_t count, const ColumnPanels<T>& b, std::int64_t column,
                           std::int64_t end, const Epilogue<T>& epilogue) {
  while (column < end) {
    const int vectors = panel_vectors<T>(column, b.columns);
    const std::int64_t valid = std::min(vectors * Pack<T>::lanes, b.columns - column);
    const auto panel = b.panel(column, vectors);
    const auto run = [&]<int width>(std::integral_constant<int, width>) {
      if (b.channels == 1)
        gather_panel<width, true>(count, tile, b.channels, panel, column, valid, epilogue);
      else
        gather_panel<width, false>(count, tile, b.channels, panel, column, valid, epilogue);
    };
    if (vectors == 1)
      run(std::integral_constant<int, 1>());
    else if (vectors == 2)
      run(std::integral_constant<int, 2>());
    else
      run(std::integral_constant<int, tile_vectors>());
    column += vectors * Pack<T>::lanes;
  }
}

/// Work of the plan in blocks of at most `size` rows of one class.
class RowBlocks {
 public:
  RowBlocks(const GatherPlan& plan, std::int64_t size) : plan_(plan), size_(size) {
    for (const auto& k : plan.classes) count_ += blocks(k);
  }

  [[nodiscard]] std::int64_t count() const { return count_; }

  /// Fills `rows` with the offsets of block number `block`'s rows. \return the class and how many rows there are
  std::pair<const GatherPlan::Class*, std::int64_t> locate(std::int64_t block, GatherPlan::Pixel* rows) const {
    std::size_t k = 0;
    while (block >= blocks(plan_.classes[k])) block -= blocks(plan_.classes[k++]);
    const auto& found = plan_.classes[k];
    const GatherPlan::Pixel* const pixels = plan_.pixels.data() + found.first_pixel;
    const std::int64_t first = block * size_;
    const std::int64_t count = std::min(size_, plan_.samples * found.pixels - first);
    std::int64_t sample = first / found.pixels;
    std::int64_t pixel = first % found.pixels;
    for (std::int64_t r = 0; r < count; ++r) {
      rows[r] = {sample * plan_.in_stride + pixels[pixel].in, sample * plan_.out_stride + pixels[pixel].out};
      if (++pixel == found.pixels) {
        pixel = 0;
        ++sample;
      }
    }
    return {&found, count};
  }

 private:
  [[nodiscard]] std::int64_t blocks(const GatherPlan::Class& k) const {
    return (plan_.samples * k.pixels + size_ - 1) / size_;
  }

  const GatherPlan& plan_;
  std::int64_t size_;
  std::int64_t count_ = 0;
};

/// The product with B for every row of the plan. Rows and panels are independent and go over threads.
template <class T>
void gather_gemm(const GatherPlan& plan, const T* in, const ColumnPanels<T>& b, const Epilogue<T>& epilogue, T* out) {
  constexpr std::int64_t wide = tile_vectors * Pack<T>::lanes;
  const RowBlocks blocks(plan, block_rows);
  // Column by column where B does not fit into a core's cache, or where there are few blocks of rows to share out.
  constexpr std::int64_t cached = (512 << 10) / static_cast<std::int64_t>(sizeof(T));
  const bool whole = blocks.count() >= 16 && b.taps * b.channels * b.columns <= cached;
  const std::int64_t strips = whole ? 1 : (b.columns + wide - 1) / wide;
  const std::int64_t strip_columns = strips == 1 ? b.columns : wide;
  const std::int64_t work = block_rows * std::max<std::int64_t>(1, b.taps * b.channels * strip_columns);
  const std::int64_t grain = std::max<std::int64_t>(1, 400'000 / work);
  parallel_for(0, blocks.count() * strips, grain, [&](std::int64_t first, std::int64_t last) {
    GatherPlan::Pixel rows[block_rows];
    for (std::int64_t item = first; item < last; ++item) {
      const auto [found, count] = blocks.locate(item % blocks.count(), rows);
      const TileRows<T> tile{in, out, rows, plan.taps.data() + found->first_tap, found->taps};
      const std::int64_t column = item / blocks.count() * strip_columns;
      gather_columns(tile, count, b, column, std::min(b.columns, column + strip_columns), epilogue);
    }
  });
}

/// The same product for very few columns: vectors run along the channels. B is [columns][taps][channels].
template <int rows, class T>
inline void gather_dot_tile(const TileRows<T>& tile, std::int64_t all_taps, std::int64_t channels, const T* b,
                            std::int64_t columns, const Epilogue<T>& epilogue) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  for (std::int64_t n = 0; n < columns; ++n) {
    Array<P, rows> sum;
    for (int r = 0; r < rows; ++r) sum[r] = P(T(0));
    for (std::int64_t t = 0; t < tile.tap_count; ++t) {
      const T* weight = b + (n * all_taps + tile.taps[t].id) * channels;
      Array<const T*, rows> a;
      for (int r = 0; r < rows; ++r) a[r] = tile.in + (tile.rows[r].in + tile.taps[t].in);
      std::int64_t c = 0;
      for (; c + lanes <= channels; c += lanes) {
        const P w = P::load(weight + c);
        for (int r = 0; r < rows; ++r) sum[r] = fma(P::load(a[r] + c), w, sum[r]);
      }
      if (c < channels) {
        const P w = load_partial(weight + c, channels - c);
        for (int r = 0; r < rows; ++r) sum[r] = fma(load_partial(a[r] + c, channels - c), w, sum[r]);
      }
    }
    for (int r = 0; r < rows; ++r) {
      T value = sum_lanes(sum[r]);
      const std::int64_t at = tile.rows[r].out + n;
      if (epilogue.bias != nullptr) value += epilogue.bias[n];
      if (epilogue.residual != nullptr) value += epilogue.residual[at];
      tile.out[at] = epilogue.accumulate ? tile.out[at] + value : value;
    }
  }
}

template <class T>
void gather_dot(const GatherPlan& plan, std::int64_t all_taps, std::int64_t channels, const T* in, const T* b,
                std::int64_t columns, const Epilogue<T>& epilogue, T* out) {
  constexpr int tile_size = 8;
  constexpr std::int64_t block_size = 128;
  const RowBlocks blocks(plan, block_size);
  parallel_for(0, blocks.count(), 2, [&](std::int64_t first, std::int64_t last) {
    GatherPlan::Pixel rows[block_size];
    for (std::int64_t block = first; block < last; ++block) {
      const auto [found, count] = blocks.locate(block, rows);
      TileRows<T> tile{in, out, rows, plan.taps.data() + found->first_tap, found->taps};
      std::int64_t r = 0;
      for (; r + tile_size <= count; r += tile_size, tile.rows += tile_size)
        gather_dot_tile<tile_size>(tile, all_taps, channels, b, columns, epilogue);
      for (; r < count; ++r, ++tile.rows) gather_dot_tile<1>(tile, all_taps, channels, b, columns, epilogue);
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
