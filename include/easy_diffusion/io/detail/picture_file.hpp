/// \file
/// What is checked of a picture file before its decoder sees it: the decoder takes much for a picture that is
/// none, and fills up what was cut off.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::io::detail {

[[noreturn]] inline void throw_early_end(const std::string& file, std::string_view format) {
  throw FormatError(file + ": the " + std::string(format) + " picture ends early");
}

/// Follows a PNG's chunks to the last one.
inline void check_png_chunks(std::string_view text, const std::string& file) {
  for (std::size_t at = 8;;) {
    if (text.size() < 12 || at > text.size() - 12) throw_early_end(file, "PNG");
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = 256 * length + static_cast<unsigned char>(text[at + i]);
    if (length > text.size() - at - 12) throw_early_end(file, "PNG");
    if (text.substr(at + 4, 4) == "IEND") return;
    at += 12 + length;
  }
}

/// \throw FormatError unless the file starts as a picture of a known format and is not obviously cut
inline void check_picture_file(std::span<const std::byte> bytes, const std::string& file) {
  using std::string_view_literals::operator""sv;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.empty()) throw FormatError(file + ": expected a picture, got an empty file");
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return check_png_chunks(text, file);
  if (text.starts_with("\xFF\xD8\xFF"sv)) {
    // Within the coded data FF is followed by 00 or a restart number, so the end marker stands for itself.
    const std::size_t scan = text.rfind("\xFF\xDA"sv);
    if (scan == std::string_view::npos || text.find("\xFF\xD9"sv, scan) == std::string_view::npos)
      throw_early_end(file, "JPEG");
    return;
  }
  if (text.starts_with("BM"sv)) {
    std::uint32_t size = 0;
    for (std::size_t i = 0; i < 4 && 2 + i < text.size(); ++i)
      size |= std::uint32_t{static_cast<unsigned char>(text[2 + i])} << (8 * i);
    if (text.size() < 26 || size > text.size()) throw_early_end(file, "BMP");
    return;
  }
  if (text.starts_with("GIF87a"sv) || text.starts_with("GIF89a"sv)) {
    const std::size_t last = text.find_last_not_of('\0');
    if (text[last] != ';') throw_early_end(file, "GIF");
    return;
  }
  if (text.starts_with("P5"sv) || text.starts_with("P6"sv)) return;
  std::string start;
  for (const std::byte byte : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    char two[4];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(byte));
    start += (start.empty() ? "" : " ") + std::string(two);
  }
  throw FormatError(file + ": expected a picture (PNG, JPEG, BMP, GIF, PGM or PPM), got a file that starts with " +
                    start);
}

}  // namespace easy_diffusion::io::detail
