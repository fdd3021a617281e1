/// \file
/// The kernels of attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The extents of attention; a head's widths are those of one head.
struct AttentionGeometry {
  std::int64_t batch, heads, queries, keys, key_width, value_width;
};

template <class T>
inline T dot(std::int64_t n, const T* a, const T* b) {
  return sum_packs<T>(
      n, [](Pack<T> x, Pack<T> y) { return x * y; }, a, b);
}

template <class T>
inline void add_scaled(std::int64_t n, T factor, const T* x, T* y) {
  const Pack<T> f(factor);
  map_packs(
      n, y, [&](Pack<T> a, Pack<T> b) { return fma(f, b, a); }, static_cast<const T*>(y), x);
}

template <class T>
void attention_forward(const AttentionGeometry& g, const T* q, const T* k, const T* v, T scale, T* out, T* lse) {
  const std::int64_t key_row = g.heads * g.key_width;
  const std::int64_t value_row = g.heads * g.value_width;
  parallel_for(0, g.batch * g.heads * g.queries, 1, [&](std::int64_t first, std::int64_t last) {
    Tensor<T> row(Shape{g.keys});
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t n = item / g.queries / g.heads;
      const std::int64_t h = item / g.queries % g.heads;
      const std::int64_t i = item % g.queries;
      T* score = row.data();
      for (std::int64_t j = 0; j < g.keys; ++j)
        score[j] = scale * dot(g.key_width, q + (n * g.queries + i) * key_row + h * g.key_width,
                               k + (n * g.keys + j) * key_row + h * g.key_width);
      const T largest = largest_of_row(g.keys, score);
      T sum = 0;
      T* o = out + (n * g.queries + i) * value_row + h * g.value_width;
      std::fill_n(o, g.value_width, T(0));
      for (std::int64_t j = 0; j < g.keys; ++j) {
        const T p = std::exp(score[j] - largest);
        sum += p;
        add_scaled(g.value_width, p, v + (n * g.keys + j) * value_row + h * g.value_width, o);
      }
      for (std::int64_t c = 0; c < g.value_width; ++c) o[c] /= sum;
      if (lse != nullptr) lse[item] = largest + std::log(sum);
    }
  });
}

template <class T>
void attention_backward(const AttentionGeometry& g, const T* q, const T* k, const T* v, const T* out, const T* lse,
                        const T* dout, T scale, T* dq, T* dk, T* dv) {
  const std::int64_t key_row = g.heads * g.key_width;
  const std::int64_t value_row = g.heads * g.value_width;
  parallel_for(0, g.batch * g.heads, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t n = item / g.heads;
      const std::int64_t h = item % g.heads;
      const auto key_at = [&](auto* x, std::int64_t length, std::int64_t i) {
        return x + (n * length + i) * key_row + h * g.key_width;
      };
      const auto value_at = [&](auto* x, std::int64_t length, std::int64_t i) {
        return x + (n * length + i) * value_row + h * g.value_width;
      };
      if (dq != nullptr)
        for (std::int64_t i = 0; i < g.queries; ++i) std::fill_n(key_at(dq, g.queries, i), g.key_width, T(0));
      for (std::int64_t j = 0; j < g.keys; ++j) {
        if (dk != nullptr) std::fill_n(key_at(dk, g.keys, j), g.key_width, T(0));
        if (dv != nullptr) std::fill_n(value_at(dv, g.keys, j), g.value_width, T(0));
      }
      for (std::int64_t i = 0; i < g.queries; ++i) {
        const T* gradient = value_at(dout, g.queries, i);
        const T* query = key_at(q, g.queries, i);
        const T delta = dot(g.value_width, gradient, value_at(out, g.queries, i));
        for (std::int64_t j = 0; j < g.keys; ++j) {
          const T* key = key_at(k, g.keys, j);
          const T p = std::exp(scale * dot(g.key_width, query, key) - lse[item * g.queries + i]);
          const T ds = scale * p * (dot(g.value_width, gradient, value_at(v, g.keys, j)) - delta);
          if (dv != nullptr) add_scaled(g.value_width, p, gradient, value_at(dv, g.keys, j));
          if (dq != nullptr) add_scaled(g.key_width, ds, key, key_at(dq, g.queries, i));
          if (dk != nullptr) add_scaled(g.key_width, ds, query, key_at(dk, g.keys, j));
        }
      }
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
