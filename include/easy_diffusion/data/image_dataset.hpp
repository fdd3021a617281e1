/// \file
/// Pictures in memory, as bytes, with their classes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::data {

/// A set of pictures of one size.
struct ImageDataset {
  std::string name;                      ///< where it comes from, for messages
  Tensor<std::uint8_t> images;           ///< [N, H, W, C], 0 (black) to 255 (white)
  std::vector<std::int64_t> labels;      ///< [N], the class of each picture; or none
  std::vector<std::string> class_names;  ///< what the classes are called; or none
  std::vector<std::string> left_out{};   ///< files beside the pictures that are none, for a word to the user

  [[nodiscard]] std::int64_t size() const noexcept { return images.empty() ? 0 : images.extent(0); }
  [[nodiscard]] std::int64_t height() const noexcept { return images.extent(1); }
  [[nodiscard]] std::int64_t width() const noexcept { return images.extent(2); }
  [[nodiscard]] std::int64_t channels() const noexcept { return images.extent(3); }

  /// \throw FormatError naming the set, unless it has pictures [N, H, W, C], no labels or N of them, and a name for
  ///        each class that occurs, if names are given
  void validate() const {
    const auto fail = [&](const std::string& what) { throw FormatError(name + ": " + what); };
    if (images.shape().rank() != 4) fail("expected pictures [N, H, W, C], got " + images.shape().to_string());
    if (images.size() == 0) fail("expected at least one picture, got " + images.shape().to_string());
    if (!labels.empty() && static_cast<std::int64_t>(labels.size()) != size())
      fail("expected a label for each of the " + std::to_string(size()) + " pictures, got " +
           std::to_string(labels.size()) + " labels");
    const auto classes = static_cast<std::int64_t>(class_names.size());
    for (const std::int64_t label : labels)
      if (label < 0 || (classes > 0 && label >= classes))
        fail("expected labels from 0 to " + std::to_string(classes - 1) + ", got " + std::to_string(label));
  }
};

/// 64 bits that depend on every pixel, label and extent, as hexadecimal text (FNV-1a): two sets of one size are told
/// apart by it.
[[nodiscard]] inline std::string fingerprint(const ImageDataset& dataset) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3U; };
  for (const std::int64_t extent : dataset.images.shape()) add(static_cast<std::uint64_t>(extent));
  for (const std::uint8_t byte : dataset.images) add(byte);
  for (const std::int64_t label : dataset.labels) add(static_cast<std::uint64_t>(label));
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace easy_diffusion::data
