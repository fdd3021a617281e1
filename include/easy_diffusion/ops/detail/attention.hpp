/// \file
/// The kernels of attention. Queries run along the vectors' lanes: a tile of scores is held as [keys, queries], so that
/// the softmax over the keys needs no sum across lanes, and what a short vector computes beyond the last query belongs
/// to no query. Keys are taken in tiles, in order; every query is computed by itself, whatever tile it falls into.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numbers>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/exponential.hpp"
#include "easy_diffusion/ops/detail/panel_product.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Queries and keys of a tile of scores.
inline constexpr std::int64_t query_tile = 64;
inline constexpr std::int64_t key_tile = 128;

/// Softmax is computed in powers of two: their whole part needs no rounding constants.
template <class T>
inline constexpr T log2_of_e = std::numbers::log2e_v<T>;

/// The extents of attention; a head's widths are those of one head.
struct AttentionGeometry {
  std::int64_t batch, heads, queries, keys, key_width, value_width;

  /// So many of these, each `flops` floating-point operations, are worth a thread's while.
  static std::int64_t grain(std::int64_t flops) { return std::max<std::int64_t>(1, (1 << 18) / (flops + 1)); }

  [[nodiscard]] std::int64_t key_row() const { return heads * key_width; }
  [[nodiscard]] std::int64_t value_row() const { return heads * value_width; }
  /// Where head `item % heads` of sample `item / heads` begins in a tensor [batch, length, row].
  [[nodiscard]] std::int64_t key_offset(std::int64_t item, std::int64_t length) const {
    return item / heads * length * key_row() + item % heads * key_width;
  }
  [[nodiscard]] std::int64_t value_offset(std::int64_t item, std::int64_t length) const {
    return item / heads * length * value_row() + item % heads * value_width;
  }
};

/// Memory for several arrays, each beginning at a multiple of 64 elements.
template <class T>
class Scratch {
 public:
  /// For arrays of these sizes, to be taken in this order.
  void prepare(std::initializer_list<std::int64_t> sizes) {
    std::int64_t total = 0;
    for (const std::int64_t size : sizes) total += rounded(size);
    memory_.resize(Shape{total});
    used_ = 0;
  }
  T* take(std::int64_t size) {
    T* p = memory_.data() + used_;
    used_ += rounded(size);
    return p;
  }

 private:
  static std::int64_t rounded(std::int64_t size) { return (size + 63) / 64 * 64; }

  Tensor<T> memory_;
  std::int64_t used_ = 0;
};

/// One tile's step of a softmax that comes in tiles: scores become 2^(scale score - largest), `largest` and `sum` (one
/// a query) take the tile in, and `correction` is what earlier sums and results must be multiplied by.
/// \param scores [keys, queries], rows `padded(queries)` long
template <class T>
inline void softmax_step(std::int64_t keys, std::int64_t queries, T scale, T* scores, T* largest, T* sum,
                         T* correction) {
  using P = Pack<T>;
  const std::int64_t row = padded<T>(queries);
  const P s(scale);
  for (std::int64_t v = 0; v < row; v += P::lanes) {
    const P before = P::load(largest + v);
    P even = before;
    P odd = before;
    std::int64_t j = 0;
    for (; j + 2 <= keys; j += 2) {
      even = max(even, s * P::load(scores + j * row + v));
      odd = max(odd, s * P::load(scores + (j + 1) * row + v));
    }
    if (j < keys) even = max(even, s * P::load(scores + j * row + v));
    const P most = max(even, odd);
    const P factor = exp2_nonpositive(before - most);
    P even_sum(T(0));
    P odd_sum(T(0));
    const auto probability = [&](std::int64_t key) {
      T* p = scores + key * row + v;
      const P e = exp2_nonpositive(fma(s, P::load(p), P(T(0)) - most));
      e.store(p);
      return e;
    };
    for (j = 0; j + 2 <= keys; j += 2) {
      even_sum = even_sum + probability(j);
      odd_sum = odd_sum + probability(j + 1);
    }
    if (j < keys) even_sum = even_sum + probability(j);
    fma(P::load(sum + v), factor, even_sum + odd_sum).store(sum + v);
    most.store(largest + v);
    factor.store(correction + v);
  }
}

template <class T>
void attention_forward(const AttentionGeometry& g, const T* q, const T* k, const T* v, T scale, T* out, T* lse) {
  if (g.batch == 0) return;
  // Where there are fewer heads than threads, narrower tiles; a query's result does not depend on its neighbours.
  const std::int64_t blocks_wanted = (num_threads() + g.batch * g.heads - 1) / (g.batch * g.heads);
  const std::int64_t share = padded<T>((g.queries + blocks_wanted - 1) / blocks_wanted);
  const std::int64_t widest = std::clamp(share, std::min(query_tile, 2 * Pack<T>::lanes), query_tile);
  const std::int64_t blocks = (g.queries + widest - 1) / widest;
  const std::int64_t tile = std::min(g.keys, key_tile);
  const std::int64_t out_row = padded<T>(g.value_width);
  const std::int64_t grain = g.grain(2 * widest * g.keys * (g.key_width + g.value_width));
  parallel_for(0, g.batch * g.heads * blocks, grain, [&](std::int64_t first, std::int64_t last) {
    Scratch<T> scratch;
    scratch.prepare({g.key_width * widest, tile * widest, tile * out_row, widest * out_row, widest, widest, widest});
    T* queries_packed = scratch.take(g.key_width * widest);
    T* scores = scratch.take(tile * widest);
    T* values_packed = scratch.take(tile * out_row);
    T* result = scratch.take(widest * out_row);
    T* largest = scratch.take(widest);
    T* sum = scratch.take(widest);
    T* correction = scratch.take(widest);
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t item = block / blocks;
      const std::int64_t query = block % blocks * widest;
      const std::int64_t count = std::min(widest, g.queries - query);
      const std::int64_t row = padded<T>(count);
      pack_transposed(q + g.key_offset(item, g.queries) + query * g.key_row(), g.key_width, count, g.key_row(),
                      queries_packed);
      std::fill_n(largest, row, std::numeric_limits<T>::lowest());
      std::fill_n(sum, row, T(0));
      for (std::int64_t key = 0; key < g.keys; key += tile) {
        const std::int64_t keys = std::min(tile, g.keys - key);
        panel_product(keys, g.key_width, count, k + g.key_offset(item, g.keys) + key * g.key_row(), {g.key_row(), 1},
                      queries_packed, scores, row, false);
        softmax_step(keys, count, scale * log2_of_e<T>, scores, largest, sum, correction);
        pack_rows(v + g.value_offset(item, g.keys) + key * g.value_row(), keys, g.value_width, g.value_row(),
                  values_packed);
        if (key > 0)
          for (std::int64_t i = 0; i < count; ++i)
            copy_scaled(1, out_row, result + i * out_row, out_row, correction[i], result + i * out_row, out_row);
        panel_product(count, keys, g.value_width, scores, {1, row}, values_packed, result, out_row, key > 0);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        copy_scaled(1, g.value_width, result + i * out_row, out_row, T(1) / sum[i],
                    out + g.value_offset(item, g.queries) + (query + i) * g.value_row(), g.value_row());
        if (lse != nullptr) lse[item * g.queries + query + i] = largest[i] / log2_of_e<T> + std::log(sum[i]);
      }
    }
  });
}

/// The backward pass of one head for some queries and keys. Each gradient adds up tiles in order, through memory where
/// it must, so that a pass for dq alone and one for dk and dv have the bits of one pass for all three.
template <class T>
class AttentionBackward {
 public:
  AttentionBackward(const AttentionGeometry& g, T scale, const T* q, const T* k, const T* v, const T* out, const T* lse,
                    const T* dout, T* dq, T* dk, T* dv)
      : g_(g),
        scale_(scale),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        lse_(lse),
        dout_(dout),
        dq_(dq),
        dk_(dk),
        dv_(dv),
        key_pad_(padded<T>(g.key_width)),
        value_pad_(padded<T>(g.value_width)),
        widest_(padded<T>(std::min(g.queries, query_tile))),
        tile_(std::min(g.keys, key_tile)) {}

  /// Queries [first_query, last_query) against keys [first_key, last_key).
  void run(std::int64_t item, std::int64_t first_query, std::int64_t last_query, std::int64_t first_key,
           std::int64_t last_key) {
    const std::int64_t queries = last_query - first_query;
    const std::int64_t blocks = (queries + query_tile - 1) / query_tile;
    scratch_.prepare({g_.key_width * widest_, g_.value_width * widest_, widest_ * key_pad_, widest_ * value_pad_,
                      tile_ * key_pad_, tile_ * widest_, tile_ * widest_, blocks * query_tile, blocks * query_tile,
                      tile_ * key_pad_, tile_ * value_pad_, queries * key_pad_});
    T* queries_transposed = scratch_.take(g_.key_width * widest_);
    T* gradients_transposed = scratch_.take(g_.value_width * widest_);
    T* queries_packed = scratch_.take(widest_ * key_pad_);
    T* gradients_packed = scratch_.take(widest_ * value_pad_);
    T* keys_packed = scratch_.take(tile_ * key_pad_);
    T* probabilities = scratch_.take(tile_ * widest_);
    T* slopes = scratch_.take(tile_ * widest_);
    T* lse = scratch_.take(blocks * query_tile);
    T* delta = scratch_.take(blocks * query_tile);
    T* key_sum = scratch_.take(tile_ * key_pad_);
    T* value_sum = scratch_.take(tile_ * value_pad_);
    T* query_sum = scratch_.take(queries * key_pad_);
    for (std::int64_t i = 0; i < blocks * query_tile; ++i) {
      const bool valid = i < queries;
      const std::int64_t at = g_.value_offset(item, g_.queries) + (first_query + i) * g_.value_row();
      lse[i] = valid ? lse_[item * g_.queries + first_query + i] : T(0);
      delta[i] = valid ? sum_packs<T>(
                             g_.value_width, [](Pack<T> x, Pack<T> y) { return x * y; }, out_ + at, dout_ + at)
                       : T(0);
    }
    for (std::int64_t key = first_key; key < last_key; key += tile_) {
      const std::int64_t keys = std::min(tile_, last_key - key);
      const T* k = k_ + g_.key_offset(item, g_.keys) + key * g_.key_row();
      const T* v = v_ + g_.value_offset(item, g_.keys) + key * g_.value_row();
      if (dq_ != nullptr) pack_rows(k, keys, g_.key_width, g_.key_row(), keys_packed);
      for (std::int64_t query = first_query; query < last_query; query += query_tile) {
        const std::int64_t count = std::min(query_tile, last_query - query);
        const std::int64_t row = padded<T>(count);
        const T* q = q_ + g_.key_offset(item, g_.queries) + query * g_.key_row();
        const T* dout = dout_ + g_.value_offset(item, g_.queries) + query * g_.value_row();
        pack_transposed(q, g_.key_width, count, g_.key_row(), queries_transposed);
        panel_product(keys, g_.key_width, count, k, {g_.key_row(), 1}, queries_transposed, probabilities, row, false);
        if (dq_ != nullptr || dk_ != nullptr) {
          pack_transposed(dout, g_.value_width, count, g_.value_row(), gradients_transposed);
          panel_product(keys, g_.value_width, count, v, {g_.value_row(), 1}, gradients_transposed, slopes, row, false);
        }
        softmax_slopes(keys, row, probabilities, slopes, lse + (query - first_query), delta + (query - first_query));
        const bool more = query > first_query;
        if (dv_ != nullptr) {
          pack_rows(dout, count, g_.value_width, g_.value_row(), gradients_packed);
          panel_product(keys, count, g_.value_width, probabilities, {row, 1}, gradients_packed, value_sum, value_pad_,
                        more);
        }
        if (dk_ != nullptr) {
          pack_rows(q, count, g_.key_width, g_.key_row(), queries_packed);
          panel_product(keys, count, g_.key_width, slopes, {row, 1}, queries_packed, key_sum, key_pad_, more);
        }
        if (dq_ != nullptr)
          panel_product(count, keys, g_.key_width, slopes, {1, row}, keys_packed,
                        query_sum + (query - first_query) * key_pad_, key_pad_, key > first_key);
      }
      if (dk_ != nullptr)
        copy_scaled(keys, g_.key_width, key_sum, key_pad_, scale_,
                    dk_ + g_.key_offset(item, g_.keys) + key * g_.key_row(), g_.key_row());
      if (dv_ != nullptr)
        copy_scaled(keys, g_.value_width, value_sum, value_pad_, T(1),
                    dv_ + g_.value_offset(item, g_.keys) + key * g_.value_row(), g_.value_row());
    }
    if (dq_ != nullptr)
      copy_scaled(queries, g_.key_width, query_sum, key_pad_, scale_,
                  dq_ + g_.key_offset(item, g_.queries) + first_query * g_.key_row(), g_.key_row());
  }

 private:
  /// Scores become probabilities, P = exp(scale score - lse), and slopes, dout v^T, become P (slope - delta).
  void softmax_slopes(std::int64_t keys, std::int64_t row, T* probabilities, T* slopes, const T* lse,
                      const T* delta) const {
    using P = Pack<T>;
    const P s(scale_ * log2_of_e<T>);
    for (std::int64_t v = 0; v < row; v += P::lanes) {
      const P minus_lse = P(-log2_of_e<T>) * P::load(lse + v);
      const P minus_delta = P(T(0)) - P::load(delta + v);
      for (std::int64_t j = 0; j < keys; ++j) {
        const P p = exp2_nonpositive(fma(s, P::load(probabilities + j * row + v), minus_lse));
        p.store(probabilities + j * row + v);
        (p * (P::load(slopes + j * row + v) + minus_delta)).store(slopes + j * row + v);
      }
    }
  }

  AttentionGeometry g_;
  T scale_;
  const T *q_, *k_, *v_, *out_, *lse_, *dout_;
  T *dq_, *dk_, *dv_;
  std::int64_t key_pad_, value_pad_, widest_, tile_;
  Scratch<T> scratch_;
};

template <class T>
void attention_backward(const AttentionGeometry& g, const T* q, const T* k, const T* v, const T* out, const T* lse,
                        const T* dout, T scale, T* dq, T* dk, T* dv) {
  const std::int64_t items = g.batch * g.heads;
  if (g.queries == 0) {  // nothing that could reach the keys
    if (dk != nullptr) std::fill_n(dk, g.batch * g.keys * g.key_row(), T(0));
    if (dv != nullptr) std::fill_n(dv, g.batch * g.keys * g.value_row(), T(0));
    return;
  }
  const auto backward = [&](T* dq_of, T* dk_of, T* dv_of) {
    return AttentionBackward<T>(g, scale, q, k, v, out, lse, dout, dq_of, dk_of, dv_of);
  };
  const auto grain = [&](std::int64_t queries, std::int64_t keys) {
    return g.grain(2 * queries * keys * (3 * g.key_width + 2 * g.value_width));
  };
  if (items >= num_threads()) {
    parallel_for(0, items, grain(g.queries, g.keys), [&](std::int64_t first, std::int64_t last) {
      auto all = backward(dq, dk, dv);
      for (std::int64_t item = first; item < last; ++item) all.run(item, 0, g.queries, 0, g.keys);
    });
    return;
  }
  // Few heads and many threads: queries are shared out for dq, keys for dk and dv. The scores are made twice.
  const auto share = [&](std::int64_t length, std::int64_t tile, std::int64_t grain_of_tile, auto&& run) {
    const std::int64_t tiles = (length + tile - 1) / tile;
    parallel_for(0, items * tiles, grain_of_tile, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t begin = i % tiles * tile;
        run(i / tiles, begin, std::min(length, begin + tile));
      }
    });
  };
  if (dq != nullptr)
    share(g.queries, query_tile, grain(std::min(g.queries, query_tile), g.keys),
          [&](std::int64_t item, std::int64_t begin, std::int64_t end) {
            backward(dq, nullptr, nullptr).run(item, begin, end, 0, g.keys);
          });
  if (dk != nullptr || dv != nullptr)
    share(g.keys, key_tile, grain(g.queries, std::min(g.keys, key_tile)),
          [&](std::int64_t item, std::int64_t begin, std::int64_t end) {
            backward(nullptr, dk, dv).run(item, 0, g.queries, begin, end);
          });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
