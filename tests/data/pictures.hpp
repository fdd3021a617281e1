/// \file
/// Small pictures for the tests of data sets.
#pragma once

#include <cstdint>
#include <filesystem>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/image.hpp"

#include "io/file_tools.hpp"

namespace easy_diffusion::test {

/// One shade everywhere.
inline Tensor<std::uint8_t> plain(std::int64_t height, std::int64_t width, std::int64_t channels, int shade) {
  return Tensor<std::uint8_t>({height, width, channels}, static_cast<std::uint8_t>(shade));
}

/// Bytes that have nothing to do with each other.
inline Tensor<std::uint8_t> speckled(const Shape& shape, std::uint64_t seed) {
  Tensor<std::uint8_t> result(shape);
  Dice dice(seed);
  for (std::uint8_t& value : result) value = static_cast<std::uint8_t>(dice(256));
  return result;
}

/// What `io::load_image` makes of such bytes.
inline Tensor<float> as_numbers(const Tensor<std::uint8_t>& bytes) {
  auto result = Tensor<float>::uninitialized(bytes.shape());
  for (std::int64_t i = 0; i < bytes.size(); ++i) result[i] = static_cast<float>(bytes[i]) / 255.0F;
  return result;
}

/// A folder in the folder.
inline std::filesystem::path made(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace easy_diffusion::test
