/// \file
/// JSON from outside: read with a limit on its depth, and shown in messages at a length that fits a line. nlohmann's own
/// functions that print, copy and compare call themselves for each level, and a hostile text has 200 000 of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::io {

/// Arrays and objects within each other that `parse_json` takes; what this library writes has four.
inline constexpr int json_max_depth = 64;

namespace detail {

/// Whether a text nests deeper than that, as far as it is JSON.
inline bool json_nests_deeper(std::string_view text, int most) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > most) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

/// A text as JSON, cut, on one line and without what a terminal obeys.
inline std::string shown_json_string(const std::string& text, std::size_t most) {
  std::string cut = text.substr(0, most);
  // Not within a character.
  if (cut.size() < text.size())
    while (!cut.empty() && (static_cast<unsigned char>(text[cut.size()]) & 0xC0U) == 0x80U) cut.pop_back();
  const std::string dumped =
      nlohmann::json(std::move(cut)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string result;
  for (std::size_t i = 0; i < dumped.size(); ++i) {  // U+007F to U+009F, which JSON leaves as they are
    const auto byte = static_cast<unsigned char>(dumped[i]);
    const bool second = byte == 0xC2 && i + 1 < dumped.size() && static_cast<unsigned char>(dumped[i + 1]) < 0xA0;
    if (!second && byte != 0x7F) {
      result += dumped[i];
      continue;
    }
    constexpr std::string_view digits = "0123456789abcdef";
    const auto code = second ? static_cast<unsigned char>(dumped[++i]) : byte;
    result += "\\u00";
    result += digits[code / 16];
    result += digits[code % 16];
  }
  return result;
}

/// Appends a value until the text is longer than `most`: how deep or long it is beyond that costs nothing.
inline void append_shown(std::string& text, const nlohmann::json& value, std::size_t most) {
  if (text.size() > most) return;
  if (value.is_string()) {
    text += shown_json_string(value.get_ref<const std::string&>(), most + 1);
  } else if (value.is_structured()) {
    text += value.is_array() ? '[' : '{';
    bool first = true;
    for (auto item = value.begin(); item != value.end() && text.size() <= most; ++item) {
      if (!std::exchange(first, false)) text += ',';
      if (value.is_object()) text += shown_json_string(item.key(), most + 1) + ':';
      append_shown(text, *item, most);
    }
    text += value.is_array() ? ']' : '}';
  } else {
    text += value.dump();
  }
}

}  // namespace detail

/// A value as it may stand in an error message: JSON on one line, at most about `most` bytes of it.
[[nodiscard]] inline std::string shown(const nlohmann::json& value, std::size_t most = 100) {
  std::string text;
  detail::append_shown(text, value, most);
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "...";
}

/// The JSON of a text; every text that comes from a file goes through here.
/// \param where    begins the error message, such as the file's name
/// \param expected what the text should be
/// \throw FormatError naming both and the first byte that does not fit; for a text that nests deeper than
///        `json_max_depth`, or has a number out of range
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text, const std::string& where,
                                               std::string_view expected = "JSON") {
  const auto refuse = [&](const std::string& got) {
    throw FormatError(where + ": expected " + std::string(expected) + ", got " + got);
  };
  if (detail::json_nests_deeper(text, json_max_depth))
    refuse("a text that nests deeper than " + std::to_string(json_max_depth) + " levels");
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    refuse("a text that is not JSON at byte " + std::to_string(error.byte));
  } catch (const nlohmann::json::exception&) { refuse("a number out of range"); }
  return {};
}

}  // namespace easy_diffusion::io
