/// \file
/// Pictures from wherever they are: IDX files, a folder of pictures, a file of pictures with captions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/data/caption_dataset.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "easy_diffusion/data/framing.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/data/picture_folder.hpp"
#include "easy_diffusion/io/detail/absence.hpp"

namespace easy_diffusion::data {

struct LoadOptions {
  Split split = Split::train;
  std::optional<std::int64_t> size;      ///< height and width; nothing: `PictureOptions` for a folder, else as they are
  std::optional<std::int64_t> channels;  ///< 1 or 3; nothing: the same
  std::optional<Framing> framing = std::nullopt;  ///< of a folder's pictures; nothing: `PictureOptions`
};

namespace detail {

inline bool has_idx_files(const std::filesystem::path& folder) {
  for (const char* stem : {"train-images", "t10k-images"})
    for (const char* kind : {"idx3", "idx4"})
      if (!find_idx(folder, stem, kind).empty()) return true;
  return false;
}

inline ImageDataset load_picture_split(const std::filesystem::path& folder, const LoadOptions& options) {
  PictureOptions pictures;
  pictures.size = options.size.value_or(pictures.size);
  pictures.channels = options.channels.value_or(pictures.channels);
  pictures.framing = options.framing.value_or(pictures.framing);
  std::error_code ignored;
  if (std::filesystem::is_directory(folder / "train", ignored) &&
      std::filesystem::is_directory(folder / "test", ignored))
    return load_picture_folder(folder / (options.split == Split::train ? "train" : "test"), pictures);
  if (options.split == Split::test)
    throw IoError(folder.string() + ": expected the folders train and test in it, to have pictures to test with");
  return load_picture_folder(folder, pictures);
}

}  // namespace detail

/// True for a folder whose pictures are made alike when they are loaded; false for pictures that come as they are.
[[nodiscard]] inline bool is_picture_folder(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) && path != fashion_mnist_folder() && !detail::has_idx_files(path);
}

/// Loads the pictures of
/// - a folder of IDX files, as `load_idx_folder` does (and Fashion-MNIST's with its names);
/// - a folder of pictures, as `load_picture_folder` does; where it has the folders `train` and `test`, that of the split;
/// - a file of pictures with captions, as `load_caption_dataset` does: labels are its groups. It has no test set.
/// \throw IoError when the path is missing, or there are no pictures to test with
/// \throw ValueError where a size, number of channels or framing is asked for that pictures of a file do not have
/// \throw as these functions do
[[nodiscard]] inline ImageDataset load_dataset(const std::filesystem::path& path, const LoadOptions& options = {}) {
  if (is_picture_folder(path)) return detail::load_picture_split(path, options);

  std::error_code ignored;
  ImageDataset set;
  if (path == fashion_mnist_folder()) {
    set = load_fashion_mnist(options.split);
  } else if (std::filesystem::is_directory(path, ignored)) {
    set = load_idx_folder(path, options.split);
  } else if (!std::filesystem::exists(path, ignored)) {
    throw IoError(path.string() +
                  ": expected a folder of pictures or of IDX files, or a file of pictures with captions, but " +
                  io::detail::absence(path));
  } else if (options.split == Split::test) {
    throw IoError(path.string() + ": a file of pictures with captions has no pictures to test with");
  } else {
    set = load_caption_dataset(path).pictures;
  }
  const auto expect_same = [&](const char* what, const std::optional<std::int64_t>& asked, bool same) {
    if (asked && !same)
      throw ValueError(path.string() + ": " + what + ": only a folder of pictures is converted: expected " +
                       std::to_string(*asked) + ", got pictures " + set.images.shape().to_string());
  };
  expect_same("size", options.size, set.height() == options.size && set.width() == options.size);
  expect_same("channels", options.channels, set.channels() == options.channels);
  if (options.framing)
    throw ValueError(path.string() + ": framing: only a folder of pictures is converted: expected none, got pictures " +
                     set.images.shape().to_string());
  return set;
}

}  // namespace easy_diffusion::data
