/// \file
/// Pictures with captions, in one file: safetensors with the tensors `images` (U8 [N, H, W, C]) and, where there are
/// classes, `labels` (I64 [N]). The metadata has texts as JSON arrays: `names.<language>` (N names),
/// `keywords.<language>` (N arrays), `class_names`, `ids` (N short names of the pictures), and as they are `source` and
/// `format`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/io/json.hpp"
#include "easy_diffusion/io/safetensors.hpp"

namespace easy_diffusion::data {

/// What a picture shows, in one language.
struct Caption {
  std::string name;
  std::vector<std::string> keywords;
  friend bool operator==(const Caption&, const Caption&) = default;
};

/// Pictures with a caption each in every language.
struct CaptionDataset {
  ImageDataset pictures;                                 ///< labels are the groups, where there are any
  std::map<std::string, std::vector<Caption>> captions;  ///< language ("en", "zh") -> [N]
  std::vector<std::string> ids;                          ///< [N], a text that stands for each picture; or none
  std::string source;                                    ///< where it comes from, and under which licence

  /// \throw FormatError naming the set and the language, unless the pictures are grey or coloured and as
  ///        `ImageDataset::validate` wants them, there is a caption for each in at least one language, no name or keyword
  ///        is empty or not UTF-8, and ids are distinct
  void validate() const {
    pictures.validate();
    const auto fail = [&](const std::string& what) { throw FormatError(pictures.name + ": " + what); };
    const auto expect_count = [&](const std::string& of_what, std::size_t count) {
      if (count != static_cast<std::size_t>(pictures.size()))
        fail("expected " + of_what + " for each of the " + std::to_string(pictures.size()) + " pictures, got " +
             std::to_string(count));
    };
    const auto expect_text = [&](const std::string& text, const std::string& of_what) {
      if (text.empty()) fail(of_what + ": expected a text, got an empty one");
      if (!io::detail::is_utf8(text)) fail(of_what + ": " + io::detail::in_quotes(text) + " is not UTF-8");
    };
    if (pictures.channels() != 1 && pictures.channels() != 3)
      fail("expected pictures of 1 or 3 channels, got " + pictures.images.shape().to_string());
    for (const std::string& name : pictures.class_names) expect_text(name, "class names");
    if (captions.empty()) fail("expected captions in at least one language, got none");
    for (const auto& [language, texts] : captions) {
      expect_text(language, "languages");
      expect_count("a caption in " + language, texts.size());
      for (const Caption& caption : texts) {
        expect_text(caption.name, "captions in " + language);
        for (const std::string& keyword : caption.keywords) expect_text(keyword, "keywords in " + language);
      }
    }
    if (ids.empty()) return;
    expect_count("an id", ids.size());
    std::set<std::string> seen;
    for (const std::string& id : ids) {
      expect_text(id, "ids");
      if (!seen.insert(id).second) fail("the id " + io::detail::in_quotes(id) + " is there twice");
    }
  }
};

namespace detail {

inline constexpr const char* caption_format = "easy_diffusion pictures with captions, version 1";

/// Texts of a file's metadata: a JSON array of strings, or of arrays of strings.
class CaptionTexts {
 public:
  CaptionTexts(const io::SafetensorsFile& file, const std::string& key)
      : where_(file.path() + ": metadata " + key), json_(io::parse_json(file.metadata(key), where_, "a JSON array")) {
    if (!json_.is_array()) throw FormatError(where_ + ": expected a JSON array");
  }
  [[nodiscard]] std::vector<std::string> texts() const { return texts_of(json_); }
  [[nodiscard]] std::vector<std::vector<std::string>> lists() const {
    std::vector<std::vector<std::string>> result;
    for (const nlohmann::json& list : json_) {
      if (!list.is_array()) throw FormatError(where_ + ": expected an array of arrays of texts");
      result.push_back(texts_of(list));
    }
    return result;
  }

 private:
  [[nodiscard]] std::vector<std::string> texts_of(const nlohmann::json& array) const {
    std::vector<std::string> result;
    for (const nlohmann::json& text : array) {
      if (!text.is_string()) throw FormatError(where_ + ": expected texts");
      result.push_back(text.get<std::string>());
    }
    return result;
  }

  std::string where_;
  nlohmann::json json_;
};

}  // namespace detail

/// Writes the file, atomically; equal sets give equal bytes. `pictures.name` is not kept.
/// \throw FormatError as `CaptionDataset::validate` does \throw IoError naming the file and the reason
inline void save_caption_dataset(const std::filesystem::path& path, const CaptionDataset& set) {
  set.validate();
  io::Metadata metadata{{"format", detail::caption_format}, {"source", set.source}};
  if (!set.ids.empty()) metadata["ids"] = nlohmann::json(set.ids).dump();
  if (!set.pictures.class_names.empty()) metadata["class_names"] = nlohmann::json(set.pictures.class_names).dump();
  for (const auto& [language, captions] : set.captions) {
    nlohmann::json names = nlohmann::json::array();
    nlohmann::json keywords = nlohmann::json::array();
    for (const Caption& caption : captions) {
      names.push_back(caption.name);
      keywords.push_back(caption.keywords);
    }
    metadata["names." + language] = names.dump();
    metadata["keywords." + language] = keywords.dump();
  }
  std::vector<io::SafetensorsEntry> entries{{"images", set.pictures.images}};
  Tensor<std::int64_t> labels;
  if (!set.pictures.labels.empty()) {
    labels = Tensor<std::int64_t>({set.pictures.size()});
    std::copy(set.pictures.labels.begin(), set.pictures.labels.end(), labels.begin());
    entries.emplace_back("labels", labels);
  }
  io::write_safetensors(path, entries, metadata);
}

/// Reads such a file, opened.
/// \throw FormatError naming the file, expected and got: another format, a tensor or text that is missing or that the
///        format does not know, a dtype or shape that is another, and as `CaptionDataset::validate` does
[[nodiscard]] inline CaptionDataset load_caption_dataset(const io::SafetensorsFile& file) {
  const auto fail = [&](const std::string& what) { throw FormatError(file.path() + ": " + what); };
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != detail::caption_format)
    fail("expected a file of the format '" + std::string(detail::caption_format) + "', got " +
         (format == file.metadata().end() ? "one without a format" : io::detail::in_quotes(format->second)));
  for (const std::string& name : file.names())
    if (name != "images" && name != "labels")
      fail("expected the tensors images and labels, got " + io::detail::in_quotes(name));
  if (file.dtype("images") != io::ElementType::u8)
    fail("images: expected U8, got " + std::string(to_string(file.dtype("images"))));

  CaptionDataset set;
  set.pictures.name = file.path();
  set.pictures.images = file.read<std::uint8_t>("images");
  if (file.contains("labels")) {
    if (file.shape("labels").rank() != 1) fail("labels: expected a shape [N], got " + file.shape("labels").to_string());
    const auto labels = file.read<std::int64_t>("labels");
    set.pictures.labels.assign(labels.begin(), labels.end());
  }
  for (const auto& [key, text] : file.metadata()) {
    if (key == "source") {
      set.source = text;
    } else if (key == "ids") {
      set.ids = detail::CaptionTexts(file, key).texts();
    } else if (key == "class_names") {
      set.pictures.class_names = detail::CaptionTexts(file, key).texts();
    } else if (key.starts_with("names.")) {
      const std::string language = key.substr(6);
      auto names = detail::CaptionTexts(file, key).texts();
      auto keywords = detail::CaptionTexts(file, "keywords." + language).lists();
      if (names.size() != keywords.size())
        fail("expected keywords." + language + " for each of the " + std::to_string(names.size()) + " names, got " +
             std::to_string(keywords.size()));
      std::vector<Caption>& captions = set.captions[language];
      for (std::size_t i = 0; i < names.size(); ++i) captions.push_back({std::move(names[i]), std::move(keywords[i])});
    } else if (key.starts_with("keywords.")) {
      static_cast<void>(file.metadata("names." + key.substr(9)));  // refuses keywords without names
    } else if (key != "format") {
      fail("metadata " + io::detail::in_quotes(key) + " is not of this format");
    }
  }
  set.validate();
  return set;
}

/// The same of a file by its name. \throw IoError when it cannot be read \throw FormatError as above
[[nodiscard]] inline CaptionDataset load_caption_dataset(const std::filesystem::path& path) {
  return load_caption_dataset(io::SafetensorsFile::open(path));
}

}  // namespace easy_diffusion::data
