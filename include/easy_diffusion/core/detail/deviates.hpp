/// \file
/// Random words to uniform and normal deviates, with the same bits on every machine, compiler and instruction set.
///
/// Only + - * / sqrt and explicit fused multiply-adds are used: each is correctly rounded by IEEE 754, and no
/// product is ever the operand of a plain sum, so a compiler that contracts a * b + c finds nothing to contract.
/// Logarithm, sine and cosine are Taylor series on reduced arguments.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"

namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA {

/// a * b + c rounded once. With hardware support an instruction; for float without it, exact double arithmetic
/// that vectorises; for double without it, the C library (correct and slow).
inline double fused(double a, double b, double c) { return std::fma(a, b, c); }

inline float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  // The product of two floats is exact in double. The sum is rounded to odd (its last bit set where it is
  // inexact), which makes the second rounding, to float, the correct rounding of the exact value
  // \cite boldo_2008_emulation.
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double virtual_addend = sum - product;
  const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
  const auto bits = std::bit_cast<std::uint64_t>(sum);
  // Step towards zero when the error points there, so that setting the last bit never leaves the interval.
  const bool towards_zero = error != 0.0 && ((error < 0.0) != (sum < 0.0));
  const std::uint64_t truncated = bits - (towards_zero ? 1U : 0U);
  const std::uint64_t odd = truncated | (error != 0.0 ? 1U : 0U);
  return static_cast<float>(std::bit_cast<double>(odd));
#endif
}

/// Two independent normal deviates.
template <class T>
struct NormalPair {
  T first;
  T second;
};

/// Bit layout and series lengths of a floating type.
template <class T>
struct DeviateTraits;

template <>
struct DeviateTraits<float> {
  using word = std::uint32_t;
  using signed_word = std::int32_t;
  static constexpr int word_bits = 32;
  static constexpr int mantissa_bits = 23;
  static constexpr int exponent_bias = 127;
  static constexpr int log_terms = 5;  // first term left out: 2/13 s^13 < 2e-11
  static constexpr int sin_terms = 5;  // x^11 / 11! < 2e-9 for |x| <= pi/4
  static constexpr int cos_terms = 6;  // x^12 / 12! < 2e-10
};

template <>
struct DeviateTraits<double> {
  using word = std::uint64_t;
  using signed_word = std::int64_t;
  static constexpr int word_bits = 64;
  static constexpr int mantissa_bits = 52;
  static constexpr int exponent_bias = 1023;
  static constexpr int log_terms = 11;  // 2/25 s^25 < 7e-21 for |s| <= 0.1716
  static constexpr int sin_terms = 9;   // x^19 / 19! < 1e-19
  static constexpr int cos_terms = 10;  // x^20 / 20! < 4e-21
};

/// c(first) + z (c(first + 1) + z (... c(last))), unrolled by the compiler's front end: loops inside a loop would
/// keep the outer one from becoming vector code.
template <int first, int last, class T, class Coefficient>
inline T horner(T z, Coefficient c) {
  if constexpr (first == last) {
    return c(first);
  } else {
    return fused(horner<first + 1, last>(z, c), z, c(first));
  }
}

/// Natural logarithm of a normal number u > 0: u = m 2^e with m in [sqrt(1/2), sqrt(2)) and
/// log m = 2 (s + s^3/3 + s^5/5 + ...), s = (m - 1) / (m + 1).
template <class T>
inline T log_of(T u) {
  using Traits = DeviateTraits<T>;
  using word = typename Traits::word;
  using signed_word = typename Traits::signed_word;
  constexpr word sqrt_half = std::is_same_v<T, float> ? word{0x3F3504F3U} : static_cast<word>(0x3FE6A09E667F3BCDULL);
  constexpr word one = word{Traits::exponent_bias} << Traits::mantissa_bits;
  constexpr word mantissa_mask = (word{1} << Traits::mantissa_bits) - 1;
  // Shifting by the bits of sqrt(1/2) makes the exponent field change there rather than at 1.
  const word shifted = std::bit_cast<word>(u) + (one - sqrt_half);
  const auto exponent = static_cast<signed_word>(shifted >> Traits::mantissa_bits) - Traits::exponent_bias;
  const T m = std::bit_cast<T>((shifted & mantissa_mask) + sqrt_half);
  const T s = (m - T(1)) / (m + T(1));
  const T z = s * s;
  const T series = horner<1, Traits::log_terms>(z, [](int k) { return T(1) / T(2 * k + 1); });
  const T tail = s * z;
  const T log_m = T(2) * fused(tail, series, s);
  // ln 2 split in two: the first part has trailing zeros, so exponent * high is exact.
  constexpr T ln2_high = std::is_same_v<T, float> ? T(0.693359375) : T(0x1.62e42feep-1);
  constexpr T ln2_low = std::is_same_v<T, float> ? T(-2.12194440054690583e-4) : T(0x1.a39ef35793c76p-33);
  const T e = static_cast<T>(exponent);
  return fused(e, ln2_high, fused(e, ln2_low, log_m));
}

/// 1 / n! with the sign of the n-th term of sine or cosine, exact to rounding.
template <class T>
constexpr T alternating_inverse_factorial(int n) {
  double factorial = 1;
  for (int i = 2; i <= n; ++i) factorial *= i;
  return static_cast<T>(((n / 2) % 2 ? -1.0 : 1.0) / factorial);
}

/// Box-Muller \cite box_1958_muller on two random words: radius sqrt(-2 log u) from the first, angle from the second.
/// |deviate| <= 6.7 for float, 9.4 for double.
template <class T>
inline NormalPair<T> box_muller(typename DeviateTraits<T>::word radius_word,
                                typename DeviateTraits<T>::word angle_word) {
  using Traits = DeviateTraits<T>;
  using word = typename Traits::word;
  using signed_word = typename Traits::signed_word;

  // u in (0, 1]: half a unit keeps it away from zero. The conversion of a signed word is correctly rounded
  // and is one vector instruction.
  constexpr int unit_bits = Traits::word_bits - 1;
  constexpr T unit = T(1) / static_cast<T>(word{1} << unit_bits);
  const T u = (static_cast<T>(static_cast<signed_word>(radius_word >> 1)) + T(0.5)) * unit;
  const T radius = std::sqrt(T(-2) * log_of(u));

  // The two top bits (rounded) name the quarter turn; what remains is an angle in [-pi/4, pi/4).
  const word quarter = (angle_word + (word{1} << (Traits::word_bits - 3))) >> (Traits::word_bits - 2);
  const auto rest = static_cast<signed_word>(angle_word - (quarter << (Traits::word_bits - 2)));
  constexpr T half_pi_unit = T(1.57079632679489661923) / static_cast<T>(word{1} << (Traits::word_bits - 2));
  const T x = static_cast<T>(rest) * half_pi_unit;
  const T z = x * x;
  const T sine_series =
      horner<1, Traits::sin_terms - 1>(z, [](int k) { return alternating_inverse_factorial<T>(2 * k + 1); });
  const T cube = x * z;
  const T sine = fused(sine_series, cube, x);
  const T cosine = horner<0, Traits::cos_terms - 1>(z, [](int k) { return alternating_inverse_factorial<T>(2 * k); });

  const bool swap = (quarter & 1U) != 0;
  const T a = swap ? sine : cosine;
  const T b = swap ? cosine : sine;
  // Quarters 1, 2 turn the cosine negative, quarters 2, 3 the sine.
  const T signed_a = ((quarter + 1) & 2U) != 0 ? -a : a;
  const T signed_b = (quarter & 2U) != 0 ? -b : b;
  return {radius * signed_a, radius * signed_b};
}

/// Uniform in [0, 1), a multiple of 2^-24.
inline float uniform_from(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24F;
}
/// Uniform in [0, 1), a multiple of 2^-53.
inline double uniform_from(std::uint64_t word) {
  return static_cast<double>(static_cast<std::int64_t>(word >> 11)) * 0x1p-53;
}

}  // namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA
