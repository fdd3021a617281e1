/// \file
/// Writing a file so that at every moment either the whole old file or the whole new one is there.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/file.hpp"

namespace easy_diffusion::io {

/// A file in the making. It grows under the name `<target>.tmp`; `commit()` syncs it, renames it to the
/// target and syncs the folder. Without a commit (an exception, a full disk) the temporary file is removed
/// and the target stays as it was. After a kill the temporary file is left behind; the next write of the same
/// target takes it over.
class AtomicFile {
 public:
  /// \param target what the file will be called; an existing file is replaced, a symbolic link followed
  /// \throw IoError naming the target and the reason: no such folder, not writable, the target is a folder or
  /// a
  ///        device, or another program is writing it at this moment
  explicit AtomicFile(const std::filesystem::path& target) : target_(resolved(target)) {
    std::error_code ignored;
    const std::filesystem::file_status status = std::filesystem::status(target_, ignored);
    if (std::filesystem::is_directory(status)) throw IoError(target_.string() + ": cannot write: it is a folder");
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw IoError(target_.string() + ": cannot write: it is not a regular file");
    temporary_ = target_;
    temporary_ += ".tmp";
    open_temporary();
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (file_.valid()) ::unlink(temporary_.c_str());
  }

  /// Appends. \throw IoError naming the target and the reason, such as a full disk
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::throw_io(target_, "cannot write", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Makes the new file the target. Nothing may be written afterwards.
  /// \throw IoError if a sync or the renaming fails
  void commit() {
    if (::fsync(file_.get()) != 0) detail::throw_io(target_, "cannot write", errno);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) detail::throw_io(target_, "cannot replace", errno);
    file_ = detail::Descriptor();
    sync_folder();
  }

 private:
  /// Renaming onto a link would replace the link and leave the file it points to.
  static std::filesystem::path resolved(const std::filesystem::path& target) {
    std::error_code error;
    if (!std::filesystem::is_symlink(target, error)) return target;
    std::filesystem::path result = std::filesystem::weakly_canonical(target, error);
    if (error) throw IoError(target.string() + ": cannot write: " + error.message());
    return result;
  }

  void open_temporary() {
    for (;;) {
      detail::Descriptor file(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
      if (!file.valid()) detail::throw_io(target_, "cannot create " + temporary_.filename().string(), errno);
      // The name is fixed, so that nothing piles up after kills; the lock keeps two writers apart. File
      // systems without locks go without.
      if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        throw IoError(target_.string() + ": cannot write: another program is writing it");
      // Between opening and locking, another writer may have renamed or removed what was opened here.
      struct stat opened {};
      struct stat named {};
      if (::fstat(file.get(), &opened) != 0) detail::throw_io(target_, "cannot write", errno);
      if (::stat(temporary_.c_str(), &named) != 0 || opened.st_ino != named.st_ino || opened.st_dev != named.st_dev)
        continue;
      file_ = std::move(file);
      if (::ftruncate(file_.get(), 0) != 0) {
        const int error = errno;
        ::unlink(temporary_.c_str());
        file_ = detail::Descriptor();
        detail::throw_io(target_, "cannot write", error);
      }
      return;
    }
  }

  void sync_folder() const {
    const std::filesystem::path parent = target_.parent_path();
    const detail::Descriptor folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // A folder that may be written but not listed cannot be synced; some file systems cannot sync folders.
    if (!folder.valid()) return;
    if (::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
      detail::throw_io(target_, "cannot sync its folder", errno);
  }

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  detail::Descriptor file_;
};

/// Writes a whole file as `AtomicFile` does. \throw IoError naming the file and the reason
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace easy_diffusion::io
