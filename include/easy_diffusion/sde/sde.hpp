/// \file
/// Everything of the floor `sde/`.
#pragma once

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
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
