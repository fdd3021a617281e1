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

/// Reads `<annotation cp="X" type="tts">name</annotation>` and `<annotation cp="X">keyword | keyword</annotation>`.
/// Captions without a name, and those that the language takes over from another, are left out.
/// \throw IoError where there is no such file \throw FormatError naming it where it is no such XML
[[nodiscard]] inline Annotations read_annotations(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw IoError(path.string() + ": there is no such file; it is in the package unicode-cldr-core");
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_file(path.c_str());
  if (!parsed)
    throw FormatError(path.string() + ": not XML: " + parsed.description() + " at byte " +
                      std::to_string(parsed.offset));
  Annotations result;
  for (const pugi::xml_node node : document.child("ldml").child("annotations").children("annotation")) {
    std::string_view text = detail::trimmed(node.child_value());
    const std::string character = detail::without_style(node.attribute("cp").value());
    if (character.empty()) throw FormatError(path.string() + ": expected <annotation cp=\"...\">, got one without cp");
    if (text.empty() || text == "↑↑↑") continue;
    data::Caption& caption = result[character];
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
  std::erase_if(result, [](const auto& entry) { return entry.second.name.empty(); });
  if (result.empty()) throw FormatError(path.string() + ": expected annotations of characters (CLDR), got none");
  return result;
}

}  // namespace easy_diffusion::emoji
