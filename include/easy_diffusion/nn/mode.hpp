/// \file
/// Whether a forward pass trains, and where its noise lives: what dropout and batch normalisation are told.
#pragma once

#include "easy_diffusion/core/random.hpp"

namespace easy_diffusion::nn {

/// Part of the contexts of layers that train in another way than they infer. A layer made of such layers hands its own
/// mode on to theirs. Without a context, and by default, a pass evaluates: dropout is off, running statistics are used.
struct Mode {
  bool training = false;
  NoiseAddress noise{0, streams::dropout, 0};  ///< seed and training step of the dropout masks
};

}  // namespace easy_diffusion::nn
