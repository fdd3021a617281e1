/// \file
/// Small changes of pictures that keep what they show.
#pragma once

#include <algorithm>
#include <cstdint>

#include "easy_diffusion/core/random.hpp"

namespace easy_diffusion::data {

/// Whether picture number `index` is mirrored in that epoch: an even chance, at an address of its own, so that it
/// does not depend on batches, threads or a resume.
[[nodiscard]] inline bool is_mirrored(std::uint64_t seed, std::uint32_t epoch, std::int64_t index) {
  return uniform_integer(2, {seed, streams::augmentation, epoch}, static_cast<std::uint64_t>(index)) == 1;
}

/// Swaps left and right, in place. \param picture [height, width, channels]
template <class T>
void mirror(T* picture, std::int64_t height, std::int64_t width, std::int64_t channels) {
  for (std::int64_t y = 0; y < height; ++y) {
    T* row = picture + y * width * channels;
    for (std::int64_t x = 0; x < width / 2; ++x)
      std::swap_ranges(row + x * channels, row + (x + 1) * channels, row + (width - 1 - x) * channels);
  }
}

}  // namespace easy_diffusion::data
