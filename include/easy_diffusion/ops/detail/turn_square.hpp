/// \file
/// Transposes squares of numbers in registers.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The vectors of the compilers themselves: the shuffles of xsimd mean different things in different versions.
template <class T, int n>
struct RawVector {
  typedef T type __attribute__((vector_size(n * sizeof(T))));
};

/// a[first], b[first], a[first + 1], b[first + 1], ...
template <int first, class V, int... i>
inline V interleave(V a, V b, std::integer_sequence<int, i...>) {
  constexpr int n = sizeof...(i);
  return __builtin_shufflevector(a, b, (first + i / 2 + (i % 2) * n)...);
}

/// to[x * to_stride + y] = from[y * from_stride + x] for x and y below `Pack<T>::lanes`.
template <class T>
inline void turn_square(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride) {
  constexpr int n = static_cast<int>(Pack<T>::lanes);
  if constexpr (n == 1) {
    *to = *from;
  } else {
    using V = typename RawVector<T, n>::type;
    constexpr auto numbers = std::make_integer_sequence<int, n>();
    V rows[n], turned[n];
    unrolled<n>([&](auto i) { std::memcpy(&rows[i], from + i * from_stride, sizeof(V)); });
    // One round halves the distance between what has to meet.
    const auto round = [&](V* in, V* out) {
      unrolled<n / 2>([&](auto i) {
        out[2 * i] = interleave<0>(in[i], in[i + n / 2], numbers);
        out[2 * i + 1] = interleave<n / 2>(in[i], in[i + n / 2], numbers);
      });
    };
    V* in = rows;
    V* out = turned;
    for (int size = n; size > 1; size /= 2) {
      round(in, out);
      std::swap(in, out);
    }
    unrolled<n>([&](auto i) { std::memcpy(to + i * to_stride, &in[i], sizeof(V)); });
  }
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
