// Vectors other than the flags say by which the unit is named.

#if defined(MUST_NOT_COMPILE)
// As another version of xsimd might choose them.
#include <xsimd/config/xsimd_config.hpp>
#undef XSIMD_WITH_AVX
#undef XSIMD_WITH_AVX2
#undef XSIMD_WITH_FMA3_AVX
#undef XSIMD_WITH_FMA3_AVX2
#undef XSIMD_WITH_AVX512F
#define XSIMD_WITH_AVX 0
#define XSIMD_WITH_AVX2 0
#define XSIMD_WITH_FMA3_AVX 0
#define XSIMD_WITH_FMA3_AVX2 0
#define XSIMD_WITH_AVX512F 0
#endif

#include "easy_diffusion/ops/detail/simd.hpp"
