/// \file
/// Bytes of a file that may be gzipped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <zlib.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/file.hpp"

namespace easy_diffusion::io::detail {

/// Reads a plain file, or what a gzipped one (RFC 1952) holds; which of them it is shows in its first two
/// bytes. zlib's own file functions would let a cut stream or bytes after its end pass in silence.
class MaybeGzipped {
 public:
  /// \throw IoError when the file cannot be read
  explicit MaybeGzipped(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    start(file_->bytes());
  }
  /// The same of bytes in memory, which outlive this. \param name begins the error messages
  MaybeGzipped(std::span<const std::byte> bytes, std::string name) : path_(std::move(name)) { start(bytes); }
  MaybeGzipped(const MaybeGzipped&) = delete;
  MaybeGzipped& operator=(const MaybeGzipped&) = delete;
  ~MaybeGzipped() {
    if (gzipped_) inflateEnd(&stream_);
  }

  [[nodiscard]] bool gzipped() const noexcept { return gzipped_; }
  /// What has not been read yet of a plain file, or not been unpacked of a gzipped one.
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return rest_; }

  /// Fills `out` as far as there are bytes, and says how many there were.
  /// \throw FormatError naming the file for a cut or damaged stream, or bytes behind it
  std::size_t read(std::span<std::byte> out) {
    if (!gzipped_) {
      const std::size_t count = std::min(out.size(), rest_.size());
      if (count > 0) std::memcpy(out.data(), rest_.data(), count);
      rest_ = rest_.subspan(count);
      return count;
    }
    std::size_t done = 0;
    while (done < out.size() && in_member_) done += inflate_some(out.subspan(done));
    total_ += done;
    return done;
  }

  /// \throw FormatError unless everything has been read
  void expect_end(std::uint64_t expected) {
    std::byte one{};
    if (read({&one, 1}) != 0)
      throw FormatError(path_ + ": data after the last element: expected " + std::to_string(expected) + " bytes");
  }

 private:
  void start(std::span<const std::byte> bytes) {
    rest_ = bytes;
    if (!starts_a_member()) return;
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw IoError(path_ + ": cannot start zlib");
    gzipped_ = true;
    in_member_ = true;
  }

  [[nodiscard]] bool starts_a_member() const {
    return rest_.size() >= 2 && rest_[0] == std::byte{0x1F} && rest_[1] == std::byte{0x8B};
  }

  std::size_t inflate_some(std::span<std::byte> out) {
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest_.data()));
    stream_.avail_in = static_cast<uInt>(std::min(rest_.size(), most));
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(std::min(out.size(), most));
    const std::size_t offered = stream_.avail_in;
    const std::size_t wanted = stream_.avail_out;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    rest_ = rest_.subspan(offered - stream_.avail_in);
    const std::size_t got = wanted - stream_.avail_out;
    if (status == Z_STREAM_END) {
      // Members may follow each other, and zeros may fill up what a tape or disk takes at a time, as gzip itself has it.
      const auto next = std::find_if(rest_.begin(), rest_.end(), [](std::byte byte) { return byte != std::byte{0}; });
      rest_ = rest_.subspan(static_cast<std::size_t>(next - rest_.begin()));
      in_member_ = starts_a_member();
      if (in_member_) {
        inflateReset(&stream_);
      } else if (!rest_.empty()) {
        throw FormatError(path_ + ": " + std::to_string(rest_.size()) + " bytes after the gzip stream");
      }
    } else if (status == Z_BUF_ERROR || (status == Z_OK && got == 0 && rest_.empty())) {
      throw FormatError(path_ + ": the gzip stream ends early, after " + std::to_string(total_ + got) +
                        " bytes of data");
    } else if (status != Z_OK) {
      throw FormatError(path_ + ": the gzip stream is damaged: " +
                        (stream_.msg != nullptr ? stream_.msg : "zlib error " + std::to_string(status)));
    }
    return got;
  }

  std::string path_;
  std::optional<MappedFile> file_;
  std::span<const std::byte> rest_;
  bool gzipped_ = false;
  bool in_member_ = false;
  std::uint64_t total_ = 0;
  z_stream stream_{};
};

}  // namespace easy_diffusion::io::detail
