/// \file
/// Fashion-MNIST \cite xiao_2017_fashion_mnist, and every folder of IDX files that is named as MNIST's are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/io/detail/absence.hpp"
#include "easy_diffusion/io/idx.hpp"

namespace easy_diffusion::data {

enum class Split { train, test };

/// Where Debian's package dataset-fashion-mnist puts it.
[[nodiscard]] inline std::filesystem::path fashion_mnist_folder() { return "/usr/share/datasets/fashion-mnist"; }

/// The ten garments, by class number.
[[nodiscard]] inline std::vector<std::string> fashion_mnist_classes() {
  return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};
}

namespace detail {

/// The first of `<stem>-<kind>-ubyte.gz`, `<stem>-<kind>-ubyte` and the spellings with a dot that is there and no folder, or
/// nothing.
inline std::filesystem::path find_idx(const std::filesystem::path& folder, const std::string& stem,
                                      const std::string& kind) {
  for (const char* separator : {"-", "."})
    for (const char* ending : {".gz", ""}) {
      std::filesystem::path path = folder / (stem + separator + kind + "-ubyte" + ending);
      std::error_code ignored;
      // Some programs unpack an archive into a folder of its name, beside the file.
      if (std::filesystem::exists(path, ignored) && !std::filesystem::is_directory(path, ignored)) return path;
    }
  return {};
}

}  // namespace detail

/// Reads `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, plain or gzipped, from a folder. Pictures with several
/// channels, [N, H, W, C], may be named `images-idx4`. Without a labels file the set has no labels.
/// \param class_names none: the classes are called by their numbers
/// \throw IoError when the folder or its pictures are missing, or a file is not readable
/// \throw FormatError naming the file, expected and got, as `io::read_idx` does; and for pictures and labels of
///        different number, an empty set, or a label without a name
[[nodiscard]] inline ImageDataset load_idx_folder(const std::filesystem::path& folder, Split split,
                                                  std::vector<std::string> class_names = {}) {
  const std::string stem = split == Split::train ? "train" : "t10k";
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    throw IoError(folder.string() + ": expected a folder of IDX files such as " + stem + "-images-idx3-ubyte.gz, " +
                  (std::filesystem::exists(folder, ignored) ? "got a file" : "but " + io::detail::absence(folder)));
  std::filesystem::path images = detail::find_idx(folder, stem + "-images", "idx3");
  if (images.empty()) images = detail::find_idx(folder, stem + "-images", "idx4");
  if (images.empty()) throw IoError(folder.string() + ": there is no " + stem + "-images-idx3-ubyte or .gz in it");

  ImageDataset result;
  result.name = images.string();
  result.images = io::read_idx(images);
  const Shape shape = result.images.shape();
  if (shape.rank() == 3)
    result.images = std::move(result.images).reshaped({shape[0], shape[1], shape[2], 1});
  else if (shape.rank() != 4)
    throw FormatError(images.string() + ": expected pictures [N, H, W] or [N, H, W, C], got " + shape.to_string());

  const std::filesystem::path labels = detail::find_idx(folder, stem + "-labels", "idx1");
  if (!labels.empty()) {
    const Tensor<std::uint8_t> bytes = io::read_idx(labels);
    if (bytes.shape().rank() != 1)
      throw FormatError(labels.string() + ": expected labels [N], got " + bytes.shape().to_string());
    if (bytes.size() != shape[0])
      throw FormatError(labels.string() + ": expected " + std::to_string(shape[0]) +
                        " labels, one for each picture of " + images.filename().string() + ", got " +
                        std::to_string(bytes.size()));
    result.labels.assign(bytes.begin(), bytes.end());
    if (class_names.empty() && bytes.size() > 0) {
      const int classes = *std::max_element(bytes.begin(), bytes.end()) + 1;
      for (int i = 0; i < classes; ++i) class_names.push_back(std::to_string(i));
    }
    result.class_names = std::move(class_names);
  }
  result.validate();
  return result;
}

/// Fashion-MNIST: 60 000 pictures to train with and 10 000 to test with, [N, 28, 28, 1], ten classes.
/// \throw IoError saying which package to install, when the folder is missing \throw as `load_idx_folder` does
[[nodiscard]] inline ImageDataset load_fashion_mnist(Split split = Split::train,
                                                     const std::filesystem::path& folder = fashion_mnist_folder()) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored))
    throw IoError(folder.string() + ": expected the package dataset-fashion-mnist there, but " +
                  io::detail::absence(folder) + ": install it, or name a folder of IDX files with --data");
  return load_idx_folder(folder, split, fashion_mnist_classes());
}

}  // namespace easy_diffusion::data
