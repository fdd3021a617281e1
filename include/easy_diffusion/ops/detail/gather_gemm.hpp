/// \file
/// The matrix product behind every layer: out[row] = sum over taps t of in[row, t] * B[t], where each row brings
/// pointers to its input vectors. A linear layer has one tap; a convolution has one per kernel element, whose
/// pointer is the pixel that it meets. No input is copied or rearranged.
///
/// An output element is one chain of fused multiply-adds over (tap, channel) in order (`gather_dot`: one chain a
/// lane, added up in the lanes' order), whatever tile it falls into: results do not depend on threads or batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Rows of a register tile, and its widest width in vectors: rows * width accumulators, one row of B, one number of A.
inline constexpr int tile_rows = 6;
inline constexpr int tile_vectors = vector_registers >= 32 ? 4 : 2;

/// B[taps][channels][n] cut into panels of 4, 2 or 1 vectors of columns (2 or 1 with 16 registers). In a panel the
/// order is [tap][channel][column]; columns past n are zero.
template <class T>
struct PackedPanels {
  struct Panel {
    std::int64_t column;
    int vectors;
    std::int64_t offset;
  };
  std::int64_t taps = 0, channels = 0, columns = 0;
  std::vector<Panel> panels;
  Tensor<T> data;
};

/// Where element (tap, channel, column) of B lies: `tap * tap_stride + channel * channel_stride + column *
/// column_stride`.
struct PanelStrides {
  std::int64_t tap, channel, column;
};

template <class T>
PackedPanels<T> pack_panels(const T* b, std::int64_t taps, std::int64_t channels, std::int64_t columns,
                            PanelStrides strides) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  PackedPanels<T> packed;
  packed.taps = taps;
  packed.channels = channels;
  packed.columns = columns;
  std::int64_t offset = 0;
  for (std::int64_t column = 0; column < columns;) {
    int vectors = tile_vectors;
    while (vectors > 1 && column + (vectors / 2) * lanes >= columns) vectors /= 2;
    packed.panels.push_back({column, vectors, offset});
    offset += taps * channels * vectors * lanes;
    column += vectors * lanes;
  }
  packed.data.resize(Shape{offset});
  T* out = packed.data.data();
  const std::int64_t panel_count = static_cast<std::int64_t>(packed.panels.size());
  parallel_for(0, panel_count * taps, std::max<std::int64_t>(1, 16384 / (channels * tile_vectors * lanes)),
               [&](std::int64_t first, std::int64_t last) {
                 for (std::int64_t i = first; i < last; ++i) {
                   const auto& panel = packed.panels[static_cast<std::size_t>(i / taps)];
                   const std::int64_t tap = i % taps;
                   const std::int64_t width = panel.vectors * lanes;
                   const std::int64_t valid = std::min(width, columns - panel.column);
                   T* to = out + panel.offset + tap * channels * width;
                   const T* from = b + tap * strides.tap + panel.column * strides.column;
                   for (std::int64_t c = 0; c < channels; ++c) {
                     for (std::int64_t j = 0; j < valid; ++j)
                       to[c * width + j] = from[c * strides.channel + j * strides.column];
                     for (std::int64_t j = valid; j < width; ++j) to[c * width + j] = T(0);
                   }
                 }
               });
  return packed;
}

/// What happens to a finished sum before it is stored.
template <class T>
struct Epilogue {
  const T* bias = nullptr;  ///< [columns] or null
  bool accumulate = false;  ///< add to what is there
};

template <int rows, int vectors, class T>
inline void gather_tile(const T* const* taps_of_rows, const std::int64_t* tap_ids, std::int64_t tap_count,
                        std::int64_t channels, const T* panel, T* const* out, std::int64_t column, std::int64_t valid,
                        const Epilogue<T>& epilogue) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  constexpr std::int64_t width = vectors * lanes;
  P sum[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sum[r][v] = P(T(0));
  for (std::int64_t t = 0; t < tap_count; ++t) {
    const T* a[rows];
    for (int r = 0; r < rows; ++r) a[r] = taps_of_rows[r * tap_count + t];
    const T* b = panel + tap_ids[t] * channels * width;
    for (std::int64_t c = 0; c < channels; ++c, b += width) {
      P row_of_b[vectors];
      for (int v = 0; v < vectors; ++v) row_of_b[v] = P::load(b + v * lanes);
      for (int r = 0; r < rows; ++r) {
        const P x(a[r][c]);
        for (int v = 0; v < vectors; ++v) sum[r][v] = fma(x, row_of_b[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t at = column + v * lanes;
      const std::int64_t count = std::min(lanes, valid - v * lanes);
      if (count <= 0) break;
      P value = sum[r][v];
      T* to = out[r] + at;
      if (count == lanes) {
        if (epilogue.bias != nullptr) value = value + P::load(epilogue.bias + at);
        if (epilogue.accumulate) value = value + P::load(to);
        value.store(to);
      } else {
        if (epilogue.bias != nullptr) value = value + load_partial(epilogue.bias + at, count);
        if (epilogue.accumulate) value = value + load_partial(to, count);
        store_partial(value, to, count);
      }
    }
  }
}

template <int vectors, class T, class... Args>
inline void gather_rows(std::int64_t rows, Args&&... args) {
  static_assert(tile_rows == 6);
  switch (rows) {
    case 6:
      return gather_tile<6, vectors, T>(args...);
    case 5:
      return gather_tile<5, vectors, T>(args...);
    case 4:
      return gather_tile<4, vectors, T>(args...);
    case 3:
      return gather_tile<3, vectors, T>(args...);
    case 2:
      return gather_tile<2, vectors, T>(args...);
    default:
      return gather_tile<1, vectors, T>(args...);
  }
}

/// Product with B for `rows` output rows. `locate(row, taps)` writes the row's input pointers, one per entry of
/// `tap_ids`, and returns where the row's output begins. Rows are independent and go over threads.
template <class T, class Locate>
void gather_gemm(std::int64_t rows, const std::vector<std::int64_t>& tap_ids, const PackedPanels<T>& b,
                 Epilogue<T> epilogue, Locate&& locate) {
  constexpr std::int64_t block_rows = 8 * tile_rows;
  const auto tap_count = static_cast<std::int64_t>(tap_ids.size());
  const std::int64_t work_per_block = block_rows * std::max<std::int64_t>(1, tap_count * b.channels * b.columns);
  const std::int64_t blocks = (rows + block_rows - 1) / block_rows;
  const std::int64_t grain = std::max<std::int64_t>(1, 200'000 / work_per_block);
  parallel_for(0, blocks, grain, [&](std::int64_t first, std::int64_t last) {
    thread_local std::vector<const T*> taps;
    taps.resize(static_cast<std::size_t>(block_rows * tap_count));
    T* out[block_rows];
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t begin = block * block_rows;
      const std::int64_t count = std::min(block_rows, rows - begin);
      for (std::int64_t r = 0; r < count; ++r) out[r] = locate(begin + r, taps.data() + r * tap_count);
      for (const auto& panel : b.panels) {
        const T* data = b.data.data() + panel.offset;
        const std::int64_t valid = std::min(panel.vectors * Pack<T>::lanes, b.columns - panel.column);
        for (std::int64_t r = 0; r < count; r += tile_rows) {
          const std::int64_t n = std::min<std::int64_t>(tile_rows, count - r);
          const T* const* rows_of_tile = taps.data() + r * tap_count;
          if constexpr (tile_vectors == 4) {
            if (panel.vectors == 4) {
              gather_rows<4, T>(n, rows_of_tile, tap_ids.data(), tap_count, b.channels, data, out + r, panel.column,
                                valid, epilogue);
              continue;
            }
          }
          if (panel.vectors == 2) {
            gather_rows<2, T>(n, rows_of_tile, tap_ids.data(), tap_count, b.channels, data, out + r, panel.column,
                              valid, epilogue);
          } else {
            gather_rows<1, T>(n, rows_of_tile, tap_ids.data(), tap_count, b.channels, data, out + r, panel.column,
                              valid, epilogue);
          }
        }
      }
    }
  });
}

/// The same product for very few columns: vectors run along the channels. B is [columns][taps][channels].
template <int rows, class T>
inline void gather_dot_tile(const T* const* taps_of_rows, const std::int64_t* tap_ids, std::int64_t tap_count,
                            std::int64_t total_taps, std::int64_t channels, const T* b, T* const* out,
                            std::int64_t columns, const Epilogue<T>& epilogue) {
  using P = Pack<T>;
  constexpr std::int64_t lanes = P::lanes;
  for (std::int64_t n = 0; n < columns; ++n) {
    P sum[rows];
    for (int r = 0; r < rows; ++r) sum[r] = P(T(0));
    for (std::int64_t t = 0; t < tap_count; ++t) {
      const T* weight = b + (n * total_taps + tap_ids[t]) * channels;
      const T* a[rows];
      for (int r = 0; r < rows; ++r) a[r] = taps_of_rows[r * tap_count + t];
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
      if (epilogue.bias != nullptr) value += epilogue.bias[n];
      out[r][n] = epilogue.accumulate ? out[r][n] + value : value;
    }
  }
}

template <class T, class Locate>
void gather_dot(std::int64_t rows, const std::vector<std::int64_t>& tap_ids, std::int64_t total_taps,
                std::int64_t channels, const T* b, std::int64_t columns, Epilogue<T> epilogue, Locate&& locate) {
  constexpr int tile = 4;
  const auto tap_count = static_cast<std::int64_t>(tap_ids.size());
  parallel_for(0, rows, 256, [&](std::int64_t first, std::int64_t last) {
    thread_local std::vector<const T*> taps;
    taps.resize(static_cast<std::size_t>(tile * tap_count));
    T* out[tile];
    std::int64_t row = first;
    for (; row + tile <= last; row += tile) {
      for (int r = 0; r < tile; ++r) out[r] = locate(row + r, taps.data() + r * tap_count);
      gather_dot_tile<tile, T>(taps.data(), tap_ids.data(), tap_count, total_taps, channels, b, out, columns, epilogue);
    }
    for (; row < last; ++row) {
      out[0] = locate(row, taps.data());
      gather_dot_tile<1, T>(taps.data(), tap_ids.data(), tap_count, total_taps, channels, b, out, columns, epilogue);
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
