/// \file
/// 3x3 convolutions of stride 2 by minimal filtering (half_filters.hpp says how): pictures are cut into tiles of n x n small
/// pixels and the (2n + 1) x (2n + 1) large ones that they meet, which take (2n + 1)^2 products a channel pair instead of
/// 9 n^2. Both directions go through the same transforms.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/half_filters.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Points of a tile: along an axis n + 1 of the even part, then n of the odd one, which all meet the same weight.
/// Places are numbered so that those which meet the same weight lie side by side.
template <int n>
struct StridedPoints {
  static constexpr int axis = 2 * n + 1;
  static constexpr int axis_weights = n + 2;
  static constexpr int count = axis * axis;
  static constexpr int weights = axis_weights * axis_weights;

  std::array<std::array<int, static_cast<std::size_t>(axis)>, static_cast<std::size_t>(axis)> place{};
  std::array<int, static_cast<std::size_t>(weights) + 1> first{};  ///< place of each weight, and the end

  constexpr StridedPoints() {
    int next = 0;
    for (int u = 0; u < axis_weights; ++u)
      for (int v = 0; v < axis_weights; ++v) {
        first[static_cast<std::size_t>(u * axis_weights + v)] = next;
        for (int p = u; p <= (u > n ? 2 * n : u); ++p)
          for (int q = v; q <= (v > n ? 2 * n : v); ++q)
            place[static_cast<std::size_t>(p)][static_cast<std::size_t>(q)] = next++;
      }
    first[weights] = next;
  }
};

template <int n, class T>
class StridedWinograd {
 public:
  explicit StridedWinograd(const ConvolutionGeometry& g)
      : g_(g), tiles_h_((g.small_h + n - 1) / n), tiles_w_((g.small_w + n - 1) / n) {}

  /// small = large * weight, then the epilogue. Writes every element of `small`.
  void large_to_small(const T* large, StoredWeight<T> weight, const Epilogue<T>& epilogue, T* small) {
    take_weight(weight, {g_.large_c * g_.small_c, g_.small_c, 1}, g_.large_c, g_.small_c);
    in_rounds([&](std::int64_t first, std::int64_t pictures, Places& places) {
      transform_large(large, first, pictures, places.large);
      multiply(places.large, g_.large_c, places.small, g_.small_c, pictures * picture_tiles());
      result_small(first, pictures, places.small, epilogue, small);
    });
  }

  /// large = small * transposed weight, then the epilogue. Writes every element of `large`.
  void small_to_large(const T* small, StoredWeight<T> weight, const Epilogue<T>& epilogue, T* large) {
    take_weight(weight, {g_.large_c * g_.small_c, 1, g_.small_c}, g_.small_c, g_.large_c);
    in_rounds([&](std::int64_t first, std::int64_t pictures, Places& places) {
      transform_small(small, first, pictures, places.small);
      multiply(places.small, g_.small_c, places.large, g_.large_c, pictures * picture_tiles());
      result_large(first, pictures, places.large, epilogue, large);
    });
  }

 private:
  using P = Pack<T>;
  using Filter = HalfFilter<n>;
  static constexpr StridedPoints<n> points{};
  static constexpr int axis = points.axis;
  static constexpr int axis_weights = points.axis_weights;
  static constexpr std::int64_t lanes = P::lanes;

  [[nodiscard]] std::int64_t picture_tiles() const { return tiles_h_ * tiles_w_; }

  /// What lies between the passes: transformed pixels or products, [place][tile][channel].
  struct Places {
    Tensor<T> large, small;
  };

  /// f(first picture, pictures, places) for some pictures at a time
  template <class F>
  void in_rounds(F&& f) const {
    const auto size = static_cast<std::int64_t>(sizeof(T));
    const Rounds rounds =
        plan_rounds(g_.batch, points.count * picture_tiles() * (g_.large_c + g_.small_c) * size, u_.size() * size);
    rounds.run([&](std::int64_t begin, std::int64_t end) {
      Places places;
      for (std::int64_t round = begin; round < end; ++round) {
        const std::int64_t first = g_.batch * round / rounds.count;
        const std::int64_t pictures = g_.batch * (round + 1) / rounds.count - first;
        places.large.resize(Shape{points.count, pictures * picture_tiles(), g_.large_c});
        places.small.resize(Shape{points.count, pictures * picture_tiles(), g_.small_c});
        f(first, pictures, places);
      }
    });
  }

  /// Even elements of d through B^T, odd ones as they are.
  static void split(const P* d, P* v) {
    Array<P, n + 1> even;
    unrolled<n + 1>([&](auto i) { even[i] = d[2 * i]; });
    Filter::input(even, v);
    unrolled<n>([&](auto i) { v[n + 1 + i] = d[2 * i + 1]; });
  }
  static void join(const P* v, P* d) {
    Array<P, n + 1> even;
    Filter::input_back(v, even);
    unrolled<n + 1>([&](auto i) { d[2 * i] = even[i]; });
    unrolled<n>([&](auto i) { d[2 * i + 1] = v[n + 1 + i]; });
  }
  static void expand(const P* y, P* q) {
    Filter::result_back(y, q);
    unrolled<n>([&](auto i) { q[n + 1 + i] = y[i]; });
  }
  static void reduce(const P* q, P* y) {
    Filter::result(q, y);
    unrolled<n>([&](auto i) { y[i] = y[i] + q[n + 1 + i]; });
  }

  /// f(tile in the round, picture, small y, small x) for tiles over threads
  template <class F>
  void for_tiles(std::int64_t first_picture, std::int64_t pictures, std::int64_t channels, F&& f) const {
    parallel_for(0, pictures * picture_tiles(), std::max<std::int64_t>(1, 128 / channels),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t k = first; k < last; ++k) {
                     const std::int64_t in_picture = k % picture_tiles();
                     f(k, first_picture + k / picture_tiles(), in_picture / tiles_w_ * n, in_picture % tiles_w_ * n);
                   }
                 });
  }

  void transform_large(const T* large, std::int64_t first_picture, std::int64_t pictures,
                       Tensor<T>& places) const {
    const auto at = offsets(pictures * picture_tiles() * g_.large_c);
    for_tiles(first_picture, pictures, g_.large_c,
              [&](std::int64_t k, std::int64_t picture, std::int64_t y, std::int64_t x) {
                const std::int64_t top = 2 * y - g_.padding;
                const std::int64_t left = 2 * x - g_.padding;
                const T* const corner = large + ((picture * g_.large_h + top) * g_.large_w + left) * g_.large_c;
                const bool inside = top >= 0 && left >= 0 && top + axis <= g_.large_h && left + axis <= g_.large_w;
                for_vectors<T>(g_.large_c, [&](std::int64_t c, auto vector) {
                  Array<P, axis, axis> columns;  // [point of the column][column]
                  for (int j = 0; j < axis; ++j) {
                    Array<P, axis> d;
                    if (inside) {
                      unrolled<axis>([&](auto i) { d[i] = vector.load(corner + (i * g_.large_w + j) * g_.large_c + c); });
                    } else {
                      for (int i = 0; i < axis; ++i) {
                        const bool there =
                            top + i >= 0 && top + i < g_.large_h && left + j >= 0 && left + j < g_.large_w;
                        d[i] = there ? vector.load(corner + (i * g_.large_w + j) * g_.large_c + c) : P(T(0));
                      }
                    }
                    Array<P, axis> v;
                    split(d, v);
                    unrolled<axis>([&](auto i) { columns[i][j] = v[i]; });
                  }
                  T* const to = places.data() + k * g_.large_c + c;
                  for (int i = 0; i < axis; ++i) {
                    Array<P, axis> v;
                    split(columns[i], v);
                    unrolled<axis>([&](auto j) { vector.store(v[j], to + at[static_cast<std::size_t>(i * axis + j)]); });
                  }
                });
              });
  }

  void transform_small(const T* small, std::int64_t first_picture, std::int64_t pictures,
                       Tensor<T>& places) const {
    const auto at = offsets(pictures * picture_tiles() * g_.small_c);
    for_tiles(first_picture, pictures, g_.small_c,
              [&](std::int64_t k, std::int64_t picture, std::int64_t y, std::int64_t x) {
                const T* const corner = small + ((picture * g_.small_h + y) * g_.small_w + x) * g_.small_c;
                const bool inside = y + n <= g_.small_h && x + n <= g_.small_w;
                for_vectors<T>(g_.small_c, [&](std::int64_t c, auto vector) {
                  Array<P, axis, n> columns;  // [point of the column][column]
                  for (int j = 0; j < n; ++j) {
                    Array<P, n> d;
                    if (inside) {
                      unrolled<n>([&](auto i) { d[i] = vector.load(corner + (i * g_.small_w + j) * g_.small_c + c); });
                    } else {
                      for (int i = 0; i < n; ++i)
                        d[i] = y + i < g_.small_h && x + j < g_.small_w
                                   ? vector.load(corner + (i * g_.small_w + j) * g_.small_c + c)
                                   : P(T(0));
                    }
                    Array<P, axis> q;
                    expand(d, q);
                    unrolled<axis>([&](auto i) { columns[i][j] = q[i]; });
                  }
                  T* const to = places.data() + k * g_.small_c + c;
                  for (int i = 0; i < axis; ++i) {
                    Array<P, axis> q;
                    expand(columns[i], q);
                    unrolled<axis>([&](auto j) { vector.store(q[j], to + at[static_cast<std::size_t>(i * axis + j)]); });
                  }
                });
              });
  }

  void result_small(std::int64_t first_picture, std::int64_t pictures, const Tensor<T>& places,
                    const Epilogue<T>& epilogue, T* small) const {
    const auto at = offsets(pictures * picture_tiles() * g_.small_c);
    for_tiles(first_picture, pictures, g_.small_c,
              [&](std::int64_t k, std::int64_t picture, std::int64_t y, std::int64_t x) {
                const std::int64_t corner = ((picture * g_.small_h + y) * g_.small_w + x) * g_.small_c;
                for_vectors<T>(g_.small_c, [&](std::int64_t c, auto vector) {
                  const T* const from = places.data() + k * g_.small_c + c;
                  Array<P, n, axis> rows;  // [column of results][row of points]
                  for (int i = 0; i < axis; ++i) {
                    Array<P, axis> q;
                    Array<P, n> r;
                    unrolled<axis>([&](auto j) { q[j] = vector.load(from + at[static_cast<std::size_t>(i * axis + j)]); });
                    reduce(q, r);
                    unrolled<n>([&](auto j) { rows[j][i] = r[j]; });
                  }
                  for (int j = 0; j < n && x + j < g_.small_w; ++j) {
                    Array<P, n> r;
                    reduce(rows[j], r);
                    for (int i = 0; i < n && y + i < g_.small_h; ++i)
                      finish(r[i], vector, c, corner + (i * g_.small_w + j) * g_.small_c + c, epilogue, small);
                  }
                });
              });
  }

  template <class Vector>
  static void finish(P value, const Vector& vector, std::int64_t column, std::int64_t at, const Epilogue<T>& epilogue,
                     T* out) {
    if (epilogue.bias != nullptr) value = value + vector.load(epilogue.bias + column);
    if (epilogue.residual != nullptr) value = value + vector.load(epilogue.residual + at);
    if (epilogue.accumulate) value = value + vector.load(out + at);
    vector.store(value, out + at);
  }

  /// Tiles share their edges, so a picture's tiles are added up in their order; threads share out channels.
  void result_large(std::int64_t first_picture, std::int64_t pictures, const Tensor<T>& places,
                    const Epilogue<T>& epilogue, T* large) const {
    const auto at = offsets(pictures * picture_tiles() * g_.large_c);
    const std::int64_t vectors = (g_.large_c + lanes - 1) / lanes;
    parallel_for(0, pictures * vectors, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t c = item % vectors * lanes;
        const T* const products = places.data() + item / vectors * picture_tiles() * g_.large_c + c;
        const std::int64_t picture = (first_picture + item / vectors) * g_.large_h * g_.large_w * g_.large_c + c;
        if (g_.large_c - c >= lanes)
          add_tiles(products, at, VectorAccess<T, true>{lanes}, c, picture, epilogue, large);
        else
          add_tiles(products, at, VectorAccess<T, false>{g_.large_c - c}, c, picture, epilogue, large);
      }
    });
  }

  template <class Offsets, class Vector>
  void add_tiles(const T* products, const Offsets& at, const Vector& vector, std::int64_t c, std::int64_t picture,
                 const Epilogue<T>& epilogue, T* large) const {
    for (std::int64_t pixel = 0; pixel < g_.large_h * g_.large_w; ++pixel)
      finish(P(T(0)), vector, c, picture + pixel * g_.large_c, epilogue, large);
    for (std::int64_t k = 0; k < picture_tiles(); ++k) {
      const std::int64_t top = k / tiles_w_ * 2 * n - g_.padding;
      const std::int64_t left = k % tiles_w_ * 2 * n - g_.padding;
      const bool inside = top >= 0 && top + axis <= g_.large_h;
      const T* const from = products + k * g_.large_c;
      Array<P, axis, axis> rows;  // [column of results][row of points]
      for (int i = 0; i < axis; ++i) {
        Array<P, axis> q, r;
        unrolled<axis>([&](auto j) { q[j] = vector.load(from + at[static_cast<std::size_t>(i * axis + j)]); });
        join(q, r);
        unrolled<axis>([&](auto j) { rows[j][i] = r[j]; });
      }
      const std::int64_t step = g_.large_w * g_.large_c;
      for (int j = 0; j < axis; ++j) {
        if (left + j < 0 || left + j >= g_.large_w) continue;
        Array<P, axis> r;
        join(rows[j], r);
        T* const to = large + picture + (top * g_.large_w + left + j) * g_.large_c;
        const auto add = [&](auto i) { vector.store(vector.load(to + i * step) + r[i], to + i * step); };
        if (inside) {
          unrolled<axis>(add);
        } else {
          for (int i = 0; i < axis; ++i)
            if (top + i >= 0 && top + i < g_.large_h) add(i);
        }
      }
    }
  }

  /// Where each place begins, `stride` apart, by its two points.
  static auto offsets(std::int64_t stride) {
    std::array<std::int64_t, points.count> result{};
    for (int i = 0; i < axis; ++i)
      for (int j = 0; j < axis; ++j)
        result[static_cast<std::size_t>(i * axis + j)] =
            stride * points.place[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
    return result;
  }
  static std::int64_t first_place(std::int64_t weight) { return points.first[static_cast<std::size_t>(weight)]; }

  void take_weight(StoredWeight<T> weight, PanelStrides strides, std::int64_t channels, std::int64_t columns) {
    constexpr WeightLayout layout = n == 2   ? WeightLayout::strided_2
                                    : n == 4 ? WeightLayout::strided_4
                                             : WeightLayout::strided_5;
    u_stride_ = spread(channels * ((columns + lanes - 1) / lanes * lanes));
    u_ = weight.laid_out(layout, 9, channels, columns, strides, false,
                         [&] { return transform_weight(weight.data, strides, channels, columns); });
  }

  Tensor<T> transform_weight(const T* weight, PanelStrides strides, std::int64_t channels,
                             std::int64_t columns) const {
    Tensor<T> turned;
    if (strides.column != 1) {
      turned = Tensor<T>::uninitialized(Shape{9, channels, columns});
      turn_matrices(weight, 9, channels, columns, strides, turned.data());
      weight = turned.data();
      strides = {channels * columns, columns, 1};
    }
    const std::int64_t padded = (columns + lanes - 1) / lanes * lanes;
    Tensor<T> result = Tensor<T>::uninitialized(Shape{points.weights, u_stride_});
    parallel_for(0, channels, std::max<std::int64_t>(1, 4096 / padded), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c)
        for (std::int64_t column = 0; column < columns;) {
          const int width = panel_vectors<T>(column, columns);
          T* const panel = result.data() + channels * column + c * width * lanes;
          for (int v = 0; v < width; ++v, column += lanes) {
            P g[9];
            for (int t = 0; t < 9; ++t) {
              const T* from = weight + t * strides.tap + c * strides.channel + column;
              g[t] = columns - column >= lanes ? P::load(from) : load_partial(from, columns - column);
            }
            Array<P, axis_weights, 3> rows;
            for (int j = 0; j < 3; ++j) {
              Array<P, axis_weights> u;
              Filter::weight(g[j], g[6 + j], u);
              u[n + 1] = g[3 + j];
              for (int i = 0; i < axis_weights; ++i) rows[i][j] = u[i];
            }
            for (int i = 0; i < axis_weights; ++i) {
              Array<P, axis_weights> u;
              Filter::weight(rows[i][0], rows[i][2], u);
              u[n + 1] = rows[i][1];
              for (int j = 0; j < axis_weights; ++j)
                u[j].store(panel + (i * axis_weights + j) * u_stride_ + v * lanes);
            }
          }
        }
    });
    return result;
  }

  /// out[place] = in[place] u[weight of that place]
  void multiply(const Tensor<T>& in, std::int64_t channels, Tensor<T>& out, std::int64_t columns,
                std::int64_t tiles) const {
    constexpr std::int64_t wide = tile_vectors * lanes;
    constexpr std::int64_t chunk = 4 * block_rows;
    const std::int64_t panels = (columns + wide - 1) / wide;
    std::array<std::int64_t, points.weights + 1> chunks{};  // before each weight
    for (std::int64_t w = 0; w < points.weights; ++w) {
      const std::int64_t rows = (first_place(w + 1) - first_place(w)) * tiles;
      chunks[static_cast<std::size_t>(w + 1)] = chunks[static_cast<std::size_t>(w)] + (rows + chunk - 1) / chunk;
    }
    const std::int64_t items = chunks[points.weights] * panels;
    parallel_for(0, items, std::max<std::int64_t>(1, 2'000'000 / (chunk * channels * std::min(wide, columns))), [&](std::int64_t first, std::int64_t last) {
      const GatherPlan::Tap tap{0, 0};
      GatherPlan::Pixel rows[block_rows];
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t number = item / panels;
        const auto found = std::upper_bound(chunks.begin(), chunks.end(), number) - 1;
        const std::int64_t w = found - chunks.begin();
        const std::int64_t begin = first_place(w) * tiles + (number - *found) * chunk;
        const std::int64_t end = std::min(first_place(w + 1) * tiles, begin + chunk);
        ColumnPanels<T> u;
        u.taps = 1;
        u.channels = channels;
        u.columns = columns;
        u.is_packed = true;
        u.data = std::as_const(u_).data() + w * u_stride_;
        const std::int64_t column = item % panels * wide;
        for (std::int64_t row = begin; row < end; row += block_rows) {
          const std::int64_t some = std::min(block_rows, end - row);
          for (std::int64_t r = 0; r < some; ++r) rows[r] = {(row + r) * channels, (row + r) * columns};
          gather_columns(TileRows<T>{in.data(), out.data(), rows, &tap, 1}, some, u, column,
                         std::min(columns, column + wide), Epilogue<T>{});
        }
      }
    });
  }

  ConvolutionGeometry g_;
  std::int64_t tiles_h_, tiles_w_;
  std::int64_t u_stride_ = 0;  ///< from a weight to the next
  SharedTensor<T> u_;          ///< transformed weights, [weight][panel][channel][columns of the panel]
};

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
