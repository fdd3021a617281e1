/// \file
/// PBM, PGM and PPM pictures, in ASCII (P1 to P3) and binary (P4 to P6): https://netpbm.sourceforge.net/doc/pnm.html.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/decoded_picture.hpp"

namespace easy_diffusion::io::detail {

/// Reads the first picture of a PNM file.
class PnmReader {
 public:
  PnmReader(std::string_view text, const PictureRequest& request) : text_(text), request_(request) {}

  /// \pre the text starts with P1 to P6 \throw FormatError naming the file
  DecodedPicture read() {
    const int kind = text_[1] - '0';
    const bool ascii = kind <= 3;
    const bool bits = kind % 3 == 1;
    DecodedPicture result;
    result.channels = kind % 3 == 0 ? 3 : 1;
    result.width = number("width", 1, most);
    result.height = number("height", 1, most);
    result.maximum = bits ? 1 : static_cast<int>(number("maximum", 1, 65535));
    if (!ascii && at_ < text_.size()) ++at_;  // one white space

    // Nothing in it is compressed: a header cannot ask for more than the file holds.
    const std::int64_t sample_bytes = result.maximum > 255 ? 2 : 1;
    const std::int64_t row = result.width * result.channels;
    const auto left = static_cast<std::int64_t>(text_.size() - at_);
    const std::int64_t row_bytes = bits ? (ascii ? row : (row + 7) / 8) : ascii ? 2 * row - 1 : row * sample_bytes;
    if (left / row_bytes < result.height) throw_early_end(request_.file, "PNM");
    request_.ask(result.width, result.height, result.channels, sample_bytes);
    result.allocate(row * result.height * sample_bytes, request_.file);

    std::int64_t i = 0;
    for (std::int64_t y = 0; y < result.height; ++y) {
      for (std::int64_t x = 0; x < row; ++x, ++i) {
        const int value = ascii  ? (bits ? 1 - digit() : static_cast<int>(number("number", 0, result.maximum)))
                          : bits ? 1 - ((byte(static_cast<std::size_t>(x / 8)) >> (7 - x % 8)) & 1)
                                 : binary(static_cast<std::size_t>(x * sample_bytes), sample_bytes == 2);
        if (value > result.maximum)
          throw_damaged(request_.file, "PNM",
                        "expected numbers up to " + std::to_string(result.maximum) + ", got " + std::to_string(value));
        if (sample_bytes == 2)
          static_cast<std::uint16_t*>(result.pixels.get())[i] = static_cast<std::uint16_t>(value);
        else
          static_cast<std::uint8_t*>(result.pixels.get())[i] = static_cast<std::uint8_t>(value);
      }
      if (!ascii) at_ += static_cast<std::size_t>(row_bytes);
    }
    return result;
  }

 private:
  static constexpr std::int64_t most = 0x7FFFFFFF;

  static bool is_blank(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
  static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

  /// Past white space and comments. \throw FormatError at the end
  void skip() {
    while (at_ < text_.size() && (is_blank(text_[at_]) || text_[at_] == '#')) {
      if (text_[at_] == '#')
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      else
        ++at_;
    }
    if (at_ == text_.size()) throw_early_end(request_.file, "PNM");
  }
  std::int64_t number(const char* what, std::int64_t low, std::int64_t high) {
    skip();
    const std::size_t start = at_;
    std::int64_t value = 0;
    for (; at_ < text_.size() && is_digit(text_[at_]) && value <= high; ++at_) value = 10 * value + (text_[at_] - '0');
    if (at_ == start || value < low || value > high)
      throw_damaged(request_.file, "PNM",
                    std::string(what) + ": expected " + std::to_string(low) + " to " + std::to_string(high));
    return value;
  }
  /// One bit in ASCII; they need nothing between them.
  int digit() {
    skip();
    const char c = text_[at_++];
    if (c != '0' && c != '1') throw_damaged(request_.file, "PNM", "expected 0 or 1");
    return c - '0';
  }
  [[nodiscard]] int byte(std::size_t offset) const noexcept { return static_cast<unsigned char>(text_[at_ + offset]); }
  [[nodiscard]] int binary(std::size_t offset, bool wide) const noexcept {
    return wide ? 256 * byte(offset) + byte(offset + 1) : byte(offset);
  }

  std::string_view text_;
  const PictureRequest& request_;
  std::size_t at_ = 2;
};

}  // namespace easy_diffusion::io::detail
