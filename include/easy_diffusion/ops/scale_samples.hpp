/// \file
/// Each sample of a batch times a number of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y[n, ...] = factor[n] x[n, ...]. The gradient of x is the same of dy.
/// \param x      [N, ...]
/// \param factor [N]
/// \param[out] y the shape of x; may be x itself
/// \throw ShapeError where shapes do not fit
template <class T>
void scale_samples(TensorView<const T> x, TensorView<const std::type_identity_t<T>> factor,
                   TensorView<std::type_identity_t<T>> y) {
  if (x.shape().rank() == 0) throw ShapeError("scale_samples: expected [N, ...], got " + x.shape().to_string());
  const std::int64_t batch = x.extent(0);
  expect_shape("scale_samples factors", Shape{batch}, factor.shape());
  expect_shape("scale_samples output", x.shape(), y.shape());
  const std::int64_t elements = batch > 0 ? x.size() / batch : 0;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, elements));
  parallel_for(0, batch, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const T* in = x.data() + n * elements;
      T* out = y.data() + n * elements;
      const T f = factor[n];
      for (std::int64_t i = 0; i < elements; ++i) out[i] = f * in[i];
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
