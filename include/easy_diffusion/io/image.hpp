/// \file
/// Single pictures: reading, writing, changing their size. [H, W, C], values 0 (black) to 1 (white); C = 1
/// grey, 2 grey and coverage, 3 red, green, blue, 4 with coverage.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
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

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// A decoded picture: bytes, or 16-bit numbers where the file has them.
struct DecodedPicture {
  std::unique_ptr<void, FreeMemory> pixels;
  Shape shape;
  bool wide = false;

  template <class T>
  [[nodiscard]] T get(std::int64_t i) const noexcept {
    if (wide) return static_cast<T>(static_cast<const std::uint16_t*>(pixels.get())[i]) / T{65535};
    return static_cast<T>(static_cast<const std::uint8_t*>(pixels.get())[i]) / T{255};
  }
};

/// Half a gigapixel in bytes is far above any picture, and far below what a damaged header may ask for.
inline constexpr std::int64_t max_picture_pixels = std::int64_t{1} << 27;

inline DecodedPicture decode_picture(std::span<const std::byte> bytes, int channels, const std::string& file) {
  if (channels < 0 || channels > 4)
    throw ValueError(file + ": channels: expected 1 to 4, or 0 for those of the file, got " + std::to_string(channels));
  check_picture_file(bytes, file);
  if (bytes.size() > INT_MAX) throw FormatError(file + ": expected a picture below 2 GB");
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const auto size = static_cast<int>(bytes.size());
  int width = 0;
  int height = 0;
  int found = 0;
  const auto refuse = [&] {
    const char* reason = stbi_failure_reason();
    throw FormatError(
        file + ": the picture is damaged or of an unknown kind: " + (reason != nullptr ? reason : "no reason given"));
  };
  if (stbi_info_from_memory(data, size, &width, &height, &found) == 0) refuse();
  if (width < 1 || height < 1 || std::int64_t{width} * height > max_picture_pixels)
    throw FormatError(file + ": expected 1 to " + std::to_string(max_picture_pixels) + " pixels, got " +
                      std::to_string(width) + " x " + std::to_string(height));
  DecodedPicture result;
  result.wide = stbi_is_16_bit_from_memory(data, size) != 0;
  if (bytes[0] == std::byte{'P'} && std::int64_t{width} * height * found * (result.wide ? 2 : 1) > size)
    throw_early_end(file, "PNM");  // nothing in it is compressed
  result.pixels.reset(result.wide
                          ? static_cast<void*>(stbi_load_16_from_memory(data, size, &width, &height, &found, channels))
                          : static_cast<void*>(stbi_load_from_memory(data, size, &width, &height, &found, channels)));
  if (result.pixels == nullptr) refuse();
  result.shape = {height, width, channels == 0 ? found : channels};
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

/// Reads PNG, JPEG, BMP, GIF (the first frame), PGM or PPM; palettes, 16 bits a channel and CMYK are
/// converted. \param channels 1 to 4 converts, 0 leaves the number as the file has it \return [H, W, C] in
/// [0, 1] \throw IoError when the file is missing, not readable or a folder \throw FormatError naming the
/// file when it is empty, no picture, cut, damaged, or above 2^27 pixels
template <class T = float>
[[nodiscard]] Tensor<T> load_image(const std::filesystem::path& path, int channels = 0) {
  const detail::MappedFile file(path);
  const detail::DecodedPicture picture = detail::decode_picture(file.bytes(), channels, path.string());
  auto result = Tensor<T>::uninitialized(picture.shape);
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    for (std::int64_t i = 0; i < result.size(); ++i)
      result[i] = static_cast<std::uint8_t>(picture.get<float>(i) * 255.0F + 0.5F);
  } else {
    for (std::int64_t i = 0; i < result.size(); ++i) result[i] = picture.get<T>(i);
  }
  return result;
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
  const auto in = Tensor<float>::copy_of(view);
  auto out = Tensor<float>::uninitialized({height, width, shape[2]});
  if (!detail::stb_resize(in.data(), static_cast<int>(shape[0]), static_cast<int>(shape[1]), out.data(),
                          static_cast<int>(height), static_cast<int>(width), static_cast<int>(shape[2])))
    throw Error("resize: no memory for the picture " + out.shape().to_string());
  const auto [low, high] = std::minmax_element(in.begin(), in.end());
  for (float& value : out) value = std::clamp(value, *low, *high);
  return Tensor<T>::copy_of(out.view());
}

}  // namespace easy_diffusion::io
