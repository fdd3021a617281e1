/// \file
/// Adds one tensor to another: where two gradients meet, or a residual joins.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// x += y. Its backward is the identity for both.
/// \param[in,out] x any shape
/// \param y         the same shape
/// \throw ShapeError unless the shapes are equal
template <class T>
void add_to(TensorView<T> x, TensorView<const std::type_identity_t<T>> y) {
  expect_shape("add_to", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) x[i] += y[i];
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
