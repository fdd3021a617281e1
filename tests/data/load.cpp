#include "easy_diffusion/data/load.hpp"

#include <cstdint>
#include <string>

#include "data/pictures.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::load_dataset;
using data::LoadOptions;
using data::Split;

namespace {

LoadOptions of(Split split) { return {.split = split, .size = {}, .channels = {}}; }

std::string refused(const std::filesystem::path& path, const LoadOptions& options) {
  return refusal<Error>([&] { static_cast<void>(load_dataset(path, options)); });
}

}  // namespace

TEST_CASE("load: IDX files, where there are some", "[data]") {
  const auto folder = scratch_folder("load_idx");
  spill(folder / "t10k-images-idx3-ubyte", idx_file(8, {2, 1, 3}, "abcdef"));
  io::save_png(folder / "a.png", plain(40, 40, 3, 1));  // a preview
  CHECK(load_dataset(folder, of(Split::test)).images.shape() == Shape{2, 1, 3, 1});
  CHECK_THAT(refused(folder, of(Split::train)), ContainsSubstring("train-images-idx3-ubyte"));
  LoadOptions wanted = of(Split::test);
  wanted.size = 3;
  CHECK_THAT(refused(folder, wanted), ContainsSubstring("size: only a folder of pictures is converted: expected 3") &&
                                          ContainsSubstring("[2, 1, 3, 1]"));
  wanted.size = {};
  wanted.channels = 1;
  CHECK(load_dataset(folder, wanted).size() == 2);
  wanted.channels = 3;
  CHECK_THAT(refused(folder, wanted), ContainsSubstring("channels"));
  made(folder / "t10k-images-idx3-ubyte.gz");  // a folder where the packed file could be
  CHECK(load_dataset(folder, of(Split::test)).size() == 2);
}

TEST_CASE("load: pictures, with folders for training and testing or without", "[data]") {
  const auto folder = scratch_folder("load_pictures");
  io::save_png(made(folder / "train" / "a") / "1.png", plain(40, 40, 3, 1));
  io::save_png(folder / "train" / "a" / "2.png", plain(40, 40, 3, 2));
  CHECK_THAT(refused(folder, of(Split::test)), ContainsSubstring("expected the folders train and test in it"));
  CHECK_THAT(refused(folder, of(Split::train)), ContainsSubstring("train/a"));  // train as a class, with a folder in it
  io::save_png(made(folder / "test" / "a") / "1.png", plain(40, 40, 3, 3));
  const auto train = load_dataset(folder, of(Split::train));
  CHECK(train.images.shape() == Shape{2, 32, 32, 3});
  CHECK(train.class_names == std::vector<std::string>{"a"});
  const auto test = load_dataset(folder, of(Split::test));
  CHECK(test.size() == 1);
  CHECK(test.images[0] == 3);
  LoadOptions small = of(Split::train);
  small.size = 28;
  small.channels = 1;
  small.framing = data::Framing::fit;
  CHECK(load_dataset(folder / "train", small).images.shape() == Shape{2, 28, 28, 1});
}

TEST_CASE("load: a file of pictures with captions", "[data]") {
  const auto folder = scratch_folder("load_captions");
  data::CaptionDataset set;
  set.pictures.name = "set";
  set.pictures.images = speckled({2, 4, 4, 3}, 1);
  set.captions["en"] = {{"one", {}}, {"two", {}}};
  const auto path = folder / "set.safetensors";
  data::save_caption_dataset(path, set);
  CHECK(load_dataset(path, of(Split::train)).images.shape() == Shape{2, 4, 4, 3});
  CHECK_THAT(refused(path, of(Split::test)), ContainsSubstring("no pictures to test with"));
  CHECK_THAT(refused(spill(folder / "text", "some text"), of(Split::train)),
             ContainsSubstring("expected a safetensors file, got a text"));
  CHECK_THAT(refused(folder / "none", of(Split::train)),
             ContainsSubstring((folder / "none").string()) && ContainsSubstring("there is none"));
}
