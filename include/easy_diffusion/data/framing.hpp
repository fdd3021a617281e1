/// \file
/// Pictures of any size and kind made alike: one square size, grey or colour, coverage laid on white.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/io/image.hpp"

namespace easy_diffusion::data {

/// How a picture that is not square becomes square.
enum class Framing {
  crop,     ///< the largest square around its middle
  fit,      ///< the whole picture, with white on two sides
  stretch,  ///< the whole picture, out of proportion
};

struct PictureOptions {
  std::int64_t size = 32;     ///< height and width of the result, 1 to 4096
  std::int64_t channels = 3;  ///< 1 grey, 3 red, green, blue
  Framing framing = Framing::crop;
  double max_enlargement = 2;  ///< a picture that would have to grow by more is refused; at least 1
  bool upright = true;         ///< files are turned as a camera's note in them says; false: as they are stored
  /// Most memory, in bytes, that decoding files may take, all threads together; framing takes as much again
  std::int64_t max_bytes = std::int64_t{1} << 30;
};

/// \throw ValueError naming the option that is out of range
inline void check(const PictureOptions& options) {
  if (options.size < 1 || options.size > 4096)
    throw ValueError("pictures: size: expected 1 to 4096, got " + std::to_string(options.size));
  if (options.channels != 1 && options.channels != 3)
    throw ValueError("pictures: channels: expected 1 (grey) or 3 (red, green, blue), got " +
                     std::to_string(options.channels));
  if (!(options.max_enlargement >= 1))
    throw ValueError("pictures: enlargement: expected at least 1, got " + number_text(options.max_enlargement));
  if (options.max_bytes < 1)
    throw ValueError("pictures: max_bytes: expected at least 1, got " + std::to_string(options.max_bytes));
}

namespace detail {

/// Coverage laid on white, and as many channels as wanted: grey is 0.299 red + 0.587 green + 0.114 blue.
/// \param picture [H, W, 1 to 4], a part of rows and columns of it is taken
inline Tensor<float> flattened(TensorView<const float> picture, std::int64_t top, std::int64_t left,
                               std::int64_t height, std::int64_t width, std::int64_t channels) {
  const std::int64_t given = picture.extent(2);
  const std::int64_t colours = given <= 2 ? 1 : 3;
  auto result = Tensor<float>::uninitialized({height, width, channels});
  float* out = result.data();
  for (std::int64_t y = 0; y < height; ++y) {
    const float* in = picture.data() + ((top + y) * picture.extent(1) + left) * given;
    for (std::int64_t x = 0; x < width; ++x, in += given, out += channels) {
      const float coverage = given == colours ? 1.0F : in[colours];
      float colour[3];
      for (std::int64_t c = 0; c < colours; ++c) colour[c] = coverage * in[c] + (1.0F - coverage);
      if (colours == 1) {
        std::fill(out, out + channels, colour[0]);
      } else if (channels == 3) {
        std::copy(colour, colour + 3, out);
      } else {
        out[0] = 0.299F * colour[0] + 0.587F * colour[1] + 0.114F * colour[2];
      }
    }
  }
  return result;
}

}  // namespace detail

/// A picture in the form that the options describe: coverage laid on white, cropped, resized by `io::resize_image`.
/// \param picture [H, W, C], C = 1 to 4, values in [0, 1] \return [size, size, channels]
/// \throw ShapeError for another shape \throw ValueError for an option out of range, and for a picture that is too
///        small or has a side above 65536, with its height and width
[[nodiscard]] inline Tensor<std::uint8_t> framed(const Tensor<float>& picture, const PictureOptions& options) {
  check(options);
  const TensorView<const float> view = io::detail::single_picture("picture", picture.view());
  const std::int64_t height = view.extent(0);
  const std::int64_t width = view.extent(1);
  const std::int64_t size = options.size;
  const auto refuse = [&](const std::string& expected) {
    throw ValueError("expected a picture " + expected + ", got " + std::to_string(height) + " x " +
                     std::to_string(width));
  };
  // What must grow to `size`: the side that is not cut, or not left with white beside it.
  const std::int64_t smallest = options.framing == Framing::fit ? std::max(height, width) : std::min(height, width);
  if (static_cast<double>(smallest) * options.max_enlargement < static_cast<double>(size))
    refuse("that grows by at most " + number_text(options.max_enlargement, 3) + " to become " + std::to_string(size) +
           " x " + std::to_string(size));
  if (std::max(height, width) > 65536) refuse("of at most 65536 x 65536");

  const std::int64_t square = std::min(height, width);
  const bool crop = options.framing == Framing::crop;
  const Tensor<float> part = detail::flattened(view, crop ? (height - square) / 2 : 0, crop ? (width - square) / 2 : 0,
                                               crop ? square : height, crop ? square : width, options.channels);
  if (options.framing != Framing::fit) return io::to_bytes(io::resize_image(part, size, size));

  const auto scaled = [&](std::int64_t side) {
    return std::max<std::int64_t>(1, (2 * side * size + smallest) / (2 * smallest));  // rounded to the nearest
  };
  const Tensor<std::uint8_t> whole = io::to_bytes(io::resize_image(part, scaled(height), scaled(width)));
  Tensor<std::uint8_t> result({size, size, options.channels}, std::uint8_t{255});
  const std::int64_t top = (size - whole.extent(0)) / 2;
  const std::int64_t left = (size - whole.extent(1)) / 2;
  const std::int64_t row = whole.extent(1) * options.channels;
  for (std::int64_t y = 0; y < whole.extent(0); ++y)
    std::copy_n(whole.data() + y * row, row, result.data() + ((top + y) * size + left) * options.channels);
  return result;
}

}  // namespace easy_diffusion::data
