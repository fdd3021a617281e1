// -ffast-math is refused by the steppers' headers too, which include little (without it this compiles: MUST_NOT_COMPILE).

#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
