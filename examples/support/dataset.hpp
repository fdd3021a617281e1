/// \file
/// The options by which a training program finds its pictures, and how it changes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/data/load.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "support/options.hpp"

namespace easy_diffusion::examples {

/// Says which files of a folder of pictures are none, in one line, where there are any.
inline void print_left_out(const data::ImageDataset& set) {
  if (set.left_out.empty()) return;
  constexpr std::size_t most = 5;
  std::string names;
  for (std::size_t i = 0; i < set.left_out.size() && i < most; ++i)
    names += (i == 0 ? "" : ", ") + io::detail::in_quotes(set.left_out[i]);
  std::printf("%s: left out as no pictures: %zu (%s%s)\n", io::detail::in_quotes(set.name).c_str(), set.left_out.size(),
              names.c_str(), set.left_out.size() > most ? ", ..." : "");
}

struct DatasetOptions {
  std::string path = data::fashion_mnist_folder().string();
  std::int64_t limit = 0;
  std::int64_t size = 0;
  std::int64_t channels = 0;
  std::string framing = "crop";
  bool mirror = false;
  std::int64_t shift = 0;

  void add_to(CommandLine& line) {
    line.add("--data", path,
             "folder of IDX files (train-images-idx3-ubyte.gz and so on), folder of pictures (or of a folder for each "
             "class), or file of pictures with captions (make_emoji_dataset)");
    line.add<std::int64_t>("--limit", limit, "use only that many pictures; 0: all", 0, 1'000'000'000);
    line.add<std::int64_t>("--size", size, "height and width that pictures of a folder get; 0: 32", 0, 4096);
    line.add<std::int64_t>("--channels", channels, "1: pictures of a folder become grey; 3 and 0: coloured", 0, 3);
    line.add("--framing", framing, "pictures of a folder that are not square: crop, fit (white beside them), stretch")
        ->check(CLI::IsMember({"crop", "fit", "stretch"}));
    line.add("--mirror", mirror, "show half of the pictures mirrored, others in each epoch");
    line.add<std::int64_t>("--shift", shift, "move pictures by up to that many pixels each way, anew in each epoch", 0,
                           4096);
  }

  /// The set's first `limit` pictures; prints which files of a folder are none. \throw as `data::load_dataset` does
  [[nodiscard]] data::ImageDataset load(data::Split split) const {
    data::LoadOptions options{.split = split, .size = {}, .channels = {}, .framing = data::Framing::crop};
    if (size > 0) options.size = size;
    if (channels > 0) options.channels = channels;
    if (framing == "fit") options.framing = data::Framing::fit;
    if (framing == "stretch") options.framing = data::Framing::stretch;
    data::ImageDataset dataset = data::load_dataset(path, options);
    print_left_out(dataset);
    if (limit > 0 && limit < dataset.size()) {
      dataset.images = Tensor<std::uint8_t>::copy_of(std::as_const(dataset.images).view().slice(0, limit));
      if (!dataset.labels.empty()) dataset.labels.resize(static_cast<std::size_t>(limit));
    }
    return dataset;
  }

  [[nodiscard]] data::BatcherOptions batches(std::int64_t batch_size, std::uint64_t seed) const {
    return {.batch_size = batch_size, .seed = seed, .mirror = mirror, .shift = shift};
  }

  /// Adds to the data's fingerprint how the pictures are changed: a resumed run must change them alike.
  void add_settings(nlohmann::json& settings) const {
    std::string data = settings.at("data");
    if (mirror) data += ", mirrored";
    if (shift > 0) data += ", shifted by up to " + std::to_string(shift);
    settings["data"] = data;
  }
};

}  // namespace easy_diffusion::examples
