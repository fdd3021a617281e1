/// \file
/// The header of a safetensors file: a small part of JSON, read strictly and written always the same way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/element_type.hpp"

namespace easy_diffusion::io::detail {

/// Length of the UTF-8 character at the start of `text`, 0 where there is none (RFC 3629: no overlong forms,
/// no surrogates, nothing above U+10FFFF).
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xC2 && lead < 0xE0   ? 2
                             : lead >= 0xE0 && lead < 0xF0 ? 3
                             : lead >= 0xF0 && lead < 0xF5 ? 4
                                                           : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) >= 0xA0)) return 0;
  if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) >= 0x90)) return 0;
  return length;
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

inline void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// In quotes, with the escapes that JSON demands and no others. \pre is_utf8(text)
inline std::string json_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view digits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(c);
      result += "\\u00";
      result += digits[byte / 16];
      result += digits[byte % 16];
    } else {
      result += c;
    }
  }
  return result + '"';
}

/// A tensor as the header lists it; its bytes are `[begin, end)` of the data behind the header.
struct TensorRecord {
  std::string name;
  ElementType type = ElementType::f32;
  Shape shape;
  std::string unusual;  ///< why this library cannot have it as a tensor, or empty; then there is neither type nor shape
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorRecord> tensors;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::size_t, std::less<>> index;  ///< name -> place in `tensors`
};

/// Reads `{"name": {"dtype": .., "shape": [..], "data_offsets": [.., ..]}, .., "__metadata__": {"key":
/// "text"}}`.
class SafetensorsHeaderParser {
 public:
  SafetensorsHeaderParser(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {}

  /// \throw FormatError naming the file and the byte or tensor
  SafetensorsHeader parse(std::uint64_t data_bytes) {
    for_each_member([&](std::string name) {
      if (name == "__metadata__") {
        if (std::exchange(seen_metadata_, true)) throw FormatError(file_ + ": __metadata__ is there twice");
        if (accept_word("null")) return;  // what readers elsewhere take for no metadata
        for_each_member([&](std::string key) {
          std::string value = string();
          if (!header_.metadata.emplace(key, std::move(value)).second)
            throw FormatError(file_ + ": __metadata__ has " + in_quotes(key) + " twice");
        });
      } else {
        if (!header_.index.emplace(name, 0).second)
          throw FormatError(file_ + ": tensor " + in_quotes(name) + " is there twice");
        header_.tensors.push_back(record(std::move(name)));
      }
    });
    skip_space();
    if (at_ != text_.size()) fail("the end of the header");
    check_layout(data_bytes);
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw FormatError(file_ + ": header, byte " + std::to_string(at_) + ": expected " + expected + ", got " +
                      (at_ < text_.size() ? in_quotes(text_.substr(at_, 1)) : std::string("its end")));
  }
  [[nodiscard]] char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void require(char c) {
    if (!accept(c)) fail("'" + std::string(1, c) + "'");
  }

  /// An object: `member(key)` reads what follows the colon.
  template <class Member>
  void for_each_member(Member&& member) {
    require('{');
    if (accept('}')) return;
    do {
      std::string key = string();
      require(':');
      member(std::move(key));
    } while (accept(','));
    require('}');
  }

  /// An array of natural numbers.
  template <class Element>
  void for_each_number(Element&& element) {
    require('[');
    if (accept(']')) return;
    do {
      element(number());
    } while (accept(','));
    require(']');
  }

  std::uint64_t number() {
    skip_space();
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!is_digit(next())) fail("a natural number");
    const bool starts_with_zero = next() == '0';
    std::uint64_t value = 0;
    const std::size_t first = at_;
    for (; is_digit(next()); ++at_) {
      const auto digit = static_cast<std::uint64_t>(next() - '0');
      if (value > (UINT64_MAX - digit) / 10) fail("a number below 2^64");
      value = 10 * value + digit;
    }
    if (starts_with_zero && at_ != first + 1) fail("a number without leading zeros");
    return value;
  }

  std::uint32_t four_hex_digits() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = next();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits");
      code = 16 * code + static_cast<std::uint32_t>(digit);
    }
    return code;
  }

  void escape(std::string& result) {
    const char c = next();
    static constexpr std::string_view letters = "\"\\/bfnrt";
    static constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    if (c != 'u') {
      const std::size_t which = c == '\0' ? std::string_view::npos : letters.find(c);
      if (which == std::string_view::npos) fail("an escaped character");
      result += meanings[which];
      ++at_;
      return;
    }
    ++at_;
    std::uint32_t code = four_hex_digits();
    if (code >= 0xD800 && code < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") fail("the second half of a surrogate pair");
      at_ += 2;
      const std::uint32_t low = four_hex_digits();
      if (low < 0xDC00 || low >= 0xE000) fail("the second half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      fail("the first half of a surrogate pair");
    }
    append_utf8(result, code);
  }

  std::string string() {
    skip_space();
    if (next() != '"') fail("a string");
    ++at_;
    std::string result;
    for (;;) {
      if (at_ >= text_.size() || static_cast<unsigned char>(next()) < 0x20) fail("the rest of a string");
      if (next() == '"') break;
      if (next() == '\\') {
        ++at_;
        escape(result);
        continue;
      }
      const std::size_t length = utf8_length(text_.substr(at_));
      if (length == 0) fail("UTF-8");
      result += text_.substr(at_, length);
      at_ += length;
    }
    ++at_;
    return result;
  }

  TensorRecord record(std::string name) {
    const std::string where = file_ + ": tensor " + in_quotes(name);
    TensorRecord result;
    result.name = std::move(name);
    std::string type;
    std::vector<std::uint64_t> extents;
    std::vector<std::uint64_t> offsets;
    bool has_type = false;
    bool has_shape = false;
    bool has_offsets = false;
    for_each_member([&](const std::string& key) {
      bool* seen = key == "dtype"          ? &has_type
                   : key == "shape"        ? &has_shape
                   : key == "data_offsets" ? &has_offsets
                                           : nullptr;
      if (seen == nullptr) throw FormatError(where + ": expected dtype, shape and data_offsets, got " + in_quotes(key));
      if (std::exchange(*seen, true)) throw FormatError(where + ": " + key + " is there twice");
      if (key == "dtype") type = string();
      if (key == "shape") for_each_number([&](std::uint64_t n) { extents.push_back(n); });
      if (key == "data_offsets") for_each_number([&](std::uint64_t n) { offsets.push_back(n); });
    });
    if (!has_type || !has_shape || !has_offsets)
      throw FormatError(where + ": " + (!has_type ? "dtype" : !has_shape ? "shape" : "data_offsets") + " is missing");

    if (offsets.size() != 2 || offsets[0] > offsets[1])
      throw FormatError(where + ": expected data_offsets [begin, end] with begin <= end");
    result.begin = offsets[0];
    result.end = offsets[1];

    const auto* row = std::find_if(std::begin(element_types), std::end(element_types),
                                   [&](const ElementTypeRow& each) { return each.name == type; });
    if (row ==
        std::end(element_types)) {  // of a later version of the format; how many bytes its elements have it knows
      result.unusual = "unknown dtype " + in_quotes(type);
      return result;
    }
    const std::uint64_t bytes = result.end - result.begin;
    const std::optional<std::uint64_t> expected = bytes_of(extents, row->bytes);
    if (!expected) throw FormatError(where + ": the number of elements overflows");
    if (bytes != *expected)
      throw FormatError(where + ": " + type + " " + listed(extents) + ": expected " + std::to_string(*expected) +
                        " bytes, got " + std::to_string(bytes));
    if (extents.size() > Shape::max_rank) {
      result.unusual = "expected at most 6 extents, got " + std::to_string(extents.size());
      return result;
    }
    try {
      for (const std::uint64_t extent : extents)
        result.shape.push_back(extent > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(extent));
      result.type = row->type;
    } catch (const ShapeError& error) { result.unusual = error.what(); }
    return result;
  }

  /// Nothing where it is more than 64 bits hold.
  static std::optional<std::uint64_t> bytes_of(const std::vector<std::uint64_t>& extents, std::uint64_t element) {
    if (std::find(extents.begin(), extents.end(), 0U) != extents.end()) return 0;
    std::uint64_t bytes = element;
    for (const std::uint64_t extent : extents) {
      if (extent > UINT64_MAX / bytes) return std::nullopt;
      bytes *= extent;
    }
    return bytes;
  }

  /// `[64, 28, 28, 1]`, as `Shape` writes it.
  static std::string listed(const std::vector<std::uint64_t>& extents) {
    if (extents.size() > 2 * Shape::max_rank) return "of " + std::to_string(extents.size()) + " extents";
    std::string text = "[";
    for (std::size_t i = 0; i < extents.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(extents[i]);
    return text + "]";
  }

  /// The tensors' bytes follow each other, from the first byte behind the header to the last of the file.
  void check_layout(std::uint64_t data_bytes) {
    std::stable_sort(header_.tensors.begin(), header_.tensors.end(), [](const auto& a, const auto& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < header_.tensors.size(); ++i) {
      const TensorRecord& tensor = header_.tensors[i];
      if (tensor.begin != at)
        throw FormatError(
            file_ + ": tensor " + in_quotes(tensor.name) + (tensor.begin < at ? " overlaps" : " leaves a gap behind") +
            " the one before it: expected offset " + std::to_string(at) + ", got " + std::to_string(tensor.begin));
      at = tensor.end;
      if (at > data_bytes)
        throw FormatError(file_ + ": tensor " + in_quotes(tensor.name) +
                          " reaches past the end of the file: expected at least " + std::to_string(at) +
                          " bytes of data, got " + std::to_string(data_bytes));
      header_.index.find(tensor.name)->second = i;
    }
    if (at != data_bytes)
      throw FormatError(file_ + ": data after the last tensor: expected " + std::to_string(at) +
                        " bytes of data, got " + std::to_string(data_bytes));
  }

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
  bool seen_metadata_ = false;
  SafetensorsHeader header_;
};

}  // namespace easy_diffusion::io::detail
