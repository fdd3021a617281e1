/// \file
/// A picture as its decoder leaves it, and what a decoder is asked for: its memory is known before it is taken.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::io::detail {

[[noreturn]] inline void throw_early_end(const std::string& file, std::string_view format) {
  throw FormatError(file + ": the " + std::string(format) + " picture ends early");
}

[[noreturn]] inline void throw_damaged(const std::string& file, std::string_view format, std::string_view reason) {
  throw FormatError(file + ": the " + std::string(format) + " picture is damaged: " + std::string(reason));
}

/// Memory that threads share while they decode: who asks for more than is left waits. Nobody asks twice.
class MemoryPool {
 public:
  explicit MemoryPool(std::int64_t bytes) noexcept : left_(bytes) {}

  /// What one picture has of it, until the end of the scope.
  class Share {
   public:
    explicit Share(MemoryPool& pool) noexcept : pool_(pool) {}
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { pool_.give(taken_); }
    /// \pre bytes is at most what the pool has in all
    void take(std::int64_t bytes) {
      std::unique_lock lock(pool_.mutex_);
      pool_.more_.wait(lock, [&] { return pool_.left_ >= bytes; });
      pool_.left_ -= bytes;
      taken_ = bytes;
    }

   private:
    MemoryPool& pool_;
    std::int64_t taken_ = 0;
  };

 private:
  void give(std::int64_t bytes) noexcept {
    {
      const std::lock_guard lock(mutex_);
      left_ += bytes;
    }
    more_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable more_;
  std::int64_t left_;
};

/// Which picture is wanted, and what it may cost.
struct PictureRequest {
  std::string file;                   ///< for messages
  int channels = 0;                   ///< of the result, 0: as the file has it
  std::int64_t value_bytes = 4;       ///< of one number of the result
  std::int64_t max_bytes = 0;         ///< for the decoder and the result together
  MemoryPool::Share* pool = nullptr;  ///< has at least max_bytes in all; waited for

  /// Every decoder asks once, knowing the header and before it allocates.
  /// \param sample_bytes of each number that the decoder leaves \param more_bytes what else it needs
  /// \throw FormatError naming the limit
  void ask(std::int64_t width, std::int64_t height, int found_channels, std::int64_t sample_bytes,
           std::int64_t more_bytes = 0) const {
    constexpr std::int64_t longest = std::int64_t{1} << 31;
    const auto size = [&] { return std::to_string(width) + " x " + std::to_string(height); };
    if (width < 1 || height < 1 || width >= longest || height >= longest)
      throw FormatError(file + ": the picture is damaged: it has " + size() + " pixels");
    const std::int64_t each = found_channels * sample_bytes + (channels == 0 ? found_channels : channels) * value_bytes;
    const std::int64_t mebibyte = std::int64_t{1} << 20;
    if (more_bytes > max_bytes || width > (max_bytes - more_bytes) / each / height)
      throw FormatError(file + ": expected a picture that takes at most " + std::to_string(max_bytes / mebibyte) +
                        " MiB of memory (max_bytes), got " + size() + " pixels");
    if (pool != nullptr) pool->take(width * height * each + more_bytes);
  }
};

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// Rows of pixels, top to bottom, each with its channels side by side.
struct DecodedPicture {
  std::unique_ptr<void, FreeMemory> pixels;  ///< bytes; 16-bit numbers where `maximum` is above 255
  std::int64_t height = 0;
  std::int64_t width = 0;
  int channels = 0;
  int maximum = 255;    ///< the number that stands for white
  int orientation = 1;  ///< 1 to 8, as EXIF counts

  /// \throw Error when there is no memory
  void allocate(std::int64_t bytes, const std::string& file) {
    pixels.reset(std::malloc(static_cast<std::size_t>(bytes)));
    if (pixels == nullptr) throw Error(file + ": no memory for the picture");
  }
  [[nodiscard]] int number(std::int64_t i) const noexcept {
    return maximum > 255 ? static_cast<const std::uint16_t*>(pixels.get())[i]
                         : static_cast<const std::uint8_t*>(pixels.get())[i];
  }
};

/// The orientation noted in an EXIF block, 1 to 8; 1 where there is none or it cannot be read.
/// \param tiff the block from its byte order on: https://www.cipa.jp/std/documents/download_e.html?DC-008
inline int exif_orientation(std::span<const std::byte> tiff) noexcept {
  if (tiff.size() < 8 || tiff[0] != tiff[1] || (tiff[0] != std::byte{'I'} && tiff[0] != std::byte{'M'})) return 1;
  const bool big = tiff[0] == std::byte{'M'};
  const auto number = [&](std::size_t at, std::size_t bytes) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      value = 256 * value + std::to_integer<std::size_t>(tiff[at + (big ? i : bytes - 1 - i)]);
    return value;
  };
  const std::size_t first = number(4, 4);
  if (first > tiff.size() - 2) return 1;
  const std::size_t entries = number(first, 2);
  for (std::size_t i = 0, at = first + 2; i < entries && at + 12 <= tiff.size(); ++i, at += 12) {
    if (number(at, 2) != 0x0112) continue;
    const std::size_t type = number(at + 2, 2);
    const std::size_t value = number(at + 8, type == 4 ? 4 : 2);
    return (type == 3 || type == 4) && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

/// Compiled once, in the library that the build links (cmake/compiled/pictures.cpp): libpng and libjpeg report errors by
/// jumping, and the macros of their headers and of giflib's stay out of programs.
/// \throw FormatError naming the file: cut, damaged, or as `PictureRequest::ask` does
DecodedPicture decode_png(std::span<const std::byte> bytes, const PictureRequest& request);
DecodedPicture decode_jpeg(std::span<const std::byte> bytes, const PictureRequest& request);
/// Decodes the first frame and follows the others to the end. \throw FormatError naming the file: cut or damaged
void check_gif(std::span<const std::byte> bytes, const std::string& file);

}  // namespace easy_diffusion::io::detail
