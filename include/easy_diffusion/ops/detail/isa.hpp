/// \file
/// Names the instruction set this unit is compiled for. Kernels live in an inline namespace of that name, so
/// that units built with different flags never share one by accident.
#pragma once

#if defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)  // asked for: kernels without vectors
#define EASY_DIFFUSION_ISA scalar
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define EASY_DIFFUSION_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define EASY_DIFFUSION_ISA avx2
#elif defined(__SSE4_2__)
#define EASY_DIFFUSION_ISA sse4
#elif defined(__SSE2__)
#define EASY_DIFFUSION_ISA sse2
#elif defined(__ARM_NEON)
#define EASY_DIFFUSION_ISA neon
#else
#define EASY_DIFFUSION_ISA scalar
#endif
