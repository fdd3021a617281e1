/// \file
/// IDX, the format of MNIST and its relatives: http://yann.lecun.com/exdb/mnist. Plain or gzipped.
/// Two zero bytes, the element type, the rank, the extents (32 bits, big-endian), the elements.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/detail/file_kind.hpp"
#include "easy_diffusion/io/detail/gzip.hpp"

namespace easy_diffusion::io {

namespace detail {

inline Tensor<std::uint8_t> read_idx(MaybeGzipped& in, const std::string& file) {
  const std::string what = in.gzipped() ? std::string() : but_got(in.rest());
  const auto read_header = [&](std::span<std::byte> out) {
    if (in.read(out) != out.size()) throw FormatError(file + ": not an IDX file: it ends within the header");
  };
  const auto hex = [](std::span<const std::byte> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : bytes) {
      if (!text.empty()) text += ' ';
      text += digits[static_cast<std::size_t>(byte) / 16];
      text += digits[static_cast<std::size_t>(byte) % 16];
    }
    return text;
  };

  std::array<std::byte, 4> magic{};
  read_header(magic);
  const auto rank = static_cast<std::size_t>(magic[3]);
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0} || rank == 0)
    throw FormatError(file + ": not an IDX file: expected it to start with 00 00 08 and the rank, got " + hex(magic) +
                      what);
  if (magic[2] != std::byte{0x08})
    throw FormatError(file + ": expected elements of type 08 (unsigned bytes), got " +
                      hex(std::span(magic).subspan(2, 1)));
  if (rank > Shape::max_rank) throw FormatError(file + ": expected a rank of at most 6, got " + std::to_string(rank));

  Shape shape;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    std::array<std::byte, 4> bytes{};
    read_header(bytes);
    std::int64_t extent = 0;
    for (const std::byte byte : bytes) extent = 256 * extent + static_cast<std::int64_t>(byte);
    try {
      shape.push_back(extent);
    } catch (const ShapeError& error) { throw FormatError(file + ": " + error.what()); }
  }

  // The header may promise anything: memory grows with what has really been read.
  const auto expected = static_cast<std::size_t>(shape.numel());
  std::vector<std::byte> elements;
  while (elements.size() < expected) {
    const std::size_t before = elements.size();
    elements.resize(std::min(expected, before + std::max(before, std::size_t{1} << 20)));
    const std::size_t got = in.read(std::span(elements).subspan(before));
    if (before + got < elements.size())
      throw FormatError(file + ": the file ends early: shape " + shape.to_string() + ": expected " +
                        std::to_string(expected) + " elements, got " + std::to_string(before + got));
  }
  in.expect_end(expected);
  auto result = Tensor<std::uint8_t>::uninitialized(shape);
  if (expected > 0) std::memcpy(result.data(), elements.data(), expected);
  return result;
}

}  // namespace detail

/// \return the file's array of bytes: [N, H, W] for pictures, [N] for labels
/// \throw IoError when the file is missing, not readable or a folder
/// \throw FormatError naming the file, expected and got: wrong magic number, elements other than unsigned bytes, a rank
///        above 6, fewer or more elements than the extents say, a cut or damaged gzip stream
[[nodiscard]] inline Tensor<std::uint8_t> read_idx(const std::filesystem::path& path) {
  detail::MaybeGzipped in(path);
  return detail::read_idx(in, path.string());
}

/// The same of a file's bytes in memory. \param name begins the error messages
[[nodiscard]] inline Tensor<std::uint8_t> read_idx(std::span<const std::byte> bytes, const std::string& name) {
  detail::MaybeGzipped in(bytes, name);
  return detail::read_idx(in, name);
}

}  // namespace easy_diffusion::io
