/// \file
/// Powers of two on vectors, for the softmax of attention: fewer steps than exp, as the range is cut at whole numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// 2^f for |f| <= 1/2 to the last digit: truncated Chebyshev series, lowest power first.
template <class T>
struct PowerSeries;
template <>
struct PowerSeries<float> {
  static constexpr float terms[]{1.0F,           0.693147207F,   0.240226512F,   0.0555032721F,
                                 0.00961802560F, 0.00134004322F, 0.000154697320F};
};
template <>
struct PowerSeries<double> {
  static constexpr double terms[]{1.0,
                                  0.69314718055994529,
                                  0.24022650695910158,
                                  0.055504108664821701,
                                  0.0096181291075872529,
                                  0.0013333558146390351,
                                  0.00015403530463727982,
                                  1.5252733856295574e-05,
                                  1.3215432534254118e-06,
                                  1.0178051192117847e-07,
                                  7.0741945626131049e-09,
                                  4.4566754636398608e-10};
};

/// 2^x for x <= 0, relative error below 2e-7 (float) or 5e-16 (double); below the smallest normal number, that number.
/// Not for x far above 0: nothing guards the exponent there.
template <class T>
inline Pack<T> exp2_nonpositive(Pack<T> x) {
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)
  using P = Pack<T>;
  if constexpr (P::lanes > 1) {
    using Int = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    using IntVector [[gnu::vector_size(sizeof(Vector<T>))]] = Int;
    constexpr int digits = std::numeric_limits<T>::digits - 1;
    // Adding it leaves the nearest whole number in the low bits.
    constexpr T magic = T(3) * static_cast<T>(std::int64_t{1} << (digits - 1));
    constexpr auto& terms = PowerSeries<T>::terms;
    constexpr int degree = static_cast<int>(sizeof terms / sizeof terms[0]) - 1;
    x = max(P(T(std::numeric_limits<T>::min_exponent)), x);
    const P shifted = x + P(magic);
    const P f = x - (shifted - P(magic));
    P power(terms[degree]);
    for (int i = degree - 1; i >= 0; --i) power = fma(power, f, P(terms[i]));
    // The whole number goes to the exponent; what magic has besides falls out at the top, but for its own lowest bits,
    // which are zero.
    IntVector exponent, result;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    std::memcpy(&result, &power, sizeof result);
    result += exponent << digits;
    std::memcpy(&power, &result, sizeof power);
    return power;
  } else {
    return P(std::exp2(x.v));
  }
#else
  return exp(x * Pack<T>(T(0.69314718055994530942)));
#endif
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
