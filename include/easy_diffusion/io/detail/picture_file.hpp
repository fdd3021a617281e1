/// \file
/// Which kind of picture a file is, by its content, and how it is decoded.
#pragma once

#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/decoded_picture.hpp"
#include "easy_diffusion/io/detail/file_kind.hpp"
#include "easy_diffusion/io/detail/pnm.hpp"
#include "easy_diffusion/io/detail/stb.hpp"

namespace easy_diffusion::io::detail {

inline constexpr std::string_view readable_pictures = "PNG, JPEG, BMP, GIF, PBM, PGM or PPM";
/// How many bytes from its start tell what a file is.
inline constexpr std::size_t picture_start = 64;

enum class PictureKind { none, png, jpeg, bmp, gif, pnm };

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// `count` bytes at `at`, the lowest first; zero behind the end.
inline std::int64_t little_endian(std::string_view text, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count && at + i < text.size(); ++i)
    value |= std::uint64_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
  return count == 4 ? std::int64_t{static_cast<std::int32_t>(static_cast<std::uint32_t>(value))}
                    : static_cast<std::int64_t>(value);
}

/// By content alone. \param bytes the file, or its first `picture_start` bytes
inline PictureKind picture_kind(std::span<const std::byte> bytes) {
  using std::string_view_literals::operator""sv;
  const std::string_view text = as_text(bytes);
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return PictureKind::png;
  if (text.starts_with("\xFF\xD8\xFF"sv)) return PictureKind::jpeg;
  if (text.starts_with("GIF87a"sv) || text.starts_with("GIF89a"sv)) return PictureKind::gif;
  if (text.starts_with("BM"sv)) {  // two letters are not much: the size of the header behind them too
    constexpr std::array<std::int64_t, 7> headers{12, 40, 52, 56, 64, 108, 124};
    if (std::find(headers.begin(), headers.end(), little_endian(text, 14, 4)) != headers.end()) return PictureKind::bmp;
  }
  if (text.size() > 2 && text[0] == 'P' && text[1] >= '1' && text[1] <= '6' &&
      "\t\n\v\f\r #"sv.find(text[2]) != std::string_view::npos)
    return PictureKind::pnm;
  return PictureKind::none;
}

/// The kind of a picture that is not read here, or nothing.
inline std::string_view unread_picture(std::span<const std::byte> bytes) {
  using std::string_view_literals::operator""sv;
  struct Known {
    std::size_t at;
    std::string_view start;
    std::string_view kind;
  };
  static constexpr Known all[] = {
      {8, "WEBP"sv, "a WebP picture"},
      {0, "II*\0"sv, "a TIFF picture"},
      {0, "MM\0*"sv, "a TIFF picture"},
      {4, "ftypavi"sv, "an AVIF picture"},
      {4, "ftyphei"sv, "a HEIC picture"},
      {4, "ftypmif1"sv, "a HEIF picture"},
      {0, "\xFF\x0A"sv, "a JPEG XL picture"},
      {4, "JXL \r\n"sv, "a JPEG XL picture"},
      {4, "jP  \r\n"sv, "a JPEG 2000 picture"},
      {0, "8BPS"sv, "a Photoshop picture"},
      {0, "P7\n"sv, "a PAM picture"},
      {0, "PF\n"sv, "a PFM picture"},
      {0, "Pf\n"sv, "a PFM picture"},
      {0, "<svg"sv, "an SVG drawing"},
  };
  const std::string_view text = as_text(bytes);
  for (const Known& known : all)
    if (text.size() >= known.at + known.start.size() && text.substr(known.at).starts_with(known.start)) return known.kind;
  return {};
}

/// \throw FormatError saying what was expected and what the file is instead
[[noreturn]] inline void throw_no_picture(std::span<const std::byte> bytes, const std::string& file) {
  const std::string expected = file + ": expected a picture (" + std::string(readable_pictures) + "), got ";
  if (const std::string_view kind = unread_picture(bytes); !kind.empty()) throw FormatError(expected + std::string(kind));
  if (const std::string kind = known_kind(bytes); !kind.empty()) throw FormatError(expected + kind);
  std::string start;
  for (const std::byte byte : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
    char two[4];
    std::snprintf(two, sizeof two, "%02x", std::to_integer<unsigned>(byte));
    start += (start.empty() ? "" : " ") + std::string(two);
  }
  throw FormatError(expected + "a file that starts with " + start);
}

/// What stb does not check of a BMP: that its rows are there. The size in the file's header is wrong in many, and says
/// nothing that the rows do not. \throw FormatError
inline void check_bmp(std::string_view text, const PictureRequest& request) {
  const bool old = little_endian(text, 14, 4) == 12;
  const std::int64_t width = old ? little_endian(text, 18, 2) : little_endian(text, 18, 4);
  const std::int64_t height = std::abs(old ? little_endian(text, 20, 2) : little_endian(text, 22, 4));
  const std::int64_t bits = little_endian(text, old ? 24 : 28, 2);
  const std::int64_t compression = old ? 0 : little_endian(text, 30, 4);
  if (text.size() < (old ? 26U : 54U)) throw_early_end(request.file, "BMP");
  if (compression != 0 && compression != 3)
    throw FormatError(request.file + ": expected a BMP picture that is not compressed, got compression " +
                      std::to_string(compression));
  request.ask(width, height, 4, 1);
  // Of the last row what fills it up to four bytes may be missing.
  const std::int64_t offset = little_endian(text, 10, 4);
  const std::int64_t needed = offset + (width * bits + 31) / 32 * 4 * (height - 1) + (width * bits + 7) / 8;
  if (offset < 0 || needed > static_cast<std::int64_t>(text.size())) throw_early_end(request.file, "BMP");
}

/// BMP and the first frame of a GIF.
inline DecodedPicture decode_by_stb(std::span<const std::byte> bytes, PictureKind kind, const PictureRequest& request) {
  const bool gif = kind == PictureKind::gif;
  const std::string_view text = as_text(bytes);
  if (bytes.size() > INT_MAX) throw FormatError(request.file + ": expected a picture below 2 GB");
  if (gif) {
    if (bytes.size() < 13) throw_early_end(request.file, "GIF");
    // Two pictures of four channels and a map of what was drawn.
    request.ask(little_endian(text, 6, 2), little_endian(text, 8, 2), 4, 1,
                5 * little_endian(text, 6, 2) * little_endian(text, 8, 2));
    check_gif(bytes, request.file);
  } else {
    check_bmp(text, request);
  }
  int width = 0;
  int height = 0;
  DecodedPicture result;
  result.pixels.reset(stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                            static_cast<int>(bytes.size()), &width, &height, &result.channels, 0));
  if (result.pixels == nullptr) {
    const char* reason = stbi_failure_reason();
    throw_damaged(request.file, gif ? "GIF" : "BMP", reason != nullptr ? reason : "no reason given");
  }
  result.width = width;
  result.height = height;
  return result;
}

/// \throw FormatError naming the file
inline DecodedPicture decode_picture(std::span<const std::byte> bytes, const PictureRequest& request) {
  switch (const PictureKind kind = picture_kind(bytes)) {
    case PictureKind::png: return decode_png(bytes, request);
    case PictureKind::jpeg: return decode_jpeg(bytes, request);
    case PictureKind::pnm: return PnmReader(as_text(bytes), request).read();
    case PictureKind::bmp:
    case PictureKind::gif: return decode_by_stb(bytes, kind, request);
    case PictureKind::none: break;
  }
  throw_no_picture(bytes, request.file);
}

}  // namespace easy_diffusion::io::detail
