/// \file
/// Turns down a context that no forward pass has filled.
#pragma once

#include <string>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::nn {

/// \param layer  of the message \param filled whether the context holds what a forward pass of this layer leaves
/// \throw ValueError unless it does
inline void expect_context(const char* layer, bool filled) {
  if (!filled)
    throw ValueError(std::string(layer) +
                     ": backward: expected the context of a forward pass of this layer, got an empty one or another's");
}

}  // namespace easy_diffusion::nn
