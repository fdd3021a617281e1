/// \file
/// `Pack<T>`: the widest vector of T that this unit's instruction set has, from xsimd; a single number where
/// xsimd has none. Only what the kernels use.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

// g++ 12 takes the "undefined" operand inside its own AVX-512 intrinsics for a mistake of ours.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "easy_diffusion/core/detail/isa.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

#if !defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)

static_assert(sizeof(xsimd::batch<float>) == easy_diffusion::detail::vector_bytes,
              "easy_diffusion: xsimd's vectors are not those that core/detail/isa.hpp names this unit by; define "
              "XSIMD_NO_SUPPORTED_ARCHITECTURE for kernels without vectors");
#if defined(XSIMD_WITH_FMA3_AVX)
static_assert(!easy_diffusion::detail::has_fma || XSIMD_WITH_FMA3_AVX == 1 || XSIMD_WITH_NEON == 1,
              "easy_diffusion: xsimd was told not to fuse, but core/detail/isa.hpp names this unit by fused products");
#endif

template <class T>
struct Pack {
  using value_type = T;
  using Batch = xsimd::batch<T>;
  static constexpr std::int64_t lanes = static_cast<std::int64_t>(Batch::size);
  Batch v;

  Pack() = default;
  explicit Pack(T x) : v(x) {}
  explicit Pack(Batch x) : v(x) {}
  static Pack load(const T* p) { return Pack(Batch::load_unaligned(p)); }
  void store(T* p) const { v.store_unaligned(p); }

  friend Pack operator+(Pack a, Pack b) { return Pack(a.v + b.v); }
  friend Pack operator-(Pack a, Pack b) { return Pack(a.v - b.v); }
  friend Pack operator*(Pack a, Pack b) { return Pack(a.v * b.v); }
  friend Pack operator/(Pack a, Pack b) { return Pack(a.v / b.v); }
  friend Pack fma(Pack a, Pack b, Pack c) { return Pack(xsimd::fma(a.v, b.v, c.v)); }
  friend Pack exp(Pack a) { return Pack(xsimd::exp(a.v)); }
  friend Pack sqrt(Pack a) { return Pack(xsimd::sqrt(a.v)); }
  friend Pack erf(Pack a) { return Pack(xsimd::erf(a.v)); }
  /// Where one of the two is no number, b.
  friend Pack max(Pack a, Pack b) { return Pack(xsimd::max(a.v, b.v)); }
  friend Pack min(Pack a, Pack b) { return Pack(xsimd::min(a.v, b.v)); }
  /// a < b ? x : y
  friend Pack select_less(Pack a, Pack b, Pack x, Pack y) { return Pack(xsimd::select(a.v < b.v, x.v, y.v)); }
};

#else

template <class T>
struct Pack {
  using value_type = T;
  static constexpr std::int64_t lanes = 1;
  T v;

  Pack() = default;
  explicit Pack(T x) : v(x) {}
  static Pack load(const T* p) { return Pack(*p); }
  void store(T* p) const { *p = v; }

  friend Pack operator+(Pack a, Pack b) { return Pack(a.v + b.v); }
  friend Pack operator-(Pack a, Pack b) { return Pack(a.v - b.v); }
  friend Pack operator*(Pack a, Pack b) { return Pack(a.v * b.v); }
  friend Pack operator/(Pack a, Pack b) { return Pack(a.v / b.v); }
  friend Pack fma(Pack a, Pack b, Pack c) { return Pack(a.v * b.v + c.v); }
  friend Pack exp(Pack a) { return Pack(std::exp(a.v)); }
  friend Pack sqrt(Pack a) { return Pack(std::sqrt(a.v)); }
  friend Pack erf(Pack a) { return Pack(std::erf(a.v)); }
  friend Pack max(Pack a, Pack b) { return Pack(a.v > b.v ? a.v : b.v); }
  friend Pack min(Pack a, Pack b) { return Pack(a.v < b.v ? a.v : b.v); }
  friend Pack select_less(Pack a, Pack b, Pack x, Pack y) { return a.v < b.v ? x : y; }
};

#endif

/// u sigmoid(u).
template <class T>
inline Pack<T> silu(Pack<T> u) {
  return u / (Pack<T>(T(1)) + exp(Pack<T>(T(0)) - u));
}

/// dy times the derivative of silu at u: s (1 + u (1 - s)) with s = sigmoid(u).
template <class T>
inline Pack<T> silu_gradient(Pack<T> u, Pack<T> dy) {
  const Pack<T> one(T(1));
  const Pack<T> s = one / (one + exp(Pack<T>(T(0)) - u));
  return dy * s * fma(u, one - s, one);
}

/// Of this unit; they decide the size of register tiles.
using easy_diffusion::detail::vector_registers;

/// T [n][more]..., for lengths that are signed and depend on templates: g++ warns of their sign where T has constructors.
template <class T, int n, int... more>
struct ArrayOf {
  using type = typename ArrayOf<T, more...>::type[static_cast<std::size_t>(n)];
};
template <class T, int n>
struct ArrayOf<T, n> {
  using type = T[static_cast<std::size_t>(n)];
};
template <class T, int... n>
using Array = typename ArrayOf<T, n...>::type;

/// f(0), f(1), ..., f(n - 1), each with its number as a constant: arrays of vectors that only such loops index stay in
/// registers.
template <int n, class F>
inline void unrolled(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) { (f(std::integral_constant<int, i>()), ...); }
  (std::make_integer_sequence<int, n>());
}

/// Loads `count` < lanes elements, zero in the rest.
template <class T>
inline Pack<T> load_partial(const T* p, std::int64_t count) {
  T buffer[Pack<T>::lanes] = {};
  for (std::int64_t i = 0; i < count; ++i) buffer[i] = p[i];
  return Pack<T>::load(buffer);
}

template <class T>
inline void store_partial(Pack<T> x, T* p, std::int64_t count) {
  T buffer[Pack<T>::lanes];
  x.store(buffer);
  for (std::int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

/// Loads and stores of one vector, of which the last of a row may fill a part only.
template <class T, bool whole>
struct VectorAccess {
  std::int64_t count;
  [[nodiscard]] Pack<T> load(const T* p) const {
    if constexpr (whole) return Pack<T>::load(p);
    return load_partial(p, count);
  }
  void store(Pack<T> x, T* p) const {
    if constexpr (whole)
      x.store(p);
    else
      store_partial(x, p, count);
  }
};

/// f(first, access) for the vectors of a row of n elements.
template <class T, class F>
inline void for_vectors(std::int64_t n, F&& f) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, VectorAccess<T, true>{lanes});
  if (i < n) f(i, VectorAccess<T, false>{n - i});
}

/// out[i] = f(in[i]...), the tail through the same vector code: an element's bits do not depend on its place.
template <class T, class F, class... In>
inline void map_packs(std::int64_t n, T* out, F&& f, const In*... in) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(Pack<T>::load(in + i)...).store(out + i);
  if (i < n) store_partial(f(load_partial(in + i, n - i)...), out + i, n - i);
}

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)

template <class T>
using Vector [[gnu::vector_size(static_cast<std::size_t>(Pack<T>::lanes) * sizeof(T))]] = T;

/// The low (0) or high (1) halves of a and b, element by element in turn.
template <class T, int half, int... i>
inline Vector<T> zip(Vector<T> a, Vector<T> b, std::integer_sequence<int, i...>) {
  constexpr int lanes = Pack<T>::lanes;
  return __builtin_shufflevector(a, b, ((i % 2) * lanes + i / 2 + half * lanes / 2)...);
}

/// to[j][i] = from[i][j], both of lanes x lanes elements, row i at `i * stride`; only the first `count` >= 1 rows of
/// `from` are read, the others are zeros.
template <class T>
inline void transpose_square(const T* from, std::int64_t from_stride, std::int64_t count, T* to,
                             std::int64_t to_stride) {
  constexpr int lanes = Pack<T>::lanes;
  if constexpr (lanes == 1) {
    *to = *from;
  } else {
    constexpr std::make_integer_sequence<int, lanes> all;
    Vector<T> rows[static_cast<std::size_t>(lanes)];
    for (int i = 0; i < lanes; ++i) {
      if (i < count)
        std::memcpy(&rows[i], from + i * from_stride, sizeof rows[i]);
      else
        rows[i] = Vector<T>{};
    }
    // Dealing the rows out like cards, log2(lanes) times.
    for (int round = 1; round < lanes; round *= 2) {
      Vector<T> dealt[static_cast<std::size_t>(lanes)];
      for (int i = 0; i < lanes / 2; ++i) {
        dealt[2 * i] = zip<T, 0>(rows[i], rows[i + lanes / 2], all);
        dealt[2 * i + 1] = zip<T, 1>(rows[i], rows[i + lanes / 2], all);
      }
      for (int i = 0; i < lanes; ++i) rows[i] = dealt[i];
    }
    for (int i = 0; i < lanes; ++i) std::memcpy(to + i * to_stride, &rows[i], sizeof rows[i]);
  }
}

/// The lanes moved down by `by`, and around.
template <class T, int by, int... i>
inline Vector<T> rotate(Vector<T> x, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(x, x, ((i + by) % static_cast<int>(Pack<T>::lanes))...);
}

template <class T, int half>
inline Vector<T> fold(Vector<T> x) {
  if constexpr (half == 0)
    return x;
  else
    return fold<T, half / 2>(x + rotate<T, half>(x, std::make_integer_sequence<int, Pack<T>::lanes>()));
}

/// Sum of the lanes, as a tree: lane i takes lane i + half, and so on.
template <class T>
inline T sum_lanes(Pack<T> x) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  if constexpr (lanes == 1) {
    T sum;
    x.store(&sum);
    return sum;
  } else {
    Vector<T> sum;
    std::memcpy(&sum, &x, sizeof sum);
    return fold<T, lanes / 2>(sum)[0];
  }
}

#else

template <class T>
inline void transpose_square(const T* from, std::int64_t from_stride, std::int64_t count, T* to,
                             std::int64_t to_stride) {
  for (std::int64_t i = 0; i < Pack<T>::lanes; ++i)
    for (std::int64_t j = 0; j < Pack<T>::lanes; ++j)
      to[j * to_stride + i] = i < count ? from[i * from_stride + j] : T(0);
}

/// Sum of the lanes, as a tree: lane i takes lane i + half, and so on.
template <class T>
inline T sum_lanes(Pack<T> x) {
  T buffer[Pack<T>::lanes];
  x.store(buffer);
  for (std::int64_t half = Pack<T>::lanes / 2; half > 0; half /= 2)
    for (std::int64_t i = 0; i < half; ++i) buffer[i] += buffer[i + half];
  return buffer[0];
}

#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
