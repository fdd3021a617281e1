/// \file
/// Small changes of pictures that keep what they show.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "easy_diffusion/core/random.hpp"

namespace easy_diffusion::data {

/// Whether picture number `index` is mirrored in that epoch: an even chance, at an address of its own, so that it
/// does not depend on batches, threads or a resume.
[[nodiscard]] inline bool is_mirrored(std::uint64_t seed, std::uint32_t epoch, std::int64_t index) {
  return uniform_integer(2, {seed, streams::augmentation, epoch}, static_cast<std::uint64_t>(index)) == 1;
}

/// By how many pixels a picture is moved.
struct Shift {
  std::int64_t down = 0;
  std::int64_t right = 0;
};

/// The shift of picture number `index` in that epoch: each of the numbers from -largest to largest equally often,
/// addressed as `is_mirrored` is.
[[nodiscard]] inline Shift shift_of(std::uint64_t seed, std::uint32_t epoch, std::int64_t index, std::int64_t largest) {
  const auto draw = [&](std::uint64_t number) {
    // Behind the numbers that decide on mirrors.
    const std::uint64_t element = (std::uint64_t{1} << 40) + 2 * static_cast<std::uint64_t>(index) + number;
    return static_cast<std::int64_t>(uniform_integer(static_cast<std::uint64_t>(2 * largest + 1),
                                                     {seed, streams::augmentation, epoch}, element)) -
           largest;
  };
  return {draw(0), draw(1)};
}

/// Moves a picture, in place; what it uncovers is filled with the pixels at its edge.
/// \param picture [height, width, channels]
/// \pre |shift.down| < height, |shift.right| < width
template <class T>
void move_picture(T* picture, std::int64_t height, std::int64_t width, std::int64_t channels, Shift shift) {
  const std::int64_t length = width * channels;
  const std::int64_t uncovered = std::abs(shift.right) * channels;
  for (std::int64_t i = 0; i < height; ++i) {
    // Rows are taken in the order in which none is overwritten before it was copied.
    const std::int64_t y = shift.down > 0 ? height - 1 - i : i;
    T* row = picture + y * length;
    const T* from = picture + std::clamp<std::int64_t>(y - shift.down, 0, height - 1) * length;
    if (from != row) std::copy_n(from, length, row);
    if (shift.right > 0) {
      std::copy_backward(row, row + length - uncovered, row + length);
      for (std::int64_t j = channels; j < uncovered; ++j) row[j] = row[j - channels];
    } else if (shift.right < 0) {
      std::copy(row + uncovered, row + length, row);
      for (std::int64_t j = length - uncovered; j < length; ++j) row[j] = row[j - channels];
    }
  }
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
