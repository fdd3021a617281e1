/// \file
/// Everything of the floor `sde/`.
#pragma once

#include "easy_diffusion/sde/adaptive.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/observers.hpp"
#include "easy_diffusion/sde/processes/brownian_motion.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/sde/replay.hpp"
#include "easy_diffusion/sde/reverse.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/adams_bashforth.hpp"
#include "easy_diffusion/sde/steppers/dormand_prince.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"
#include "easy_diffusion/sde/steppers/exponential.hpp"
