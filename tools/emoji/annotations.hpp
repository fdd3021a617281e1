/// \file
/// Names and keywords of characters in a language, from the annotations of Unicode's CLDR.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

#include <pugixml.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/data/caption_dataset.hpp"

#include "emoji/emoji_list.hpp"

namespace easy_diffusion::emoji {

/// Character (UTF-8, without the selector of the emoji style) -> caption.
using Annotations = std::map<std::string, data::Caption>;

namespace detail {

inline std::string without_style(std::string text) {
  std::string selector;
  io::detail::append_utf8(selector, emoji_style);
  for (std::size_t at; (at = text.find(selector)) != std::string::npos;) text.erase(at, selector.size());
  return text;
}

}  // namespace detail

/// Adds what a file has: `<annotation cp="X" type="tts">name</annotation>` and
/// `<annotation cp="X">keyword | keyword</annotation>`. What the language takes over from another is left out.
/// \throw IoError where there is no such file \throw FormatError naming it where it is no such XML
inline void add_annotations(const std::filesystem::path& path, Annotations& annotations) {
  expect_file(path, "unicode-cldr-core");
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_file(path.c_str());
  if (!parsed)
    throw FormatError(path.string() + ": not XML: " + parsed.description() + " at byte " +
                      std::to_string(parsed.offset));
  const auto nodes = document.child("ldml").child("annotations").children("annotation");
  if (nodes.begin() == nodes.end())
    throw FormatError(path.string() + ": expected annotations of characters (CLDR), got none");
  for (const pugi::xml_node node : nodes) {
    const std::string character = detail::without_style(node.attribute("cp").value());
    if (character.empty()) throw FormatError(path.string() + ": expected <annotation cp=\"...\">, got one without cp");
    std::string_view text = detail::trimmed(node.child_value());
    if (text.empty() || text == "↑↑↑") continue;
    data::Caption& caption = annotations[character];
    if (std::string_view(node.attribute("type").value()) == "tts") {
      caption.name = text;
      continue;
    }
    while (!text.empty()) {
      const std::size_t bar = text.find('|');
      const std::string_view keyword = detail::trimmed(text.substr(0, bar));
      if (!keyword.empty()) caption.keywords.emplace_back(keyword);
      text.remove_prefix(bar == std::string_view::npos ? text.size() : bar + 1);
    }
  }
}

/// Captions of all characters that have a name, from `annotations/<language>.xml` and, where it is there,
/// `annotationsDerived/<language>.xml`. \throw as `add_annotations` does
[[nodiscard]] inline Annotations read_annotations(const std::filesystem::path& folder, const std::string& language) {
  Annotations result;
  add_annotations(folder / "annotations" / (language + ".xml"), result);
  const std::filesystem::path derived = folder / "annotationsDerived" / (language + ".xml");
  std::error_code ignored;
  if (std::filesystem::exists(derived, ignored)) add_annotations(derived, result);
  std::erase_if(result, [](const auto& entry) { return entry.second.name.empty(); });
  return result;
}

}  // namespace easy_diffusion::emoji
