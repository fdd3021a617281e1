/// \file
/// Files of the operating system (POSIX), and the words of the errors about them.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::io::detail {

/// `path: doing: reason`
[[noreturn]] inline void throw_io(const std::filesystem::path& path, std::string_view doing, int error) {
  throw IoError(path.string() + ": " + std::string(doing) + ": " + std::generic_category().message(error));
}

/// Text of a file as it may stand in an error message: in quotes, on one line, not too long.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 100;
  std::string result = "'";
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(byte));
      result += escape;
    } else {
      result += c;
    }
  }
  return result + (text.size() > longest ? "...'" : "'");
}

/// An open file; closes itself.
class Descriptor {
 public:
  explicit Descriptor(int descriptor = -1) noexcept : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] bool valid() const noexcept { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

/// The bytes of a file, mapped into memory and read when they are touched. Whoever shortens the file
/// meanwhile ends this process (SIGBUS): programs replace files by renaming, as `AtomicFile` does.
class MappedFile {
 public:
  /// \throw IoError naming the file and the reason: missing, not readable, a folder, not a regular file
  explicit MappedFile(const std::filesystem::path& path) {
    // Not blocking, so that a pipe is refused instead of waited for.
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.valid()) throw_io(path, "cannot open", errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw_io(path, "cannot read", errno);
    if (S_ISDIR(status.st_mode)) throw IoError(path.string() + ": expected a file, got a folder");
    if (!S_ISREG(status.st_mode)) throw IoError(path.string() + ": expected a regular file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // an empty mapping is an error to the system
    void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (memory == MAP_FAILED) throw_io(path, "cannot read", errno);
    data_ = static_cast<const std::byte*>(memory);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Up to `count` bytes from the start of a regular file; none where it cannot be read. Never waits.
inline std::vector<std::byte> start_of_file(const std::filesystem::path& path, std::size_t count) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  std::vector<std::byte> bytes(count);
  const ssize_t size = ::pread(file.get(), bytes.data(), count, 0);
  bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return bytes;
}

}  // namespace easy_diffusion::io::detail
