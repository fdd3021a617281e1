#include "easy_diffusion/data/fashion_mnist.hpp"

#include <array>
#include <cstdint>
#include <string>

#include "easy_diffusion/data/load.hpp"

#include "io/file_tools.hpp"
#include "support/skip.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::Split;

namespace {

/// A small set in the manner of MNIST: `count` pictures of 2 x 3 and so many labels.
std::filesystem::path small_set(const std::string& name, std::uint32_t count, std::uint32_t labels) {
  const auto folder = scratch_folder(name);
  std::string pixels;
  for (std::uint32_t i = 0; i < 6 * count; ++i) pixels += static_cast<char>(i);
  std::string classes;
  for (std::uint32_t i = 0; i < labels; ++i) classes += static_cast<char>(i % 3);
  spill(folder / "train-images-idx3-ubyte.gz", gzip(idx_file(8, {count, 2, 3}, pixels)));
  spill(folder / "train-labels-idx1-ubyte.gz", gzip(idx_file(8, {labels}, classes)));
  return folder;
}

std::string refused(const std::filesystem::path& folder, Split split = Split::train) {
  return refusal<Error>([&] { static_cast<void>(data::load_idx_folder(folder, split)); });
}

}  // namespace

TEST_CASE("IDX folders: pictures, labels and names", "[data]") {
  const auto set = data::load_idx_folder(small_set("data_small", 4, 4), Split::train);
  CHECK(set.images.shape() == Shape{4, 2, 3, 1});
  CHECK(set.size() == 4);
  CHECK(set.height() == 2);
  CHECK(set.width() == 3);
  CHECK(set.channels() == 1);
  CHECK(set.images[7] == 7);
  CHECK(set.labels == std::vector<std::int64_t>{0, 1, 2, 0});
  CHECK(set.class_names == std::vector<std::string>{"0", "1", "2"});
}

TEST_CASE("IDX folders: plain files, dotted names, colour, no labels", "[data]") {
  const auto folder = scratch_folder("data_plain");
  spill(folder / "t10k-images.idx3-ubyte", idx_file(8, {2, 1, 1}, "ab"));
  spill(folder / "t10k-labels.idx1-ubyte", idx_file(8, {2}, std::string("\1\0", 2)));
  const auto set = data::load_idx_folder(folder, Split::test, {"no", "yes"});
  CHECK(set.labels == std::vector<std::int64_t>{1, 0});
  CHECK(set.class_names == std::vector<std::string>{"no", "yes"});
  spill(folder / "train-images-idx4-ubyte", idx_file(8, {2, 1, 1, 3}, "abcdef"));
  const auto colour = data::load_idx_folder(folder, Split::train);
  CHECK(colour.images.shape() == Shape{2, 1, 1, 3});
  CHECK(colour.labels.empty());
  CHECK(colour.class_names.empty());
}

TEST_CASE("IDX folders: a folder where a file of that name could be", "[data]") {
  const auto folder = small_set("data_folders", 4, 4);
  // What an archive is unpacked into, beside the file; empty, or with the file in it.
  std::filesystem::rename(folder / "train-images-idx3-ubyte.gz", folder / "train-images.idx3-ubyte.gz");
  std::filesystem::create_directory(folder / "train-images-idx3-ubyte.gz");
  std::filesystem::create_directory(folder / "train-images-idx3-ubyte");
  std::filesystem::rename(folder / "train-labels-idx1-ubyte.gz", folder / "train-labels-idx1-ubyte");
  std::filesystem::create_directory(folder / "train-labels-idx1-ubyte.gz");
  const auto set = data::load_idx_folder(folder, Split::train);
  CHECK(set.size() == 4);
  CHECK(set.labels == std::vector<std::int64_t>{0, 1, 2, 0});
  // A class of pictures may be called so.
  const auto pictures = scratch_folder("data_folders_of_pictures");
  std::filesystem::create_directory(pictures / "train-images-idx3-ubyte");
  CHECK_FALSE(data::detail::has_idx_files(pictures));
}

TEST_CASE("IDX folders: refusals", "[data]") {
  const auto folder = scratch_folder("data_bad");
  CHECK_THAT(refused(folder / "none"),
             ContainsSubstring((folder / "none").string()) && ContainsSubstring("there is none"));
  CHECK_THAT(refused(folder), ContainsSubstring("there is no train-images-idx3-ubyte or .gz in it"));
  CHECK_THAT(refused(folder, Split::test), ContainsSubstring("t10k-images-idx3-ubyte"));
  CHECK_THAT(refused(spill(folder / "file", "x")), ContainsSubstring("got a file"));
  CHECK_THAT(refused(small_set("data_bad", 4, 3)),
             ContainsSubstring("train-labels-idx1-ubyte.gz: expected 4 labels, one for each picture of "
                               "train-images-idx3-ubyte.gz, got 3"));
  CHECK_THAT(refused(small_set("data_bad", 0, 0)),
             ContainsSubstring("expected at least one picture, got [0, 2, 3, 1]"));
  const auto set = small_set("data_bad", 4, 4);
  CHECK_THAT(refusal<FormatError>([&] {
               static_cast<void>(data::load_idx_folder(set, Split::train, {"a", "b"}));
             }),
             ContainsSubstring("expected labels from 0 to 1, got 2"));
  spill(set / "train-labels-idx1-ubyte.gz", idx_file(8, {4, 1}, "abcd"));
  CHECK_THAT(refused(set), ContainsSubstring("expected labels [N], got [4, 1]"));
  spill(set / "train-images-idx3-ubyte.gz", idx_file(8, {4}, "abcd"));
  CHECK_THAT(refused(set), ContainsSubstring("expected pictures [N, H, W] or [N, H, W, C], got [4]"));
  spill(set / "train-images-idx3-ubyte.gz", gzip(idx_file(8, {4, 2, 3}, std::string(24, 'x'))).substr(0, 30));
  CHECK_THAT(refused(set), ContainsSubstring("train-images-idx3-ubyte.gz: the gzip stream ends early"));
}

TEST_CASE("Fashion-MNIST: the message says what to install", "[data]") {
  const auto missing = scratch_folder("data_none") / "none";
  CHECK_THAT(
      refusal<IoError>([&] { static_cast<void>(data::load_fashion_mnist(Split::train, missing)); }),
      ContainsSubstring(missing.string()) && ContainsSubstring("dataset-fashion-mnist") && ContainsSubstring("--data"));
}

TEST_CASE("Fashion-MNIST: as Debian installs it", "[data]") {
  if (!std::filesystem::exists(data::fashion_mnist_folder())) {
    skip("the package dataset-fashion-mnist is not installed");
    return;
  }
  const auto train = data::load_fashion_mnist();
  const auto test = data::load_fashion_mnist(Split::test);
  CHECK(train.images.shape() == Shape{60000, 28, 28, 1});
  CHECK(test.images.shape() == Shape{10000, 28, 28, 1});
  for (const auto* set : {&train, &test}) {
    std::array<std::int64_t, 10> counts{};
    for (const std::int64_t label : set->labels) ++counts[static_cast<std::size_t>(label)];
    for (const std::int64_t count : counts) CHECK(count == set->size() / 10);
  }
  CHECK(train.class_names.at(static_cast<std::size_t>(train.labels.at(0))) == "Ankle boot");
  double sum = 0;
  for (const std::uint8_t value : train.images) sum += value;
  CHECK(sum / static_cast<double>(train.images.size()) / 255.0 == Approx(0.2860).margin(1e-4));
}
