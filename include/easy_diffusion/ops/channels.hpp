/// \file
/// Copies a picture into some of the channels of a wider one, and back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {
/// \return pixels \throw ShapeError unless `narrow`'s channels fit behind the first `first` channels of `wide`
inline std::int64_t check_channels(const Shape& narrow, std::int64_t first, const Shape& wide) {
  if (narrow.rank() == 0 || wide.rank() != narrow.rank() || first < 0 || first + narrow.back() > wide.back())
    throw ShapeError("channels: " + narrow.to_string() + " does not fit into " + wide.to_string() + " from channel " +
                     std::to_string(first) + " on");
  const Shape pixels(wide.begin(), wide.end() - 1);
  expect_shape("channels: extents before the channels", pixels, Shape(narrow.begin(), narrow.end() - 1));
  return pixels.numel();
}
}  // namespace detail

/// wide[..., first + c] = x[..., c].
/// \param x             [..., C]
/// \param[in,out] wide  [..., D], D >= first + C; its other channels stay as they are
/// \throw ShapeError where shapes do not fit
template <class T>
void place_channels(TensorView<const T> x, std::int64_t first, TensorView<std::type_identity_t<T>> wide) {
  const std::int64_t pixels = detail::check_channels(x.shape(), first, wide.shape());
  const std::int64_t narrow_width = x.shape().back();
  const std::int64_t wide_width = wide.shape().back();
  parallel_for(0, pixels, 1024, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      std::copy_n(x.data() + p * narrow_width, narrow_width, wide.data() + p * wide_width + first);
  });
}

/// x[..., c] = wide[..., first + c]: the backward of `place_channels`.
/// \param wide   [..., D], D >= first + C
/// \param[out] x [..., C], written
/// \throw ShapeError where shapes do not fit
template <class T>
void take_channels(TensorView<const T> wide, std::int64_t first, TensorView<std::type_identity_t<T>> x) {
  const std::int64_t pixels = detail::check_channels(x.shape(), first, wide.shape());
  const std::int64_t narrow_width = x.shape().back();
  const std::int64_t wide_width = wide.shape().back();
  parallel_for(0, pixels, 1024, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      std::copy_n(wide.data() + p * wide_width + first, narrow_width, x.data() + p * narrow_width);
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
