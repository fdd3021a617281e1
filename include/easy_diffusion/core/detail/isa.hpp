/// \file
/// Names what this unit is compiled for. All code whose instructions or memory layout the compiler's flags decide, from
/// random numbers to kernels, lives in an inline namespace of that name: units built with different flags share none of it,
/// whichever copy of a function the linker keeps. Nothing that a public type is made of may live there, as a layer or an
/// option is one type in the whole program; and only there may a function take or return a vector, since how those are
/// passed depends on the flags as well.
#pragma once

#include <cstddef>

#include "easy_diffusion/core/detail/strict_math.hpp"

// The name is that of the vectors, as xsimd chooses them, and whether a product and a sum are fused.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define EASY_DIFFUSION_ISA_OF(vectors) vectors##_fma
#else
#define EASY_DIFFUSION_ISA_OF(vectors) vectors
#endif

#if defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)  // asked for: no vectors
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(scalar)
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512CD__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx512)
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512CD__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx512dq)
#elif defined(__AVX512F__) && defined(__AVX512CD__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx512cd)
#elif defined(__AVX512F__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx512f)
#elif defined(__AVX2__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx2)
#elif defined(__AVX__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(avx)
#elif defined(__SSE4_2__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(sse4_2)
#elif defined(__SSE4_1__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(sse4_1)
#elif defined(__SSSE3__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(ssse3)
#elif defined(__SSE3__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(sse3)
#elif defined(__SSE2__)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(sse2)
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(neon64)
#elif defined(__ARM_NEON)
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(neon)
#else
#define EASY_DIFFUSION_ISA EASY_DIFFUSION_ISA_OF(scalar)
#endif

namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA {

/// Bytes of a vector, 0 where there are none. `ops/detail/simd.hpp` holds it against what xsimd has.
inline constexpr std::size_t vector_bytes =
#if defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)
    0;
#elif defined(__AVX512F__)
    64;
#elif defined(__AVX__)
    32;
#elif defined(__SSE2__) || defined(__ARM_NEON)
    16;
#else
    0;
#endif

/// Vector registers, which decide the size of register tiles.
inline constexpr int vector_registers =
#if (defined(__AVX512F__) || defined(__aarch64__)) && !defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)
    32;
#else
    16;
#endif

/// Whether the processor has a fused multiply-add.
inline constexpr bool has_fma =
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    true;
#else
    false;
#endif

/// Its address tells units of this name from others while the program runs.
inline constexpr char isa_mark = 0;

}  // namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA
