/// \file
/// Minimal filtering for kernels of two taps \cite lavin_2016_winograd, of which 3x3 convolutions of stride 2 are made.
///
/// Along one axis, result s of such a convolution is E[s] w0 + O[s] w1 + E[s + 1] w2, where E and O are the even and the
/// odd inputs. The even part is a filter of two taps: n of its results from n + 1 inputs with n + 1 products, not 2 n:
/// y = A^T (G w * B^T e). The odd part takes n products as ever. The transposed convolution is the same maps turned
/// around: e = B (G w * A y).
#pragma once

#include "easy_diffusion/core/detail/isa.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The maps of n results at a time: `input` is B^T, `weight` is G, `result` is A^T, and `*_back` their transposes.
template <int n>
struct HalfFilter;

/// Points 0, 1, infinity.
template <>
struct HalfFilter<2> {
  template <class P>
  static void input(const P* e, P* v) {
    v[0] = e[0] - e[1];
    v[1] = e[1];
    v[2] = e[2] - e[1];
  }
  template <class P>
  static void input_back(const P* v, P* e) {
    e[0] = v[0];
    e[1] = v[1] - v[0] - v[2];
    e[2] = v[2];
  }
  template <class P>
  static void weight(P w0, P w2, P* u) {
    u[0] = w0;
    u[1] = w0 + w2;
    u[2] = w2;
  }
  template <class P>
  static void result(const P* q, P* y) {
    y[0] = q[0] + q[1];
    y[1] = q[1] + q[2];
  }
  template <class P>
  static void result_back(const P* y, P* q) {
    q[0] = y[0];
    q[1] = y[0] + y[1];
    q[2] = y[1];
  }
};

inline constexpr double half_filter_a = 0.70710678118654752440;  ///< a^2 = 1/2
inline constexpr double half_filter_b = 1.41421356237309504880;  ///< b^2 = 2

/// Points +-a, +-b, infinity.
template <>
struct HalfFilter<4> {
  template <class P>
  static void input(const P* e, P* v) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), a{T(half_filter_a)}, b{T(half_filter_b)};
    const P odd_a = e[3] - two * e[1];
    const P even_a = a * (e[2] - two * e[0]);
    const P odd_b = e[3] - half * e[1];
    const P even_b = b * (e[2] - half * e[0]);
    v[0] = odd_a + even_a;
    v[1] = odd_a - even_a;
    v[2] = odd_b + even_b;
    v[3] = odd_b - even_b;
    v[4] = e[4] + e[0] - P(T(2.5)) * e[2];
  }
  template <class P>
  static void input_back(const P* v, P* e) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), a{T(half_filter_a)}, b{T(half_filter_b)};
    const P sum_a = v[0] + v[1];
    const P difference_a = a * (v[0] - v[1]);
    const P sum_b = v[2] + v[3];
    const P difference_b = b * (v[2] - v[3]);
    e[0] = v[4] - two * difference_a - half * difference_b;
    e[1] = P(T(0)) - two * sum_a - half * sum_b;
    e[2] = difference_a + difference_b - P(T(2.5)) * v[4];
    e[3] = sum_a + sum_b;
    e[4] = v[4];
  }
  template <class P>
  static void weight(P w0, P w2, P* u) {
    using T = typename P::value_type;
    const P third(T(1 / 3.0));
    const P scaled = third * w2;
    const P over_a = P(T(1 / (3 * half_filter_a))) * w0;
    const P over_b = P(T(1 / (3 * half_filter_b))) * w0;
    u[0] = P(T(0)) - over_a - scaled;
    u[1] = over_a - scaled;
    u[2] = over_b + scaled;
    u[3] = scaled - over_b;
    u[4] = w2;
  }
  template <class P>
  static void result(const P* q, P* y) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5));
    const P sum_a = q[0] + q[1];
    const P difference_a = P(T(half_filter_a)) * (q[0] - q[1]);
    const P sum_b = q[2] + q[3];
    const P difference_b = P(T(half_filter_b)) * (q[2] - q[3]);
    y[0] = sum_a + sum_b;
    y[1] = difference_a + difference_b;
    y[2] = half * sum_a + two * sum_b;
    y[3] = half * difference_a + two * difference_b + q[4];
  }
  template <class P>
  static void result_back(const P* y, P* q) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5));
    const P even_a = y[0] + half * y[2];
    const P odd_a = P(T(half_filter_a)) * (y[1] + half * y[3]);
    const P even_b = y[0] + two * y[2];
    const P odd_b = P(T(half_filter_b)) * (y[1] + two * y[3]);
    q[0] = even_a + odd_a;
    q[1] = even_a - odd_a;
    q[2] = even_b + odd_b;
    q[3] = even_b - odd_b;
    q[4] = y[3];
  }
};

/// Points 0, +-a, +-b, infinity.
template <>
struct HalfFilter<5> {
  template <class P>
  static void input(const P* e, P* v) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), sum(T(2.5)), a{T(half_filter_a)}, b{T(half_filter_b)};
    const P even_a = e[4] - two * e[2];
    const P odd_a = a * (e[3] - two * e[1]);
    const P even_b = e[4] - half * e[2];
    const P odd_b = b * (e[3] - half * e[1]);
    v[0] = e[0] + e[4] - sum * e[2];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = e[1] + e[5] - sum * e[3];
  }
  template <class P>
  static void input_back(const P* v, P* e) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), sum(T(2.5));
    const P sum_a = v[1] + v[2];
    const P difference_a = P(T(half_filter_a)) * (v[1] - v[2]);
    const P sum_b = v[3] + v[4];
    const P difference_b = P(T(half_filter_b)) * (v[3] - v[4]);
    e[0] = v[0];
    e[1] = v[5] - two * difference_a - half * difference_b;
    e[2] = P(T(0)) - sum * v[0] - two * sum_a - half * sum_b;
    e[3] = difference_a + difference_b - sum * v[5];
    e[4] = v[0] + sum_a + sum_b;
    e[5] = v[5];
  }
  template <class P>
  static void weight(P w0, P w2, P* u) {
    using T = typename P::value_type;
    const P even_a = P(T(-1 / 1.5)) * w0;
    const P odd_a = P(T(-half_filter_a / 1.5)) * w2;
    const P even_b = P(T(1 / 6.0)) * w0;
    const P odd_b = P(T(half_filter_b / 6.0)) * w2;
    u[0] = w0;
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = w2;
  }
  template <class P>
  static void result(const P* q, P* y) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), four(T(4)), quarter(T(0.25));
    const P sum_a = q[1] + q[2];
    const P difference_a = P(T(half_filter_a)) * (q[1] - q[2]);
    const P sum_b = q[3] + q[4];
    const P difference_b = P(T(half_filter_b)) * (q[3] - q[4]);
    y[0] = q[0] + sum_a + sum_b;
    y[1] = difference_a + difference_b;
    y[2] = half * sum_a + two * sum_b;
    y[3] = half * difference_a + two * difference_b;
    y[4] = quarter * sum_a + four * sum_b + q[5];
  }
  template <class P>
  static void result_back(const P* y, P* q) {
    using T = typename P::value_type;
    const P two(T(2)), half(T(0.5)), four(T(4)), quarter(T(0.25));
    const P even_a = y[0] + half * y[2] + quarter * y[4];
    const P odd_a = P(T(half_filter_a)) * (y[1] + half * y[3]);
    const P even_b = y[0] + two * y[2] + four * y[4];
    const P odd_b = P(T(half_filter_b)) * (y[1] + two * y[3]);
    q[0] = y[0];
    q[1] = even_a + odd_a;
    q[2] = even_a - odd_a;
    q[3] = even_b + odd_b;
    q[4] = even_b - odd_b;
    q[5] = y[4];
  }
};

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
