// -ffast-math is refused where deviates are made (without it this compiles: MUST_NOT_COMPILE).

#include "easy_diffusion/core/detail/deviates.hpp"
