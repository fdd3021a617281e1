/// \file
/// The kernels behind group normalisation, with or without an embedding before it and an activation behind it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/group_norm_passes.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// What follows the normalisation: u itself, or SiLU \cite hendrycks_2016_gelu.
struct NoActivation {
  static constexpr bool active = false;
  template <class P>
  static P value(P u) {
    return u;
  }
  template <class P>
  static P gradient(P, P dy) {
    return dy;
  }
};
struct SiluActivation {
  static constexpr bool active = true;
  template <class P>
  static P value(P u) {
    return silu(u);
  }
  template <class P>
  static P gradient(P u, P dy) {
    return silu_gradient(u, dy);
  }
};

/// Sums over pixels, one row a sample: what the gradients of gamma and beta are added up from.
template <class T>
struct ParameterSums {
  Tensor<T> du, du_xhat;  // [N, C]

  explicit ParameterSums(const GroupNormGeometry& g)
      : du(Tensor<T>::uninitialized(Shape{g.batch, g.channels})), du_xhat(Tensor<T>::uninitialized(du.shape())) {}

  void add_to(const GroupNormGeometry& g, TensorView<T> dgamma, TensorView<T> dbeta) const {
    if (dgamma) add_column_sums(du_xhat.data(), g.batch, g.channels, dgamma.data());
    if (dbeta) add_column_sums(du.data(), g.batch, g.channels, dbeta.data());
  }
};

/// Per channel of one block, three rows: the mean m as rounding leaves it, sum of (x - m), and sum of (x - m)^2. Centred
/// sums lose no digits, however far x is from zero, and the second row says what the mean's rounding took away.
template <class T>
void sum_moments(const T* x, std::int64_t pixels, std::int64_t channels, T* sums) {
  using P = Pack<T>;
  const P one_over(T(1) / static_cast<T>(pixels));
  for_each_column<T>(channels, [&](std::int64_t first_channel, auto column) {
    constexpr int vectors = decltype(column)::vectors;
    Array<P, vectors> sum, rest, square, mean;
    for (int v = 0; v < vectors; ++v) sum[v] = rest[v] = square[v] = P(T(0));
    const T* in = x + first_channel;
    for (std::int64_t p = 0; p < pixels; ++p)
      for (int v = 0; v < vectors; ++v) sum[v] = sum[v] + column.load(in + p * channels + v * P::lanes);
    for (int v = 0; v < vectors; ++v) mean[v] = sum[v] * one_over;
    for (std::int64_t p = 0; p < pixels; ++p)
      for (int v = 0; v < vectors; ++v) {
        const P centred = column.load(in + p * channels + v * P::lanes) - mean[v];
        rest[v] = rest[v] + centred;
        square[v] = fma(centred, centred, square[v]);
      }
    T* out = sums + first_channel;
    for (int v = 0; v < vectors; ++v, out += P::lanes) {
      column.store(mean[v], out);
      column.store(rest[v], out + channels);
      column.store(square[v], out + 2 * channels);
    }
  });
}

/// total[c] = sum over blocks of one row of their sums, in order.
template <class T>
void join_blocks(const GroupNormGeometry& g, const T* sums, std::int64_t sum_rows, std::int64_t row, double* total) {
  std::fill_n(total, g.channels, 0.0);
  for (std::int64_t b = 0; b < g.blocks; ++b) {
    const T* sum = sums + (b * sum_rows + row) * g.channels;
    for (std::int64_t c = 0; c < g.channels; ++c) total[c] += static_cast<double>(sum[c]);
  }
}

/// activation((x + embedding - mean) rstd gamma + beta). Shapes have been checked.
/// \param embedding [N, C] or null \param y may be x
template <class Activation, class T>
void group_norm_forward(const GroupNormGeometry& g, const T* x, const T* embedding, const T* gamma, const T* beta,
                        T epsilon, T* y, T* mean, T* rstd) {
  using P = Pack<T>;
  const auto first = [&](std::int64_t n, std::int64_t b, const GroupNormScratch<T>& s) {
    sum_moments(x + g.start(n, b), g.pixels_of(b), g.channels, s.sums + 3 * b * g.channels);
  };
  const auto join = [&](std::int64_t n, const GroupNormScratch<T>& s) {
    const auto embedded = [&](std::int64_t c) {
      return embedding ? static_cast<double>(embedding[n * g.channels + c]) : 0.0;
    };
    double* own = s.work;  // a channel's sum, then what it is centred at: the group's mean less the channel's embedding
    double* squares = s.work + g.channels;
    for (std::int64_t c = 0; c < g.channels; ++c) own[c] = static_cast<double>(g.pixels) * embedded(c);
    for (std::int64_t b = 0; b < g.blocks; ++b) {
      const T* block_mean = s.sums + 3 * b * g.channels;
      const auto pixels = static_cast<double>(g.pixels_of(b));
      for (std::int64_t c = 0; c < g.channels; ++c)
        own[c] += pixels * static_cast<double>(block_mean[c]) + static_cast<double>(block_mean[g.channels + c]);
    }
    for (std::int64_t k = 0; k < g.groups; ++k) {
      const std::int64_t begin = k * g.group_channels;
      double total = 0;
      for (std::int64_t c = begin; c < begin + g.group_channels; ++c) total += own[c];
      const double middle = total / g.group_size();
      mean[n * g.groups + k] = static_cast<T>(middle);
      for (std::int64_t c = begin; c < begin + g.group_channels; ++c) own[c] = middle - embedded(c);
    }
    // A block's squares are about its own mean m; about another point they are
    // sum (x - m)^2 + 2 d sum (x - m) + pixels d^2 with d the distance between the two.
    std::fill_n(squares, g.channels, 0.0);
    for (std::int64_t b = 0; b < g.blocks; ++b) {
      const T* block_mean = s.sums + 3 * b * g.channels;
      const auto pixels = static_cast<double>(g.pixels_of(b));
      for (std::int64_t c = 0; c < g.channels; ++c) {
        const double distance = static_cast<double>(block_mean[c]) - own[c];
        squares[c] += static_cast<double>(block_mean[2 * g.channels + c]) +
                      distance * (2 * static_cast<double>(block_mean[g.channels + c]) + pixels * distance);
      }
    }
    for (std::int64_t k = 0; k < g.groups; ++k) {
      const std::int64_t begin = k * g.group_channels;
      double total = 0;
      for (std::int64_t c = begin; c < begin + g.group_channels; ++c) total += squares[c];
      const double slope = 1 / std::sqrt(total / g.group_size() + static_cast<double>(epsilon));
      rstd[n * g.groups + k] = static_cast<T>(slope);
      for (std::int64_t c = begin; c < begin + g.group_channels; ++c)
        squares[c] = slope * static_cast<double>(gamma[c]);
    }
    // (x - centre) scale + shift: the difference is exact where x is far from zero, and what rounding takes from the
    // centre is given back by the shift.
    for (std::int64_t c = 0; c < g.channels; ++c) {
      s.row[0][c] = static_cast<T>(own[c]);
      s.row[1][c] = static_cast<T>(squares[c]);
      s.row[2][c] =
          static_cast<T>(static_cast<double>(beta[c]) + (static_cast<double>(s.row[0][c]) - own[c]) * squares[c]);
    }
  };
  const auto second = [&](std::int64_t n, std::int64_t b, const GroupNormScratch<T>& s) {
    const std::int64_t pixels = g.pixels_of(b);
    for_each_column<T>(g.channels, [&](std::int64_t channel, auto column) {
      constexpr int vectors = decltype(column)::vectors;
      Array<P, vectors> centre, scale, shift;
      for (int v = 0; v < vectors; ++v) {
        centre[v] = column.load(s.row[0] + channel + v * P::lanes);
        scale[v] = column.load(s.row[1] + channel + v * P::lanes);
        shift[v] = column.load(s.row[2] + channel + v * P::lanes);
      }
      const T* in = x + g.start(n, b) + channel;
      T* out = y + g.start(n, b) + channel;
      for (std::int64_t p = 0; p < pixels; ++p, in += g.channels, out += g.channels)
        for (int v = 0; v < vectors; ++v) {
          const P u = fma(column.load(in + v * P::lanes) - centre[v], scale[v], shift[v]);
          column.store(Activation::value(u), out + v * P::lanes);
        }
    });
  };
  in_two_passes<T>(
      g, 3, [](std::int64_t, const GroupNormScratch<T>&) {}, first, join, second);
}

/// With u = x_hat gamma + beta, du = dy activation'(u) and averages over the group's elements:
/// dx = rstd (gamma du - mean(gamma du) - x_hat mean(gamma du x_hat)), and dembedding is dx summed over pixels.
/// \tparam embedded whether there is an embedding: then embedding [N, C] is not null
/// \param dx,dembedding null to leave them out; dx may be dy
/// \param sums written
template <class Activation, bool embedded, class T>
void group_norm_backward(const GroupNormGeometry& g, const T* x, const T* embedding, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, T* dx, T* dembedding, ParameterSums<T>& sums) {
  using P = Pack<T>;
  constexpr std::int64_t sum_rows = embedded ? 3 : 2;  // du, du (x - centre), x - centre
  const auto prepare = [&](std::int64_t n, const GroupNormScratch<T>& s) {
    for (std::int64_t k = 0; k < g.groups; ++k)
      for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
        s.row[0][c] = mean[n * g.groups + k];
        s.row[1][c] = rstd[n * g.groups + k] * gamma[c];
      }
    if constexpr (embedded)
      for (std::int64_t c = 0; c < g.channels; ++c) s.row[0][c] -= embedding[n * g.channels + c];
  };
  const auto first = [&](std::int64_t n, std::int64_t b, const GroupNormScratch<T>& s) {
    const std::int64_t pixels = g.pixels_of(b);
    for_each_column<T>(g.channels, [&](std::int64_t channel, auto column) {
      constexpr int vectors = decltype(column)::vectors;
      Array<P, vectors> centre, scale, shift;
      Array<P, sum_rows, vectors> sum;
      for (int v = 0; v < vectors; ++v) {
        centre[v] = column.load(s.row[0] + channel + v * P::lanes);
        if constexpr (Activation::active) {
          scale[v] = column.load(s.row[1] + channel + v * P::lanes);
          shift[v] = column.load(beta + channel + v * P::lanes);
        }
        for (auto& row : sum) row[v] = P(T(0));
      }
      const std::int64_t start = g.start(n, b) + channel;
      for (std::int64_t p = 0; p < pixels; ++p)
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t i = start + p * g.channels + v * P::lanes;
          const P centred = column.load(x + i) - centre[v];
          P du = column.load(dy + i);
          if constexpr (Activation::active) {
            du = Activation::gradient(fma(centred, scale[v], shift[v]), du);
            if (dx) column.store(du, dx + i);  // the second pass takes it from there
          }
          sum[0][v] = sum[0][v] + du;
          sum[1][v] = fma(du, centred, sum[1][v]);
          if constexpr (embedded) sum[2][v] = sum[2][v] + centred;
        }
      for (std::int64_t r = 0; r < sum_rows; ++r)
        for (int v = 0; v < vectors; ++v)
          column.store(sum[r][v], s.sums + (b * sum_rows + r) * g.channels + channel + v * P::lanes);
    });
  };
  const auto join = [&](std::int64_t n, const GroupNormScratch<T>& s) {
    double* du = s.work;
    double* du_xhat = s.work + g.channels;
    join_blocks(g, s.sums, sum_rows, 0, du);
    join_blocks(g, s.sums, sum_rows, 1, du_xhat);
    // dx = scale du - slope (x - centre) - shift
    for (std::int64_t k = 0; k < g.groups; ++k) {
      const auto one_over_deviation = static_cast<double>(rstd[n * g.groups + k]);
      double mean_du = 0;
      double mean_du_xhat = 0;
      for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
        du_xhat[c] *= one_over_deviation;
        mean_du += static_cast<double>(gamma[c]) * du[c];
        mean_du_xhat += static_cast<double>(gamma[c]) * du_xhat[c];
      }
      const double factor = one_over_deviation / g.group_size();
      for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
        s.row[2][c] = static_cast<T>(factor * one_over_deviation * mean_du_xhat);
        s.row[3][c] = static_cast<T>(factor * mean_du);
      }
    }
    for (std::int64_t c = 0; c < g.channels; ++c) {
      sums.du[n * g.channels + c] = static_cast<T>(du[c]);
      sums.du_xhat[n * g.channels + c] = static_cast<T>(du_xhat[c]);
    }
    if constexpr (embedded)
      if (dembedding) {
        double* centred = s.work + g.channels;
        join_blocks(g, s.sums, sum_rows, 2, centred);
        for (std::int64_t c = 0; c < g.channels; ++c)
          dembedding[n * g.channels + c] =
              static_cast<T>(static_cast<double>(s.row[1][c]) * du[c] - static_cast<double>(s.row[2][c]) * centred[c] -
                             static_cast<double>(s.row[3][c]) * static_cast<double>(g.pixels));
      }
  };
  const T* grad = Activation::active ? dx : dy;
  const auto second = [&](std::int64_t n, std::int64_t b, const GroupNormScratch<T>& s) {
    if (!dx) return;
    const std::int64_t pixels = g.pixels_of(b);
    for_each_column<T>(g.channels, [&](std::int64_t channel, auto column) {
      constexpr int vectors = decltype(column)::vectors;
      Array<P, vectors> centre, scale, slope, shift;
      for (int v = 0; v < vectors; ++v) {
        centre[v] = column.load(s.row[0] + channel + v * P::lanes);
        scale[v] = column.load(s.row[1] + channel + v * P::lanes);
        slope[v] = P(T(0)) - column.load(s.row[2] + channel + v * P::lanes);
        shift[v] = P(T(0)) - column.load(s.row[3] + channel + v * P::lanes);
      }
      const std::int64_t start = g.start(n, b) + channel;
      for (std::int64_t p = 0; p < pixels; ++p)
        for (int v = 0; v < vectors; ++v) {
          const std::int64_t i = start + p * g.channels + v * P::lanes;
          const P part = fma(column.load(x + i) - centre[v], slope[v], shift[v]);
          column.store(fma(column.load(grad + i), scale[v], part), dx + i);
        }
    });
  };
  in_two_passes<T>(g, sum_rows, prepare, first, join, second);
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
