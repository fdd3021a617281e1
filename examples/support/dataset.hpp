/// \file
/// The options by which a training program finds its pictures, and how it changes them; the classes that they have.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/data/load.hpp"
#include "easy_diffusion/data/subset.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "support/options.hpp"

namespace easy_diffusion::examples {

/// Classes that pictures are told apart by: from 0 to the largest number; 0 where there are no labels.
[[nodiscard]] inline std::int64_t classes_of(const data::ImageDataset& dataset) {
  return static_cast<std::int64_t>(data::class_sizes(dataset).size());
}

/// Those of them that have no picture, such as 0 where the labels begin at 1: a model has a place for them and is never shown
/// one.
[[nodiscard]] inline std::vector<std::int64_t> unseen_classes(const data::ImageDataset& dataset) {
  std::vector<std::int64_t> unseen;
  const auto sizes = data::class_sizes(dataset);
  for (std::size_t c = 0; c < sizes.size(); ++c)
    if (sizes[c] == 0) unseen.push_back(static_cast<std::int64_t>(c));
  return unseen;
}

/// "0, 7": at most the first eight.
[[nodiscard]] inline std::string listed(const std::vector<std::int64_t>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size() && i < 8; ++i) text += (i ? ", " : "") + std::to_string(numbers[i]);
  return numbers.size() > 8 ? text + " and " + std::to_string(numbers.size() - 8) + " more" : text;
}

/// Where pictures come class after class, as those of a folder do, the first ones would all be of one class: they are put
/// into `data::fair_order`, and that is printed. Pictures in another order stay as they are.
inline void take_turns_of_classes(data::ImageDataset& dataset) {
  if (dataset.labels.empty() || dataset.labels.front() == dataset.labels.back() ||
      !std::is_sorted(dataset.labels.begin(), dataset.labels.end()))
    return;
  dataset = data::subset(dataset, data::fair_order(dataset));
  std::printf("pictures are counted in turns of the classes, as they come class after class\n");
}

/// Says which files of a folder of pictures are none, in one line, where there are any.
inline void print_left_out(const data::ImageDataset& set) {
  if (set.left_out.empty()) return;
  constexpr std::size_t most = 5;
  std::string names;
  for (std::size_t i = 0; i < set.left_out.size() && i < most; ++i)
    names += (i == 0 ? "" : ", ") + io::detail::in_quotes(set.left_out[i]);
  std::printf("%s\n", printable(io::detail::in_quotes(set.name) + ": left out as no pictures: " +
                               std::to_string(set.left_out.size()) + " (" + names +
                               (set.left_out.size() > most ? ", ...)" : ")"))
                          .c_str());
}

struct DatasetOptions {
  std::string path = data::fashion_mnist_folder().string();
  std::int64_t limit = 0;
  std::int64_t size = 0;
  std::int64_t channels = 0;
  std::string framing;
  bool mirror = false;
  std::int64_t shift = 0;

  void add_to(CommandLine& line) {
    line.add("--data", path,
             "folder of IDX files (train-images-idx3-ubyte.gz and so on), folder of pictures (or of a folder for each "
             "class), or file of pictures with captions (make_emoji_dataset)");
    line.add<std::int64_t>("--limit", limit,
                           "use only that many pictures, of each class as many as of another, within it at random but "
                           "always the same; 0: all",
                           0, 1'000'000'000);
    line.add<std::int64_t>("--size", size, "height and width that pictures of a folder get; 0: 32", 0, 4096);
    line.add<std::int64_t>("--channels", channels, "1: pictures of a folder become grey; 3 and 0: coloured", 0, 3);
    line.add("--framing", framing,
             "pictures of a folder that are not square: crop (where nothing is given), fit (white beside them), stretch")
        ->check(CLI::IsMember({"crop", "fit", "stretch"}));
    line.add("--mirror,!--no-mirror", mirror, "show half of the pictures mirrored, others in each epoch");
    line.add<std::int64_t>("--shift", shift, "move pictures by up to that many pixels each way, anew in each epoch", 0,
                           4096);
  }

  /// Loads the pictures, and prints what was decided about them: which are taken, how they are made alike, which classes
  /// have none. \throw as `data::load_dataset` does
  [[nodiscard]] data::ImageDataset load(data::Split split) const {
    data::LoadOptions options{.split = split, .size = {}, .channels = {}};
    if (size > 0) options.size = size;
    if (channels > 0) options.channels = channels;
    if (framing == "crop") options.framing = data::Framing::crop;
    if (framing == "fit") options.framing = data::Framing::fit;
    if (framing == "stretch") options.framing = data::Framing::stretch;
    data::ImageDataset dataset = data::load_dataset(path, options);
    print_left_out(dataset);
    std::string said;
    if (data::is_picture_folder(path))
      said += std::string(", ") + (framing == "fit" ? "fitted into" : framing == "stretch" ? "stretched to" : "cropped to") +
              " squares and resized to " + std::to_string(dataset.height()) + "x" + std::to_string(dataset.width()) +
              (dataset.channels() == 1 ? ", grey" : ", in colour");
    if (limit > 0 && limit < dataset.size()) {
      said += "; " + std::to_string(limit) + " of them are taken, " +
              (dataset.labels.empty() ? "at random" : "of each class as many as of another");
      const std::int64_t all = dataset.size();
      dataset = data::fair_part(dataset, limit);
      said = std::to_string(all) + " pictures" + said;
    } else if (!said.empty()) {
      said = std::to_string(dataset.size()) + " pictures" + said;
    }
    if (!said.empty()) std::printf("%s: %s\n", split == data::Split::train ? "data" : "test data", printable(said).c_str());
    if (const auto unseen = unseen_classes(dataset); !unseen.empty() && split == data::Split::train)
      std::printf("classes: %lld, of which these have no picture and are not painted: %s\n",
                  static_cast<long long>(classes_of(dataset)), printable(listed(unseen)).c_str());
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
