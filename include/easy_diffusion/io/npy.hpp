/// \file
/// One array a file, as NumPy saves it:
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/array_view.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/detail/file_kind.hpp"
#include "easy_diffusion/io/element_type.hpp"

namespace easy_diffusion::io {

namespace detail {

inline constexpr std::string_view npy_magic = "\x93NUMPY";

/// Without the byte order that stands before it.
inline constexpr std::pair<std::string_view, ElementType> npy_types[] = {
    {"f2", ElementType::f16}, {"f4", ElementType::f32}, {"f8", ElementType::f64}, {"b1", ElementType::boolean},
    {"u1", ElementType::u8},  {"i1", ElementType::i8},  {"u2", ElementType::u16}, {"i2", ElementType::i16},
    {"u4", ElementType::u32}, {"i4", ElementType::i32}, {"u8", ElementType::u64}, {"i8", ElementType::i64}};

struct NpyHeader {
  ElementType type = ElementType::f32;
  bool big_endian = false;
  bool fortran_order = false;
  Shape shape;
};

/// Reads the Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {}

  NpyHeader parse() {
    NpyHeader header;
    bool seen[3] = {};
    require('{');
    while (!accept('}')) {
      const std::string key = string();
      require(':');
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0 || std::exchange(seen[which], true)) fail("each of descr, fortran_order and shape once");
      if (which == 0) read_type(header);
      if (which == 1) header.fortran_order = boolean();
      if (which == 2) header.shape = shape();
      if (!accept(',')) {
        require('}');
        break;
      }
    }
    if (!seen[0] || !seen[1] || !seen[2]) fail("each of descr, fortran_order and shape once");
    skip_space();
    if (at_ != text_.size()) fail("the end of the header");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw FormatError(file_ + ": header, byte " + std::to_string(at_) + ": expected " + expected + ", got " +
                      (at_ < text_.size() ? in_quotes(text_.substr(at_, 1)) : std::string("its end")));
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void require(char c) {
    if (!accept(c)) fail("'" + std::string(1, c) + "'");
  }
  std::string string() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"' && !accept('"')) fail("a string (structured types are not supported)");
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("the end of a string");
    std::string result(text_.substr(at_, end - at_));
    at_ = end + 1;
    return result;
  }
  /// `<` little-endian, `>` big-endian, `=` as the machine, `|` of no order; numbers of one byte have none, whatever is said.
  void read_type(NpyHeader& header) {
    const std::string descr = string();
    std::string_view name = descr;
    const char order = name.empty() || std::string_view("<>=|").find(name[0]) == std::string_view::npos ? '=' : name[0];
    if (!name.empty() && name[0] == order) name.remove_prefix(1);
    for (const auto& [known, type] : npy_types) {
      if (name != known || (order == '|' && byte_size(type) > 1)) continue;
      header.type = type;
      header.big_endian = order == '>';
      return;
    }
    throw FormatError(file_ + ": expected numbers such as <f4, <f8, <i8 or |u1, got " + in_quotes(descr));
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    fail("True or False");
  }
  Shape shape() {
    Shape result;
    require('(');
    while (!accept(')')) {
      skip_space();
      const std::size_t first = at_;
      std::int64_t extent = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (extent > INT64_MAX / 10 - 1) fail("a smaller extent");
        extent = 10 * extent + (text_[at_] - '0');
      }
      if (at_ == first) fail("an extent");
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // as Python 2 ends them
      try {
        result.push_back(extent);
      } catch (const ShapeError& error) { throw FormatError(file_ + ": " + error.what()); }
      if (!accept(',')) {
        require(')');
        break;
      }
    }
    return result;
  }

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
};

/// The header with its magic number, so long that the elements start at a multiple of 64 bytes.
inline std::string npy_header(ElementType type, const Shape& shape) {
  const auto* row =
      std::find_if(std::begin(npy_types), std::end(npy_types), [&](const auto& each) { return each.second == type; });
  std::string extents;
  for (std::size_t axis = 0; axis < shape.rank(); ++axis)
    extents += std::to_string(shape[axis]) + (axis + 1 < shape.rank() ? ", " : shape.rank() == 1 ? "," : "");
  std::string text = "{'descr': '" + std::string(byte_size(type) == 1 ? "|" : "<") + std::string(row->first) +
                     "', 'fortran_order': False, 'shape': (" + extents + "), }";
  constexpr std::size_t before = 10;
  text.append(63 - (before + text.size()) % 64, ' ');
  text += '\n';
  std::string header(npy_magic);
  header += {'\x01', '\x00', static_cast<char>(text.size() % 256), static_cast<char>(text.size() / 256)};
  return header + text;
}

/// Elements in Fortran order (the first index runs fastest) into C order.
template <class T>
Tensor<T> from_fortran_order(const Tensor<T>& source) {
  const Shape& shape = source.shape();
  auto result = Tensor<T>::uninitialized(shape);
  std::array<std::int64_t, Shape::max_rank> index{};
  std::array<std::int64_t, Shape::max_rank> stride{};
  std::int64_t step = 1;
  for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
    stride[axis] = step;
    step *= shape[axis];
  }
  std::int64_t from = 0;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    result[i] = source[from];
    for (std::size_t axis = shape.rank(); axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

}  // namespace detail

/// Reads versions 1, 2 and 3 of the format, in either order of bytes. T float or double reads f2, f4 and f8, rounding where
/// it must; an integer T reads the integer types that fit into it, and booleans. An array in Fortran order comes out in C
/// order.
/// \param name begins the error messages
/// \throw FormatError naming it, expected and got: no npy file, another type, a size that is not the shape's
template <class T>
[[nodiscard]] Tensor<T> read_npy(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(detail::npy_magic))
    throw FormatError(name + ": not an npy file: expected it to start with \\x93NUMPY" + detail::but_got(bytes));
  const auto byte = [&](std::size_t i) -> std::size_t {
    if (i >= bytes.size()) throw FormatError(name + ": the file ends within the header");
    return static_cast<std::size_t>(bytes[i]);
  };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3 || byte(7) != 0)
    throw FormatError(name + ": expected version 1.0, 2.0 or 3.0 of the npy format, got " + std::to_string(version) +
                      "." + std::to_string(byte(7)));
  const std::size_t start = version == 1 ? 10 : 12;
  const std::size_t length =
      version == 1 ? byte(8) + 256 * byte(9) : byte(8) + (byte(9) << 8) + (byte(10) << 16) + (byte(11) << 24);
  if (length > bytes.size() - std::min(start, bytes.size()))
    throw FormatError(name + ": the file ends early: expected a header of " + std::to_string(length) + " bytes");
  const detail::NpyHeader header = detail::NpyHeaderParser(text.substr(start, length), name).parse();
  std::span<const std::byte> data = bytes.subspan(start + length);
  const std::size_t size = byte_size(header.type);
  const std::size_t expected = static_cast<std::size_t>(header.shape.numel()) * size;
  if (data.size() != expected)
    throw FormatError(name + ": shape " + header.shape.to_string() + ": expected " + std::to_string(expected) +
                      " bytes of data, got " + std::to_string(data.size()));
  std::vector<std::byte> turned;
  if (header.big_endian && size > 1) {
    turned.assign(data.begin(), data.end());
    const auto step = static_cast<std::ptrdiff_t>(size);
    for (auto at = turned.begin(); at != turned.end(); at += step) std::reverse(at, at + step);
    data = turned;
  }
  auto result = Tensor<T>::uninitialized(header.shape);
  detail::convert_or_throw(name, header.type, data.data(), result.size(), result.data());
  return header.fortran_order && header.shape.rank() > 1 ? detail::from_fortran_order(result) : result;
}

/// The same of a file. \throw IoError when it is missing, not readable or a folder \throw FormatError as above
template <class T>
[[nodiscard]] Tensor<T> read_npy(const std::filesystem::path& path) {
  const detail::MappedFile file(path);
  return read_npy<T>(file.bytes(), path.string());
}

/// Writes a tensor or a view, version 1 of the format, atomically (see `AtomicFile`).
/// \throw ValueError for an empty tensor \throw IoError naming the file and the reason
template <detail::Array A>
void write_npy(const std::filesystem::path& path, const A& array) {
  const auto view = detail::read_only(array);
  using T = typename decltype(view)::value_type;
  if (view.empty()) throw ValueError(path.string() + ": the tensor to write is empty");
  AtomicFile out(path);
  out.write(detail::npy_header(element_type_of<T>, view.shape()));
  out.write(std::as_bytes(view.span()));
  out.commit();
}

}  // namespace easy_diffusion::io
