/// \file
/// Sums and maxima along the last axis, for softmax and layer normalisation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// A tensor [..., C] as rows of C numbers.
struct Rows {
  std::int64_t count, width;
  std::int64_t grain;  ///< rows that are worth a piece of parallel work

  Rows(const char* who, const Shape& x) {
    if (x.rank() == 0 || x.back() < 1) throw ShapeError(std::string(who) + ": expected [..., C], got " + x.to_string());
    width = x.back();
    count = x.numel() / width;
    grain = std::max<std::int64_t>(1, 16384 / width);
  }
};

/// Sum of f(in[i]...) over i: one sum a lane, those added in their order. `f` need not give 0 for 0.
template <class T, class F, class... In>
inline T sum_packs(std::int64_t n, F&& f, const In*... in) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  // Two chains, so that an addition need not wait for the one before it.
  Pack<T> even(T(0));
  Pack<T> odd(T(0));
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = even + f(Pack<T>::load(in + i)...);
    odd = odd + f(Pack<T>::load(in + i + lanes)...);
  }
  for (; i + lanes <= n; i += lanes) even = even + f(Pack<T>::load(in + i)...);
  T total = sum_lanes(even + odd);
  if (i < n) {
    T tail[Pack<T>::lanes];
    f(load_partial(in + i, n - i)...).store(tail);
    for (std::int64_t k = 0; k < n - i; ++k) total += tail[k];
  }
  return total;
}

template <class T>
inline T largest_of_row(std::int64_t n, const T* in) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  T largest = -std::numeric_limits<T>::infinity();
  std::int64_t i = 0;
  if (n >= lanes) {
    Pack<T> most = Pack<T>::load(in);
    for (i = lanes; i + lanes <= n; i += lanes) most = max(most, Pack<T>::load(in + i));
    T buffer[Pack<T>::lanes];
    most.store(buffer);
    for (const T x : buffer) largest = std::max(largest, x);
  }
  for (; i < n; ++i) largest = std::max(largest, in[i]);
  return largest;
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
