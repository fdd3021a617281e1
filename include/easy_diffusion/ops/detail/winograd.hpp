/// \file
/// 3x3 convolutions of stride 1 by Winograd's minimal filtering \cite lavin_2016_winograd: pictures are cut into tiles of
/// m x m results, which need (m + 2)^2 products a channel pair instead of 9 m^2.
///
/// F(4x4, 3x3) interpolates at 0, +-1/sqrt(2), +-sqrt(2) and infinity: with these points the error in float is a quarter of
/// that of the usual 0, +-1, +-2 \cite barabasz_2020_winograd, about 2e-6 of the largest output.
#pragma once

#include <algorithm>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The one-dimensional transforms: v = B^T d, u = G g, y = A^T q, and q = A y, g = G^T u for gradients. The two-dimensional ones apply them to columns and rows.
template <int m>
struct Minimal;

template <>
struct Minimal<2> {
  static constexpr int points = 4;
  template <class P>
  static void input(const P* d, P* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  template <class T, class P>
  static void weight(const P* g, P* u) {
    const P half(T(0.5));
    const P even = half * (g[0] + g[2]);
    const P odd = half * g[1];
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  template <class T, class P>
  static void output(const P* q, P* y) {
    y[0] = q[0] + q[1] + q[2];
    y[1] = q[1] - q[2] - q[3];
  }
};

template <>
struct Minimal<4> {
  static constexpr int points = 6;
  static constexpr double a = 0.70710678118654752440;  // a^2 = 1/2
  static constexpr double b = 1.41421356237309504880;  // b^2 = 2
  template <class P>
  static void input(const P* d, P* v) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), sum(T(2.5)), pa{T(a)}, pb{T(b)};
    const P even_a = d[4] - two * d[2];
    const P odd_a = pa * (d[3] - two * d[1]);
    const P even_b = d[4] - half * d[2];
    const P odd_b = pb * (d[3] - half * d[1]);
    v[0] = d[0] + d[4] - sum * d[2];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = d[1] + d[5] - sum * d[3];
  }
  template <class T, class P>
  static void weight(const P* g, P* u) {
    const P even_a = P(T(-1 / 1.5)) * (g[0] + P(T(0.5)) * g[2]);
    const P odd_a = P(T(-a / 1.5)) * g[1];
    const P even_b = P(T(1 / 6.0)) * (g[0] + P(T(2)) * g[2]);
    const P odd_b = P(T(b / 6.0)) * g[1];
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
  template <class T, class P>
  static void output(const P* q, P* y) {
    const P sum_a = q[1] + q[2];
    const P difference_a = P(T(a)) * (q[1] - q[2]);
    const P sum_b = q[3] + q[4];
    const P difference_b = P(T(b)) * (q[3] - q[4]);
    y[0] = q[0] + sum_a + sum_b;
    y[1] = difference_a + difference_b;
    y[2] = P(T(0.5)) * sum_a + P(T(2)) * sum_b;
    y[3] = P(T(0.5)) * difference_a + P(T(2)) * difference_b + q[5];
  }
  template <class P>
  static void output_back(const P* y, P* q) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5));
    const P even_a = y[0] + half * y[2];
    const P odd_a = P(T(a)) * (y[1] + half * y[3]);
    const P even_b = y[0] + two * y[2];
    const P odd_b = P(T(b)) * (y[1] + two * y[3]);
    q[0] = y[0];
    q[1] = even_a + odd_a;
    q[2] = even_a - odd_a;
    q[3] = even_b + odd_b;
    q[4] = even_b - odd_b;
    q[5] = y[3];
  }
  template <class P>
  static void weight_back(const P* u, P* g) {
    using T = typename P::value_type;
    const P sum_a = u[1] + u[2];
    const P sum_b = u[3] + u[4];
    g[0] = u[0] - P(T(1 / 1.5)) * sum_a + P(T(1 / 6.0)) * sum_b;
    g[1] = P(T(b / 6.0)) * (u[3] - u[4]) - P(T(a / 1.5)) * (u[1] - u[2]);
    g[2] = u[5] + P(T(1 / 3.0)) * (sum_b - sum_a);
  }
};

/// A 3x3 convolution of stride 1: out pixel (y, x) meets in pixels (y - padding + i, x - padding + j).
struct UnitConvolution {
  std::int64_t batch, in_h, in_w, in_c, out_h, out_w, out_c, padding;
};

template <int m, class T>
class Winograd {
 public:
  explicit Winograd(const UnitConvolution& g)
      : g_(g),
        tiles_h_((g.out_h + m - 1) / m),
        tiles_w_((g.out_w + m - 1) / m),
        padded_((g.out_c + lanes - 1) / lanes * lanes),
        u_stride_(spread(g.in_c * padded_)) {}

  /// Writes every element of `out`. \param strides of `weight`, whose taps count backwards where `flipped`
  void run(const T* in, StoredWeight<T> weight, PanelStrides strides, bool flipped, const Epilogue<T>& epilogue, T* out) {
    constexpr WeightLayout layout = m == 2 ? WeightLayout::winograd_2 : WeightLayout::winograd_4;
    u_ = weight.laid_out(layout, 9, g_.in_c, g_.out_c, strides, flipped,
                         [&] { return transform_weight(weight.data, strides, flipped); });
    const std::int64_t all = g_.batch * tiles_h_ * tiles_w_;
    const std::int64_t bytes = points * (g_.in_c + g_.out_c) * static_cast<std::int64_t>(sizeof(T));
    const Rounds rounds = plan_rounds(all, bytes, u_.size() * static_cast<std::int64_t>(sizeof(T)));
    rounds.run([&](std::int64_t begin, std::int64_t end) {
      Between between;
      for (std::int64_t round = begin; round < end; ++round) {
        const std::int64_t first = all * round / rounds.count;
        const std::int64_t count = all * (round + 1) / rounds.count - first;
        between.make_room(count, g_);
        transform_input(in, first, count, between);
        multiply(count, between);
        transform_output(first, count, between, epilogue, out);
      }
    });
  }

  /// dweight [3, 3, in_c, out_c] += sum over out pixels of in (x) dout. For m = 4.
  void add_weight_gradient(const T* in, const T* dout, T* dweight) const {
    Tensor<T> du(Shape{points, g_.in_c * g_.out_c});
    const std::int64_t all = g_.batch * tiles_h_ * tiles_w_;
    const std::int64_t bytes = points * (g_.in_c + g_.out_c) * static_cast<std::int64_t>(sizeof(T));
    const Rounds rounds = plan_shared_rounds(all, bytes);
    rounds.run([&](std::int64_t begin, std::int64_t end) {
      Between between;
      for (std::int64_t round = begin; round < end; ++round) {
        const std::int64_t first = all * round / rounds.count;
        const std::int64_t count = all * (round + 1) / rounds.count - first;
        between.make_room(count, g_);
        transform_input(in, first, count, between);
        transform_output_gradient(dout, first, count, between);
        add_products(count, between, du.data());
      }
    });
    transform_weight_gradient(du.data(), dweight);
  }

 private:
  using P = Pack<T>;
  static constexpr std::int64_t lanes = P::lanes;
  static constexpr int side = Minimal<m>::points;
  static constexpr int points = side * side;

  /// What lies between the passes.
  struct Between {
    std::int64_t v_stride = 0, q_stride = 0;  ///< from a point to the next
    Tensor<T> v;                              ///< transformed inputs, [point][tile][in_c]
    Tensor<T> q;                              ///< products or output gradients, [point][tile][out_c]

    void make_room(std::int64_t tiles, const UnitConvolution& g) {
      v_stride = spread(tiles * g.in_c);
      q_stride = spread(tiles * g.out_c);
      v.resize(Shape{points, v_stride});
      q.resize(Shape{points, q_stride});
    }
  };

  Tensor<T> transform_weight(const T* weight, PanelStrides strides, bool flipped) const {
    Tensor<T> turned;
    if (strides.column != 1) {
      turned = Tensor<T>::uninitialized(Shape{9, g_.in_c, g_.out_c});
      turn_matrices(weight, 9, g_.in_c, g_.out_c, strides, turned.data());
      weight = turned.data();
      strides = {g_.in_c * g_.out_c, g_.out_c, 1};
    }
    Tensor<T> result = Tensor<T>::uninitialized(Shape{points, u_stride_});
    const std::int64_t vectors = padded_ / lanes;
    parallel_for(0, g_.in_c, std::max<std::int64_t>(1, 256 / vectors), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c)
        for (std::int64_t column = 0; column < g_.out_c;) {
          const int width = panel_vectors<T>(column, g_.out_c);
          T* const panel = result.data() + g_.in_c * column + c * width * lanes;
          for (int v = 0; v < width; ++v, column += lanes) {
            P g[9];
            for (int t = 0; t < 9; ++t) {
              const T* from = weight + (flipped ? 8 - t : t) * strides.tap + c * strides.channel + column;
              g[t] = g_.out_c - column >= lanes ? P::load(from) : load_partial(from, g_.out_c - column);
            }
            Array<P, side, 3> rows;
            for (int j = 0; j < 3; ++j) {
              const P in_column[3] = {g[j], g[3 + j], g[6 + j]};
              Array<P, side> out_column;
              Minimal<m>::template weight<T>(in_column, out_column);
              for (int i = 0; i < side; ++i) rows[i][j] = out_column[i];
            }
            for (int i = 0; i < side; ++i) {
              Array<P, side> u;
              Minimal<m>::template weight<T>(rows[i], u);
              for (int j = 0; j < side; ++j)
                u[j].store(panel + (i * side + j) * u_stride_ + v * lanes);
            }
          }
        }
    });
    return result;
  }

  struct TileAt {
    std::int64_t sample, y, x;
  };
  [[nodiscard]] TileAt tile(std::int64_t number) const {
    const std::int64_t in_picture = number % (tiles_h_ * tiles_w_);
    return {number / (tiles_h_ * tiles_w_), in_picture / tiles_w_ * m, in_picture % tiles_w_ * m};
  }

  void transform_input(const T* in, std::int64_t first_tile, std::int64_t count, Between& between) const {
    parallel_for(0, count, std::max<std::int64_t>(1, 512 / g_.in_c), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        const TileAt at = tile(first_tile + k);
        const std::int64_t top = at.y - g_.padding;
        const std::int64_t left = at.x - g_.padding;
        const T* const corner = in + ((at.sample * g_.in_h + top) * g_.in_w + left) * g_.in_c;
        const bool inside = top >= 0 && left >= 0 && top + side <= g_.in_h && left + side <= g_.in_w;
        for_vectors<T>(g_.in_c, [&](std::int64_t c, auto vector) {
          Array<P, side, side> columns;  // [point of the column][column]
          for (int j = 0; j < side; ++j) {
            Array<P, side> d;
            if (inside) {
              unrolled<side>([&](auto i) { d[i] = vector.load(corner + (i * g_.in_w + j) * g_.in_c + c); });
            } else {
              for (int i = 0; i < side; ++i) {
                const bool there = top + i >= 0 && top + i < g_.in_h && left + j >= 0 && left + j < g_.in_w;
                d[i] = there ? vector.load(corner + (i * g_.in_w + j) * g_.in_c + c) : P(T(0));
              }
            }
            Array<P, side> v;
            Minimal<m>::input(d, v);
            unrolled<side>([&](auto i) { columns[i][j] = v[i]; });
          }
          T* to = between.v.data() + k * g_.in_c + c;
          for (int i = 0; i < side; ++i) {
            Array<P, side> v;
            Minimal<m>::input(columns[i], v);
            unrolled<side>([&](auto j) {
              vector.store(v[j], to);
              to += between.v_stride;
            });
          }
        });
      }
    });
  }

  /// q[point] = v[point] u[point]
  void multiply(std::int64_t count, Between& between) const {
    constexpr std::int64_t wide = tile_vectors * lanes;
    const std::int64_t panels = (g_.out_c + wide - 1) / wide;
    parallel_for(0, points * panels, 1, [&](std::int64_t first, std::int64_t last) {
      const GatherPlan::Tap tap{0, 0};
      GatherPlan::Pixel rows[block_rows];
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t point = item / panels;
        const T* const v = between.v.data() + point * between.v_stride;
        T* const q = between.q.data() + point * between.q_stride;
        ColumnPanels<T> u;
        u.taps = 1;
        u.channels = g_.in_c;
        u.columns = g_.out_c;
        u.is_packed = true;
        u.data = std::as_const(u_).data() + point * u_stride_;
        for (std::int64_t row = 0; row < count; row += block_rows) {
          const std::int64_t some = std::min(block_rows, count - row);
          for (std::int64_t r = 0; r < some; ++r) rows[r] = {(row + r) * g_.in_c, (row + r) * g_.out_c};
          const std::int64_t column = item % panels * wide;
          gather_columns(TileRows<T>{v, q, rows, &tap, 1}, some, u, column, std::min(g_.out_c, column + wide),
                         Epilogue<T>{});
        }
      }
    });
  }

  void transform_output(std::int64_t first_tile, std::int64_t count, const Between& between,
                        const Epilogue<T>& epilogue, T* out) const {
    parallel_for(0, count, std::max<std::int64_t>(1, 512 / g_.out_c), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        const TileAt at = tile(first_tile + k);
        const std::int64_t corner = ((at.sample * g_.out_h + at.y) * g_.out_w + at.x) * g_.out_c;
        const std::int64_t rows = std::min<std::int64_t>(m, g_.out_h - at.y);
        const std::int64_t columns = std::min<std::int64_t>(m, g_.out_w - at.x);
        for_vectors<T>(g_.out_c, [&](std::int64_t c, auto vector) {
          const T* from = between.q.data() + k * g_.out_c + c;
          Array<P, m, side> half;  // [column of results][row of points]
          for (int i = 0; i < side; ++i) {
            Array<P, side> q;
            Array<P, m> r;
            unrolled<side>([&](auto j) {
              q[j] = vector.load(from);
              from += between.q_stride;
            });
            Minimal<m>::template output<T>(q, r);
            unrolled<m>([&](auto j) { half[j][i] = r[j]; });
          }
          const P bias = epilogue.bias != nullptr ? vector.load(epilogue.bias + c) : P(T(0));
          for (int j = 0; j < columns; ++j) {
            Array<P, m> y;
            Minimal<m>::template output<T>(half[j], y);
            for (int i = 0; i < rows; ++i) {
              const std::int64_t to = corner + (i * g_.out_w + j) * g_.out_c + c;
              P value = y[i] + bias;
              if (epilogue.residual != nullptr) value = value + vector.load(epilogue.residual + to);
              if (epilogue.accumulate) value = value + vector.load(out + to);
              vector.store(value, out + to);
            }
          }
        });
      }
    });
  }

  void transform_output_gradient(const T* dout, std::int64_t first_tile, std::int64_t count, Between& between) const {
    parallel_for(0, count, std::max<std::int64_t>(1, 512 / g_.out_c), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        const TileAt at = tile(first_tile + k);
        const T* const corner = dout + ((at.sample * g_.out_h + at.y) * g_.out_w + at.x) * g_.out_c;
        for_vectors<T>(g_.out_c, [&](std::int64_t c, auto vector) {
          Array<P, side, m> columns;  // [point of the column][column]
          for (int j = 0; j < m; ++j) {
            Array<P, m> y;
            Array<P, side> q;
            for (int i = 0; i < m; ++i)
              y[i] = at.y + i < g_.out_h && at.x + j < g_.out_w
                         ? vector.load(corner + (i * g_.out_w + j) * g_.out_c + c)
                         : P(T(0));
            Minimal<m>::output_back(y, q);
            unrolled<side>([&](auto i) { columns[i][j] = q[i]; });
          }
          T* to = between.q.data() + k * g_.out_c + c;
          for (int i = 0; i < side; ++i) {
            Array<P, side> q;
            Minimal<m>::output_back(columns[i], q);
            unrolled<side>([&](auto j) {
              vector.store(q[j], to);
              to += between.q_stride;
            });
          }
        });
      }
    });
  }

  /// du[point] += sum over tiles of v (x) q
  void add_products(std::int64_t count, const Between& between, T* du) const {
    constexpr std::int64_t together = 24;
    constexpr std::int64_t block = 256;
    const std::int64_t groups = (g_.in_c + together - 1) / together;
    parallel_for(0, points * groups, 1, [&](std::int64_t first, std::int64_t last) {
      GatherPlan::Pixel pixels[block];
      WeightRow rows[together];
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t point = item / groups;
        const std::int64_t channel = item % groups * together;
        const std::int64_t some = std::min(together, g_.in_c - channel);
        for (std::int64_t c = 0; c < some; ++c) rows[c] = {channel + c, channel + c};
        for (std::int64_t k = 0; k < count; k += block) {
          const std::int64_t tiles = std::min(block, count - k);
          for (std::int64_t r = 0; r < tiles; ++r) pixels[r] = {(k + r) * g_.in_c, (k + r) * g_.out_c};
          weight_rows(WeightBlock<T>{between.v.data() + point * between.v_stride,
                                     between.q.data() + point * between.q_stride, pixels, tiles, g_.out_c,
                                     du + point * g_.in_c * g_.out_c},
                      rows, some);
        }
      }
    });
  }

  /// dweight += G^T du G
  void transform_weight_gradient(const T* du, T* dweight) const {
    const std::int64_t size = g_.in_c * g_.out_c;
    parallel_for(0, g_.in_c, std::max<std::int64_t>(1, 1024 / g_.out_c), [&](std::int64_t first, std::int64_t last) {
      const T* const from = du + first * g_.out_c;
      T* const to = dweight + first * g_.out_c;
      for_vectors<T>((last - first) * g_.out_c, [&](std::int64_t i, auto vector) {
        Array<P, 3, side> rows;
        for (int v = 0; v < side; ++v) {
          Array<P, side> u;
          Array<P, 3> g;
          for (int k = 0; k < side; ++k) u[k] = vector.load(from + (k * side + v) * size + i);
          Minimal<m>::weight_back(u, g);
          unrolled<3>([&](auto k) { rows[k][v] = g[k]; });
        }
        for (int k = 0; k < 3; ++k) {
          P g[3];
          Minimal<m>::weight_back(rows[k], g);
          unrolled<3>([&](auto j) {
            T* const at = to + (k * 3 + j) * size + i;
            vector.store(vector.load(at) + g[j], at);
          });
        }
      });
    });
  }

  UnitConvolution g_;
  std::int64_t tiles_h_, tiles_w_, padded_;
  std::int64_t u_stride_;  ///< from a point to the next
  SharedTensor<T> u_;      ///< transformed weights, [point][panel][in_c][columns of the panel]
};

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
