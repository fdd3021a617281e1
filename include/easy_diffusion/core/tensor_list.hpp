/// \file
/// A list of tensors that a training or sampling step may build anew each time.
#pragma once

#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion {

/// A vector whose own memory comes from the caching allocator, as its tensors' does.
template <class T>
using TensorList = std::vector<Tensor<T>, CachedMemory<Tensor<T>>>;

}  // namespace easy_diffusion
