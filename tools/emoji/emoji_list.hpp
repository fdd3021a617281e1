/// \file
/// Unicode's list of emoji, emoji-test.txt: https://www.unicode.org/reports/tr51.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/absence.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/detail/safetensors_header.hpp"

namespace easy_diffusion::emoji {

/// The selector of the emoji style. Annotations leave it out.
inline constexpr std::uint32_t emoji_style = 0xFE0F;

struct Emoji {
  std::uint32_t code = 0;
  std::string text;       ///< UTF-8, without the selector
  std::size_t group = 0;  ///< in `EmojiList::groups`
};

struct EmojiList {
  std::vector<std::string> groups;
  std::vector<Emoji> emoji;  ///< those of a single code point, in the order of the file
};

namespace detail {

inline std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

/// "263A FE0F" \return false where it is no list of code points
inline bool read_codes(std::string_view text, std::vector<std::uint32_t>& codes) {
  codes.clear();
  while (!(text = trimmed(text)).empty()) {
    std::uint32_t code = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), code, 16);
    const auto length = static_cast<std::size_t>(result.ptr - text.data());
    if (result.ec != std::errc{} || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ||
        (length < text.size() && text[length] != ' '))
      return false;
    codes.push_back(code);
    text.remove_prefix(length);
  }
  return !codes.empty();
}

}  // namespace detail

/// \throw IoError saying why there is no such file, and which package of Debian has one
inline void expect_file(const std::filesystem::path& path, const std::string& package) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw IoError(path.string() + ": expected a file such as that of the package " + package + ", but " +
                  io::detail::absence(path));
}

/// Lines are `# group: NAME` and `CODE CODE... ; STATUS # comment`. Kept is what is fully qualified and, but for the
/// selector of the emoji style, one code point.
/// \throw IoError when the file cannot be read \throw FormatError naming the file and the line that is of another form
[[nodiscard]] inline EmojiList read_emoji_list(const std::filesystem::path& path) {
  expect_file(path, "unicode-data");
  const io::detail::MappedFile file(path);
  const auto bytes = file.bytes();
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EmojiList result;
  std::vector<std::uint32_t> codes;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = detail::trimmed(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    constexpr std::string_view group = "# group:";
    if (line.starts_with(group)) {
      result.groups.emplace_back(detail::trimmed(line.substr(group.size())));
      continue;
    }
    if (line.empty() || line.starts_with('#')) continue;
    const auto fail = [&](const std::string& expected) {
      throw FormatError(path.string() + ":" + std::to_string(number) + ": expected " + expected + ", got " +
                        io::detail::in_quotes(line));
    };
    const std::size_t semicolon = line.find(';');
    if (semicolon == std::string_view::npos || !detail::read_codes(line.substr(0, semicolon), codes))
      fail("'CODE CODE ... ; STATUS'");
    if (result.groups.empty()) fail("'# group: NAME' before the first emoji");
    const std::string_view status = detail::trimmed(line.substr(semicolon + 1, line.find('#') - semicolon - 1));
    std::erase(codes, emoji_style);
    if (status != "fully-qualified" || codes.size() != 1) continue;
    Emoji emoji{codes[0], {}, result.groups.size() - 1};
    io::detail::append_utf8(emoji.text, emoji.code);
    result.emoji.push_back(std::move(emoji));
  }
  if (result.emoji.empty()) throw FormatError(path.string() + ": expected a list of emoji, got none");
  return result;
}

}  // namespace easy_diffusion::emoji
