/// \file
/// Refuses the compiler's options that break promises of this library: checks for NaN would be compiled away, and sums
/// regrouped that must be rounded as they are written. Every header that computes includes this.
#pragma once

// clang has a name for no part of -ffast-math but the checks for NaN.
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "easy_diffusion cannot be compiled with -ffast-math, -Ofast, -ffinite-math-only or -fassociative-math"
#endif
