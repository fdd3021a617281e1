#include "easy_diffusion/data/caption_dataset.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/pictures.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::CaptionDataset;
using data::load_caption_dataset;
using data::save_caption_dataset;

namespace {

CaptionDataset fruit() {
  CaptionDataset set;
  set.pictures.name = "fruit";
  set.pictures.images = speckled({3, 4, 4, 3}, 5);
  set.pictures.labels = {0, 1, 0};
  set.pictures.class_names = {"sweet & red", "\"sour\""};
  set.captions["en"] = {{"red apple", {"apple", "fruit"}}, {"lemon", {}}, {"cherries", {"fruit"}}};
  set.captions["zh"] = {{"红苹果", {"苹果", "水果"}}, {"柠檬", {"水果"}}, {"樱桃", {}}};
  set.ids = {"🍎", "🍋", "🍒"};
  set.source = "made for a test";
  return set;
}

/// What loading says after one thing of the file was changed.
std::string refused(const std::function<void(io::Metadata&, std::vector<io::SafetensorsEntry>&)>& change) {
  const auto path = scratch_folder("captions_bad") / "set.safetensors";
  save_caption_dataset(path, fruit());
  const auto file = io::SafetensorsFile::open(path);
  io::Metadata metadata = file.metadata();
  const auto images = file.read<std::uint8_t>("images");
  const auto labels = file.read<std::int64_t>("labels");
  std::vector<io::SafetensorsEntry> entries{{"images", images}, {"labels", labels}};
  change(metadata, entries);
  io::write_safetensors(path, entries, metadata);
  const std::string message = refusal<FormatError>([&] { static_cast<void>(load_caption_dataset(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

std::string refused_text(const std::string& key, const std::string& text) {
  return refused([&](io::Metadata& metadata, auto&) { metadata[key] = text; });
}

std::string refused_without(const std::string& key) {
  return refused([&](io::Metadata& metadata, auto&) { CHECK(metadata.erase(key) == 1); });
}

std::string invalid(const std::function<void(CaptionDataset&)>& change) {
  CaptionDataset set = fruit();
  change(set);
  const auto path = scratch_folder("captions_invalid") / "set.safetensors";
  const std::string message = refusal<FormatError>([&] { save_caption_dataset(path, set); });
  CHECK_FALSE(std::filesystem::exists(path));
  return message;
}

}  // namespace

TEST_CASE("captions: a set comes back, with equal bytes for an equal set", "[data]") {
  const auto folder = scratch_folder("captions");
  const CaptionDataset set = fruit();
  save_caption_dataset(folder / "a.safetensors", set);
  save_caption_dataset(folder / "b.safetensors", set);
  CHECK(slurp(folder / "a.safetensors") == slurp(folder / "b.safetensors"));
  const CaptionDataset back = load_caption_dataset(folder / "a.safetensors");
  CHECK(back.pictures.name == (folder / "a.safetensors").string());
  CHECK(back.pictures.images.shape() == set.pictures.images.shape());
  CHECK(std::equal(set.pictures.images.begin(), set.pictures.images.end(), back.pictures.images.begin()));
  CHECK(back.pictures.labels == set.pictures.labels);
  CHECK(back.pictures.class_names == set.pictures.class_names);
  CHECK(back.captions == set.captions);
  CHECK(back.ids == set.ids);
  CHECK(back.source == set.source);
}

TEST_CASE("captions: one language, no labels and no ids will do", "[data]") {
  CaptionDataset set = fruit();
  set.pictures.images = speckled({3, 4, 4, 1}, 5);
  set.pictures.labels.clear();
  set.pictures.class_names.clear();
  set.captions.erase("zh");
  set.ids.clear();
  const auto path = scratch_folder("captions_bare") / "set.safetensors";
  save_caption_dataset(path, set);
  const CaptionDataset back = load_caption_dataset(path);
  CHECK(back.pictures.labels.empty());
  CHECK(back.ids.empty());
  CHECK(back.captions == set.captions);
}

TEST_CASE("captions: a set that is not whole is not written", "[data]") {
  CHECK_THAT(invalid([](auto& set) { set.captions.clear(); }),
             ContainsSubstring("fruit: expected captions in at least one"));
  CHECK_THAT(invalid([](auto& set) { set.captions["zh"].pop_back(); }),
             ContainsSubstring("expected a caption in zh for each of the 3 pictures, got 2"));
  CHECK_THAT(invalid([](auto& set) { set.captions["en"][1].name = ""; }), ContainsSubstring("captions in en"));
  CHECK_THAT(invalid([](auto& set) { set.captions["zh"][0].keywords[1] = ""; }), ContainsSubstring("keywords in zh"));
  CHECK_THAT(invalid([](auto& set) { set.captions["en"][0].name = "\xFF"; }), ContainsSubstring("not UTF-8"));
  CHECK_THAT(invalid([](auto& set) { set.pictures.class_names[0] = "\xFF"; }), ContainsSubstring("not UTF-8"));
  CHECK_THAT(invalid([](auto& set) { set.ids.pop_back(); }), ContainsSubstring("expected an id for each of the 3"));
  CHECK_THAT(invalid([](auto& set) { set.ids[2] = set.ids[0]; }), ContainsSubstring("is there twice"));
  CHECK_THAT(invalid([](auto& set) { set.pictures.labels[0] = 2; }),
             ContainsSubstring("expected labels from 0 to 1, got 2"));
  CHECK_THAT(invalid([](auto& set) {
               set.pictures.images = speckled({3, 4, 4, 2}, 1);
             }),
             ContainsSubstring("1 or 3 channels, got [3, 4, 4, 2]"));
}

TEST_CASE("captions: a file that is not of the format is refused", "[data]") {
  CHECK_THAT(refused_without("format"), ContainsSubstring("got one without a format"));
  CHECK_THAT(refused_text("format", "easy_diffusion pictures with captions, version 2"),
             ContainsSubstring("version 2'"));
  CHECK_THAT(refused_without("keywords.zh"), ContainsSubstring("'keywords.zh' is missing"));
  CHECK_THAT(refused_without("names.zh"), ContainsSubstring("'names.zh' is missing"));
  CHECK_THAT(refused_text("colour", "red"), ContainsSubstring("'colour' is not of this format"));
  CHECK_THAT(refused_text("names.en", "[\"a\", \"b\""), ContainsSubstring("metadata names.en: expected a JSON array"));
  CHECK_THAT(refused_text("names.en", "{}"), ContainsSubstring("expected a JSON array"));
  CHECK_THAT(refused_text("names.en", "[\"a\", \"b\", 3]"), ContainsSubstring("expected texts"));
  CHECK_THAT(refused_text("names.en", "[\"a\", \"b\"]"),
             ContainsSubstring("expected keywords.en for each of the 2 names, got 3"));
  CHECK_THAT(refused_text("keywords.en", "[\"a\", \"b\", \"c\"]"), ContainsSubstring("expected an array of arrays"));
  CHECK_THAT(refused_text("keywords.en", "[[], [[]], []]"), ContainsSubstring("expected texts"));
  CHECK_THAT(refused_text("class_names", "[\"only one\"]"), ContainsSubstring("expected labels from 0 to 0, got 1"));
  CHECK_THAT(refused_text("ids", "[]]"), ContainsSubstring("metadata ids: expected a JSON array"));

  const Tensor<std::int32_t> numbers({3, 4, 4, 3});
  const Tensor<std::int64_t> table({3, 1});
  const Tensor<std::int64_t> two({2});
  const Tensor<float> floats({3});
  CHECK_THAT(refused([&](auto&, auto& entries) {
               entries[0] = {"images", numbers};
             }),
             ContainsSubstring("images: expected U8, got I32"));
  CHECK_THAT(refused([&](auto&, auto& entries) { entries.erase(entries.begin()); }),
             ContainsSubstring("'images' is missing"));
  CHECK_THAT(refused([&](auto&, auto& entries) {
               entries[1] = {"labels", table};
             }),
             ContainsSubstring("labels: expected a shape [N], got [3, 1]"));
  CHECK_THAT(refused([&](auto&, auto& entries) { entries[1] = {"labels", two}; }), ContainsSubstring("got 2 labels"));
  CHECK_THAT(refused([&](auto&, auto& entries) { entries[1] = {"labels", floats}; }), ContainsSubstring("F32"));
  CHECK_THAT(refused([&](auto&, auto& entries) {
               entries.push_back({"weight", floats});
             }),
             ContainsSubstring("expected the tensors images and labels, got 'weight'"));
}

TEST_CASE("captions: damaged files are refused or hold a whole set", "[data]") {
  const auto folder = scratch_folder("captions_damaged");
  save_caption_dataset(folder / "whole.safetensors", fruit());
  const std::string whole = slurp(folder / "whole.safetensors");
  Dice dice(3);
  int refusals = 0;
  for (int i = 0; i < 300; ++i) {
    const auto path = spill(folder / "damaged.safetensors", mutated(whole, dice));
    try {
      load_caption_dataset(path).validate();
    } catch (const FormatError& error) {
      ++refusals;
      CHECK_THAT(error.what(), ContainsSubstring(path.string()));
    }
  }
  CHECK(refusals > 100);
}
