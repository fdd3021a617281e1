/// \file
/// Named tensors in one file, the format of weights and checkpoints: https://huggingface.co/docs/safetensors.
/// Eight bytes of header length (little-endian), a JSON header, the elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/detail/file_kind.hpp"
#include "easy_diffusion/io/detail/safetensors_header.hpp"
#include "easy_diffusion/io/element_type.hpp"

namespace easy_diffusion::io {

/// Whether `read` refuses NaN and infinity.
enum class Finite { any, required };

/// Text beside the tensors, sorted by key.
using Metadata = std::map<std::string, std::string>;

namespace detail {
inline constexpr std::uint64_t safetensors_max_header = 100'000'000;  // the limit of the format
}  // namespace detail

/// A file opened for reading. The header is checked at once and in full; elements are mapped into memory and
/// copied when a tensor is asked for. A tensor of a type or rank that this library does not have stands in no one's way until
/// it is asked for. May be read by several threads.
class SafetensorsFile {
 public:
  /// \throw IoError when the file is missing, not readable or a folder
  /// \throw FormatError naming the file, and where it applies the tensor, expected and got: a cut file, a file of another
  ///        kind, with what to do about it, a header above 100 MB or not JSON, a name there twice, a size that is not the
  ///        shape's, tensors that overlap or leave gaps, data after the last one
  [[nodiscard]] static SafetensorsFile open(const std::filesystem::path& path) {
    SafetensorsFile result;
    result.path_ = path.string();
    result.file_.emplace(path);
    result.read_header(result.file_->bytes());
    return result;
  }
  /// The same of a file's bytes in memory, which outlive this. \param name stands for the path in error messages
  [[nodiscard]] static SafetensorsFile in_memory(std::span<const std::byte> bytes, std::string name) {
    SafetensorsFile result;
    result.path_ = std::move(name);
    result.read_header(bytes);
    return result;
  }

  /// In the order of their bytes.
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  [[nodiscard]] const Metadata& metadata() const noexcept { return header_.metadata; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] bool contains(std::string_view name) const { return header_.index.find(name) != header_.index.end(); }

  /// Whether it has a type and a rank that this library has. \throw FormatError when there is no tensor of that name; so do
  ///        the functions below
  [[nodiscard]] bool is_usual(std::string_view name) const { return record(name).unusual.empty(); }

  /// \throw FormatError also for a tensor that is not usual, saying why; so do `read` and `read_into`
  [[nodiscard]] const Shape& shape(std::string_view name) const { return usual_record(name).shape; }
  [[nodiscard]] ElementType dtype(std::string_view name) const { return usual_record(name).type; }

  /// The elements as they lie in the file, not aligned.
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const {
    const detail::TensorRecord& tensor = record(name);
    return data_.subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.end - tensor.begin));
  }

  /// Text of the metadata. \throw FormatError when the key is not there
  [[nodiscard]] const std::string& metadata(const std::string& key) const {
    const auto found = header_.metadata.find(key);
    if (found == header_.metadata.end())
      throw FormatError(path_ + ": metadata " + detail::in_quotes(key) + " is missing");
    return found->second;
  }

  [[nodiscard]] bool has_metadata(const std::string& key) const { return header_.metadata.contains(key); }

  /// A copy of a tensor. T float or double reads F16, BF16, F32 and F64, rounding where it must; an integer T
  /// reads the integer types that fit into it, and BOOL. \throw FormatError naming the tensor: no such name,
  /// another kind of dtype, or with `Finite::required` the first
  ///        element that is NaN or infinite (in T)
  template <class T>
  [[nodiscard]] Tensor<T> read(std::string_view name, Finite finite = Finite::any) const {
    auto result = Tensor<T>::uninitialized(shape(name));
    read_into(name, result.view(), finite);
    return result;
  }

  /// The same into memory at hand. \throw FormatError also unless the shapes are equal
  template <class T>
  void read_into(std::string_view name, TensorView<T> out, Finite finite = Finite::any) const {
    const detail::TensorRecord& tensor = usual_record(name);
    const std::string where = path_ + ": tensor " + detail::in_quotes(name);
    if (!(tensor.shape == out.shape()))
      throw FormatError(where + ": expected shape " + out.shape().to_string() + ", got " + tensor.shape.to_string());
    detail::convert_or_throw(where, tensor.type, bytes(name).data(), out.size(), out.data());
    if (finite == Finite::required) detail::require_finite_elements(where, out.data(), out.size());
  }

  /// Looks at every floating-point tensor. \throw FormatError naming the first tensor with NaN or infinity
  void require_finite() const {
    for (const std::string& name : names_) {
      if (!is_usual(name)) continue;
      const ElementType type = dtype(name);
      if (type == ElementType::f16 || type == ElementType::bf16 || type == ElementType::f32)
        static_cast<void>(read<float>(name, Finite::required));
      if (type == ElementType::f64) static_cast<void>(read<double>(name, Finite::required));
    }
  }

 private:
  SafetensorsFile() = default;

  void read_header(std::span<const std::byte> bytes) {
    const auto refuse = [&](const std::string& expected) {
      throw FormatError(path_ + ": not a safetensors file: expected " + expected);
    };
    // What the first bytes say of another kind of file is clearer than the number that they make as a length.
    const auto refuse_kind = [&] {
      const std::string kind = detail::known_kind(bytes);
      if (!kind.empty()) throw FormatError(path_ + ": expected a safetensors file, got " + kind);
    };
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length) refuse("at least 8 bytes, got " + std::to_string(bytes.size()));
    std::memcpy(&length, bytes.data(), sizeof length);
    const bool begins = bytes.size() > sizeof length && bytes[sizeof length] == std::byte{'{'};
    if (length > detail::safetensors_max_header || (bytes.size() > sizeof length && !begins)) refuse_kind();
    if (length > detail::safetensors_max_header)
      refuse("a header of at most " + std::to_string(detail::safetensors_max_header) + " bytes, got " +
             std::to_string(length));
    if (bytes.size() > sizeof length && !begins)  // white space in front is valid JSON, but not a valid header
      throw FormatError(path_ + ": header, byte 0: expected '{', got " +
                        detail::in_quotes(std::string(1, static_cast<char>(bytes[sizeof length]))));
    if (length > bytes.size() - sizeof length)
      throw FormatError(path_ + ": the file ends early: expected a header of " + std::to_string(length) +
                        " bytes, got " + std::to_string(bytes.size() - sizeof length));
    const auto header_bytes = static_cast<std::size_t>(length);
    data_ = bytes.subspan(sizeof length + header_bytes);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, header_bytes);
    header_ = detail::SafetensorsHeaderParser(text, path_).parse(data_.size());
    names_.reserve(header_.tensors.size());
    for (const detail::TensorRecord& tensor : header_.tensors) names_.push_back(tensor.name);
  }

  [[nodiscard]] const detail::TensorRecord& usual_record(std::string_view name) const {
    const detail::TensorRecord& tensor = record(name);
    if (!tensor.unusual.empty())
      throw FormatError(path_ + ": tensor " + detail::in_quotes(name) + ": " + tensor.unusual);
    return tensor;
  }
  [[nodiscard]] const detail::TensorRecord& record(std::string_view name) const {
    const auto found = header_.index.find(name);
    if (found == header_.index.end()) throw FormatError(path_ + ": tensor " + detail::in_quotes(name) + " is missing");
    return header_.tensors[found->second];
  }

  std::string path_;
  std::optional<detail::MappedFile> file_;
  std::span<const std::byte> data_;
  detail::SafetensorsHeader header_;
  std::vector<std::string> names_;
};

/// A tensor to write: a name, and elements that somebody else owns and keeps until the file is written.
struct SafetensorsEntry {
  /// T is float, double, `Float16`, `BFloat16` or an integer type of 8 to 64 bits.
  template <class T>
  SafetensorsEntry(std::string entry_name, TensorView<T> view)
      : name(std::move(entry_name)),
        type(element_type_of<std::remove_const_t<T>>),
        shape(view.shape()),
        bytes(std::as_bytes(view.span())),
        empty(view.empty()) {}
  template <class T>
  SafetensorsEntry(std::string entry_name, const Tensor<T>& tensor)
      : SafetensorsEntry(std::move(entry_name), tensor.view()) {}
  template <class T>
  SafetensorsEntry(std::string entry_name,
                   Tensor<T>&& temporary) = delete;  // it would be gone before the writing

  std::string name;
  ElementType type;
  Shape shape;
  std::span<const std::byte> bytes;
  bool empty;  ///< there is no memory behind it
};

/// Writes tensors in the order given, atomically (see `AtomicFile`). Equal arguments give equal bytes.
/// \throw ValueError for a name that is there twice, reserved or not UTF-8, an empty tensor, metadata that is
/// not UTF-8, a
///        header above 100 MB
/// \throw IoError naming the file and the reason; an older file of that name then stays as it was
inline void write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                              const Metadata& metadata = {}) {
  const std::string file = path.string();
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, text] : metadata) {
      if (!detail::is_utf8(key) || !detail::is_utf8(text))
        throw ValueError(file + ": metadata " + detail::in_quotes(key) + " is not UTF-8");
      header += (header.back() == '{' ? "" : ",") + detail::json_string(key) + ":" + detail::json_string(text);
    }
    header += "}";
  }
  std::set<std::string_view> names;
  std::uint64_t at = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string who = file + ": tensor " + detail::in_quotes(entry.name);
    if (!detail::is_utf8(entry.name)) throw ValueError(who + ": the name is not UTF-8");
    if (entry.name == "__metadata__") throw ValueError(who + ": the name is reserved");
    if (!names.insert(entry.name).second) throw ValueError(who + ": the name is there twice");
    if (entry.empty) throw ValueError(who + ": the tensor is empty");
    header += (header.size() == 1 ? "" : ",") + detail::json_string(entry.name) + R"(:{"dtype":")" +
              std::string(to_string(entry.type)) + R"(","shape":[)";
    for (std::size_t axis = 0; axis < entry.shape.rank(); ++axis)
      header += (axis == 0 ? "" : ",") + std::to_string(entry.shape[axis]);
    header += "],\"data_offsets\":[" + std::to_string(at) + ",";
    at += entry.bytes.size();
    header += std::to_string(at) + "]}";
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');  // the elements start at a multiple of eight bytes
  if (header.size() > detail::safetensors_max_header)
    throw ValueError(file + ": the header has " + std::to_string(header.size()) + " bytes, at most " +
                     std::to_string(detail::safetensors_max_header) + " are allowed");
  const std::uint64_t length = header.size();
  AtomicFile out(path);
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(header);
  for (const SafetensorsEntry& entry : entries) out.write(entry.bytes);
  out.commit();
}
inline void write_safetensors(const std::filesystem::path& path, std::initializer_list<SafetensorsEntry> entries,
                              const Metadata& metadata = {}) {
  write_safetensors(path, std::span<const SafetensorsEntry>(entries.begin(), entries.size()), metadata);
}

}  // namespace easy_diffusion::io
