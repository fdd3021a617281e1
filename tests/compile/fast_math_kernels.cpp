// -ffast-math is refused where kernels are made (without it this compiles: MUST_NOT_COMPILE).

#include "easy_diffusion/ops/detail/simd.hpp"
