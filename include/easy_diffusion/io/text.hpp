/// \file
/// Text from outside (names in files, options, messages) on its way to a terminal or into a file of comma-separated values,
/// where parts of it could be taken for commands.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "easy_diffusion/io/detail/safetensors_header.hpp"

namespace easy_diffusion::io {

namespace detail {

/// \pre utf8_length(text) > 0
inline std::uint32_t first_code_point(std::string_view text) {
  const std::size_t length = utf8_length(text);
  const auto lead = static_cast<unsigned char>(text[0]);
  std::uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  return code;
}

/// Characters that a terminal obeys instead of showing them: controls, ends of lines, and those that turn the direction of
/// writing, by which a text can be shown as another one.
inline bool is_command_character(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace detail

/// The text on one line of valid UTF-8 that moves no cursor: a line break becomes \n, another control character \t, \r or
/// \u and four hexadecimal digits, a byte that is no UTF-8 \x and two. What is printable stays as it is, a backslash too.
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t length = detail::utf8_length(text);
    char escape[16];
    if (length == 0) {
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(text[0])));
      result += escape;
      text.remove_prefix(1);
      continue;
    }
    const std::uint32_t code = detail::first_code_point(text);
    if (code == '\n' || code == '\t' || code == '\r') {
      result += code == '\n' ? "\\n" : code == '\t' ? "\\t" : "\\r";
    } else if (detail::is_command_character(code)) {
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(code));
      result += escape;
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return result;
}

/// The name of a file, likewise. (Not by conversion: a string would fit both.)
template <std::same_as<std::filesystem::path> Path>
[[nodiscard]] std::string printable(const Path& path) {
  return printable(std::string_view(path.native()));
}

/// As much of a text as fits a place: at most `longest` characters, the last of them "…" where something is left out.
/// \pre the text is UTF-8, `longest` > 0
[[nodiscard]] inline std::string shortened(std::string_view text, std::size_t longest) {
  std::size_t bytes = 0, before_last = 0, count = 0;
  while (bytes < text.size() && count < longest) {
    before_last = bytes;
    bytes += std::max<std::size_t>(1, detail::utf8_length(text.substr(bytes)));
    ++count;
  }
  if (bytes == text.size()) return std::string(text);
  return std::string(text.substr(0, before_last)) + "…";
}

/// The text as a field of a file of comma-separated values (RFC 4180): made printable, so that a record is a line, and in
/// quotes where it needs them. What a spreadsheet would compute (a text that begins with = + - @) gets ' in front, and so
/// does one that begins with ', which keeps the two apart.
[[nodiscard]] inline std::string csv_field(std::string_view text) {
  std::string plain = printable(text);
  if (!plain.empty() && std::string_view("=+-@'").find(plain[0]) != std::string_view::npos) plain.insert(0, 1, '\'');
  // Spaces at the ends belong to the text, but some readers take them away.
  if (plain.find_first_of(",\"") == std::string::npos && !plain.starts_with(' ') && !plain.ends_with(' ')) return plain;
  std::string result = "\"";
  for (const char c : plain) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

}  // namespace easy_diffusion::io
