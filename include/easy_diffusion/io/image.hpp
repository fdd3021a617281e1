/// \file
/// Single pictures: reading, writing, changing their size. [H, W, C], values 0 (black) to 1 (white); C = 1
/// grey, 2 grey and coverage, 3 red, green, blue, 4 with coverage.
#pragma once

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/array_view.hpp"
#include "easy_diffusion/io/detail/decoded_picture.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/detail/picture_file.hpp"
#include "easy_diffusion/io/detail/stb.hpp"

namespace easy_diffusion::io {

/// Numbers in [0, 1] as bytes: clamped, times 255, rounded to the nearest.
/// \param values any shape; bytes are taken as they are
/// \throw ValueError for NaN, naming the element
template <detail::Array A>
[[nodiscard]] Tensor<std::uint8_t> to_bytes(const A& values) {
  const auto view = detail::read_only(values);
  using T = typename decltype(view)::value_type;
  static_assert(std::is_floating_point_v<T> || std::is_same_v<T, std::uint8_t>);
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    return Tensor<std::uint8_t>::copy_of(view);
  } else {
    auto result = Tensor<std::uint8_t>::uninitialized(view.shape());
    for (std::int64_t i = 0; i < view.size(); ++i) {
      if (std::isnan(view[i]))
        throw ValueError("picture " + view.shape().to_string() + ": expected numbers in [0, 1], got nan at element " +
                         std::to_string(i));
      result[i] = static_cast<std::uint8_t>(std::floor(std::clamp(view[i], T{0}, T{1}) * T{255} + T{0.5}));
    }
    return result;
  }
}

namespace detail {

/// One pixel with another number of channels; grey is 0.299 red + 0.587 green + 0.114 blue, in 256ths.
inline std::array<int, 4> with_channels(const std::array<int, 4>& pixel, int from, int to, int white) noexcept {
  const int coverage = from == 2 ? pixel[1] : from == 4 ? pixel[3] : white;
  if (to >= 3)
    return from >= 3 ? std::array{pixel[0], pixel[1], pixel[2], coverage}
                     : std::array{pixel[0], pixel[0], pixel[0], coverage};
  const int grey = from >= 3 ? (77 * pixel[0] + 150 * pixel[1] + 29 * pixel[2]) >> 8 : pixel[0];
  return {grey, coverage, 0, 0};
}

/// Where the pixel (y, x) of a picture that stands upright lies in one that is stored as `orientation` says.
/// \param height,width of the stored one
inline std::array<std::int64_t, 2> stored_place(int orientation, std::int64_t y, std::int64_t x, std::int64_t height,
                                                std::int64_t width) noexcept {
  switch (orientation) {
    case 2: return {y, width - 1 - x};
    case 3: return {height - 1 - y, width - 1 - x};
    case 4: return {height - 1 - y, x};
    case 5: return {x, y};
    case 6: return {height - 1 - x, y};
    case 7: return {height - 1 - x, width - 1 - y};
    case 8: return {x, width - 1 - y};
    default: return {y, x};
  }
}

template <class T>
Tensor<T> to_tensor(const DecodedPicture& picture, int channels, int orientation) {
  const int from = picture.channels;
  const int to = channels == 0 ? from : channels;
  const bool turned = orientation >= 5;
  auto result =
      Tensor<T>::uninitialized({turned ? picture.width : picture.height, turned ? picture.height : picture.width, to});
  T* out = result.data();
  for (std::int64_t y = 0; y < result.extent(0); ++y)
    for (std::int64_t x = 0; x < result.extent(1); ++x, out += to) {
      const auto [in_y, in_x] = stored_place(orientation, y, x, picture.height, picture.width);
      std::array<int, 4> pixel{};
      for (int c = 0; c < from; ++c)
        pixel[static_cast<std::size_t>(c)] = picture.number((in_y * picture.width + in_x) * from + c);
      if (to != from) pixel = with_channels(pixel, from, to, picture.maximum);
      for (int c = 0; c < to; ++c) {
        const int number = pixel[static_cast<std::size_t>(c)];
        if constexpr (std::is_same_v<T, std::uint8_t>)
          out[c] = static_cast<T>(static_cast<float>(number) / static_cast<float>(picture.maximum) * 255.0F + 0.5F);
        else
          out[c] = static_cast<T>(number) / static_cast<T>(picture.maximum);
      }
    }
  return result;
}

/// [H, W, C] from that or from [1, H, W, C].
template <class T>
TensorView<const T> single_picture(const std::string& who, TensorView<const T> view) {
  const Shape& shape = view.shape();
  if (shape.rank() == 4 && shape[0] == 1) view = view.reshaped({shape[1], shape[2], shape[3]});
  if (shape.rank() == 4 && shape[0] != 1)
    throw ShapeError(who + ": expected one picture [H, W, C], got " + shape.to_string() + "; save_grid takes several");
  expect_rank(who, 3, "[H, W, C]", view.shape());
  if (view.size() == 0 || view.extent(2) > 4)
    throw ShapeError(who + ": expected [H, W, C] with at least one pixel and 1 to 4 channels, got " +
                     shape.to_string());
  return view;
}

}  // namespace detail

/// How `load_image` reads.
struct ImageOptions {
  int channels = 0;     ///< 1 to 4 converts, 0 leaves the number as the file has it
  bool upright = true;  ///< turned as a note in the file says (EXIF's orientation); false: as it is stored
  /// Most memory, in bytes, that decoding may take, the result included
  std::int64_t max_bytes = std::int64_t{1} << 30;
};

/// Decodes a picture that lies in memory, as `load_image` does a file. \param name for messages
/// \param pool memory that other threads use too; of at least `max_bytes` in all
template <class T = float>
[[nodiscard]] Tensor<T> decode_image(std::span<const std::byte> bytes, const std::string& name,
                                     const ImageOptions& options = {}, detail::MemoryPool::Share* pool = nullptr) {
  static_assert(std::is_floating_point_v<T> || std::is_same_v<T, std::uint8_t>);
  if (options.channels < 0 || options.channels > 4)
    throw ValueError(name + ": channels: expected 1 to 4, or 0 for those of the file, got " +
                     std::to_string(options.channels));
  if (options.max_bytes < 1)
    throw ValueError(name + ": max_bytes: expected at least 1, got " + std::to_string(options.max_bytes));
  const detail::DecodedPicture picture = detail::decode_picture(bytes, {.file = name,
                                                                        .channels = options.channels,
                                                                        .value_bytes = sizeof(T),
                                                                        .max_bytes = options.max_bytes,
                                                                        .pool = pool});
  return detail::to_tensor<T>(picture, options.channels, options.upright ? picture.orientation : 1);
}

/// Reads PNG, JPEG, BMP, GIF (the first frame), PBM, PGM or PPM, whatever the file is called. Palettes and CMYK are
/// converted, 16 bits a channel kept (PNG, PGM, PPM), PNM's numbers divided by their maximum, and pictures turned upright
/// where a JPEG or PNG says how (EXIF).
/// \return [H, W, C] in [0, 1]; as bytes 0 to 255
/// \throw IoError when the file is missing, not readable or a folder
/// \throw FormatError naming the file when it is empty, no picture, of another kind, cut, damaged, or when decoding it
///        would take more than `ImageOptions::max_bytes`. Every damaged bit of a PNG is found by its checksums. The other
///        formats have none: of them is refused what cannot be decoded to the end. What stands behind the picture is
///        ignored, as is the size that a BMP states.
template <class T = float>
[[nodiscard]] Tensor<T> load_image(const std::filesystem::path& path, const ImageOptions& options = {}) {
  const detail::MappedFile file(path);
  return decode_image<T>(file.bytes(), path.string(), options);
}
template <class T = float>
[[nodiscard]] Tensor<T> load_image(const std::filesystem::path& path, int channels) {
  return load_image<T>(path, ImageOptions{.channels = channels});
}

/// A picture as a PNG file of eight bits a channel.
/// \param picture [H, W, C] or [1, H, W, C], C = 1 to 4; bytes, or numbers converted as `to_bytes` does
/// \throw ShapeError for another shape \throw ValueError for NaN
template <detail::Array A>
[[nodiscard]] std::vector<std::byte> encode_png(const A& picture) {
  const auto view = detail::single_picture("PNG", detail::read_only(picture));
  const Shape& shape = view.shape();
  if (shape[0] > INT_MAX || shape[1] > INT_MAX || view.size() > (INT_MAX >> 1))
    throw ShapeError("PNG: the picture is too large: " + shape.to_string());
  const Tensor<std::uint8_t> bytes = to_bytes(view);
  std::vector<std::byte> png;
  const auto append = [](void* context, void* data, int size) {
    const auto* first = static_cast<const std::byte*>(data);
    static_cast<std::vector<std::byte>*>(context)->insert(static_cast<std::vector<std::byte>*>(context)->end(), first,
                                                          first + size);
  };
  const auto height = static_cast<int>(shape[0]);
  const auto width = static_cast<int>(shape[1]);
  const auto channels = static_cast<int>(shape[2]);
  if (detail::stbi_write_png_to_func(append, &png, width, height, channels, bytes.data(), width * channels) == 0)
    throw Error("PNG: no memory for the picture " + shape.to_string());
  return png;
}

/// Writes a PNG file, atomically (see `AtomicFile`).
/// \param picture [H, W, C] or [1, H, W, C], C = 1 to 4; bytes, or numbers in [0, 1], clamped and rounded to
/// the nearest \throw ShapeError for another shape \throw ValueError for NaN \throw IoError naming the file
/// and the reason
template <detail::Array A>
void save_png(const std::filesystem::path& path, const A& picture) {
  write_file(path, encode_png(picture));
}

/// Another size: cubic filters (Catmull-Rom upwards, Mitchell downwards), held within the values of the
/// picture. \param picture [H, W, C], C = 1 to 4, float or double \return [height, width, C] \throw
/// ShapeError for another shape \throw ValueError unless 1 <= height, width <= 65536
template <detail::Array A>
[[nodiscard]] auto resize_image(const A& picture, std::int64_t height, std::int64_t width) {
  const auto view = detail::single_picture("resize", detail::read_only(picture));
  using T = typename decltype(view)::value_type;
  static_assert(std::is_floating_point_v<T>);
  constexpr std::int64_t most = 65536;
  const Shape& shape = view.shape();
  if (height < 1 || width < 1 || height > most || width > most)
    throw ValueError("resize: expected a height and a width of 1 to 65536, got " + std::to_string(height) + " and " +
                     std::to_string(width));
  if (shape[0] > most || shape[1] > most) throw ShapeError("resize: the picture is too large: " + shape.to_string());
  if (shape[0] == height && shape[1] == width) return Tensor<T>::copy_of(view);
  Tensor<float> copy;
  const float* in = nullptr;
  if constexpr (std::is_same_v<T, float>) {
    in = view.data();
  } else {
    copy = Tensor<float>::copy_of(view);
    in = copy.data();
  }
  auto out = Tensor<float>::uninitialized({height, width, shape[2]});
  if (!detail::stb_resize(in, static_cast<int>(shape[0]), static_cast<int>(shape[1]), out.data(),
                          static_cast<int>(height), static_cast<int>(width), static_cast<int>(shape[2])))
    throw Error("resize: no memory for the picture " + out.shape().to_string());
  const auto [low, high] = std::minmax_element(in, in + view.size());
  for (float& value : out) value = std::clamp(value, *low, *high);
  return Tensor<T>::copy_of(out.view());
}

}  // namespace easy_diffusion::io
