/// \file
/// Writing a file so that at every moment either the whole old file or the whole new one is there.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <random>
#include <set>
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

namespace detail {

/// Names of temporary files: `.<target>.<six letters>.easy_diffusion.partial`. The target's name is cut where the
/// whole would be longer than file systems allow.
class TemporaryName {
 public:
  static constexpr std::string_view ending = ".easy_diffusion.partial";
  static constexpr std::size_t letters = 6;

  static std::string make(const std::string& target) {
    static constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::size_t longest = 255 - 2 - letters - ending.size();
    std::random_device random;
    std::string name = "." + target.substr(0, longest) + ".";
    for (std::size_t i = 0; i < letters; ++i) name += alphabet[random() % alphabet.size()];
    return name.append(ending);
  }
  static bool is_one(std::string_view name) {
    return name.starts_with('.') && name.ends_with(ending) && name.size() >= ending.size() + letters + 3;
  }
};

/// Removes the temporary files that killed writers left in a folder, at the first call for it in this process: writers
/// hold a lock on theirs, and the lock of a killed one is gone. File systems without locks keep them.
inline void remove_abandoned(const std::filesystem::path& folder) {
  std::error_code error;
  static std::mutex mutex;
  static std::set<std::filesystem::path> seen;
  {
    const std::lock_guard lock(mutex);
    if (!seen.insert(std::filesystem::absolute(folder, error)).second) return;
  }
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::filesystem::path& path = entry->path();
    if (!TemporaryName::is_one(path.filename().native())) continue;
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!file.valid() || ::fstat(file.get(), &status) != 0) continue;
    if (S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && status.st_nlink == 1 &&
        ::flock(file.get(), LOCK_EX | LOCK_NB) == 0)
      ::unlink(path.c_str());
  }
}

}  // namespace detail

/// A file in the making. It grows beside the target under a name of its own, hidden and new; `commit()` syncs it,
/// renames it to the target and syncs the folder. Without a commit (an exception, a full disk) it is removed and the
/// target stays as it was. What a kill leaves behind goes with the first write of a later process into the folder. Of
/// several writers of one target each writes its own file, and the last to commit stays.
///
/// A file that is replaced keeps its mode, and its owner and group where the system allows that; where the group cannot
/// be kept, the new group may do no more than everybody. Access lists and further names (hard links) stay with the old
/// file. A new file gets what the process's umask leaves of reading and writing for all.
class AtomicFile {
 public:
  /// \param target what the file will be called; an existing file is replaced, a symbolic link followed
  /// \throw IoError naming the target and the reason: no such folder, not writable, the target is a folder or a device
  explicit AtomicFile(const std::filesystem::path& target) : target_(resolved(target)) {
    struct stat status {};
    const bool exists = ::stat(target_.c_str(), &status) == 0;
    if (exists && S_ISDIR(status.st_mode)) throw IoError(target_.string() + ": cannot write: it is a folder");
    if (exists && !S_ISREG(status.st_mode))
      throw IoError(target_.string() + ": cannot write: it is not a regular file");
    // Renaming asks the folder alone; a file that its owner protected is not replaced.
    if (exists && ::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0)
      detail::throw_io(target_, "cannot write", errno);
    const std::filesystem::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
    detail::remove_abandoned(folder);
    open_temporary(exists ? 0600 : 0666);
    if (exists) keep_owner_and_mode(status);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (file_.valid()) ::unlink(temporary_.c_str());
  }

  /// Where the file grows: for a program that is to write it by its name.
  [[nodiscard]] const std::filesystem::path& temporary() const noexcept { return temporary_; }

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
    std::filesystem::path result = target;
    std::error_code error;
    for (int links = 0; std::filesystem::is_symlink(result, error); ++links) {
      if (links == 40) detail::throw_io(target, "cannot write", ELOOP);
      // A link may point to what is not there yet. From an absolute one the folder is dropped.
      result = result.parent_path() / std::filesystem::read_symlink(result, error);
      if (error) throw IoError(target.string() + ": cannot write: " + error.message());
    }
    return result;
  }

  void open_temporary(mode_t mode) {
    for (int attempt = 0;; ++attempt) {
      temporary_ = target_.parent_path() / detail::TemporaryName::make(target_.filename().string());
      // Exclusive: whatever has the name already, a link too, is left alone and another name tried.
      detail::Descriptor file(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
      if (!file.valid() && errno == EEXIST && attempt < 100) continue;
      if (!file.valid()) detail::throw_io(target_, "cannot write", errno);
      // Between opening and locking, another process may have taken it for one that was left behind.
      struct stat opened {};
      struct stat named {};
      const bool locked = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
      if (::fstat(file.get(), &opened) != 0) detail::throw_io(target_, "cannot write", errno);
      if (!locked || ::lstat(temporary_.c_str(), &named) != 0 || opened.st_ino != named.st_ino ||
          opened.st_dev != named.st_dev) {
        if (attempt < 100) continue;
        throw IoError(target_.string() + ": cannot write: its temporary file is taken away");
      }
      file_ = std::move(file);
      return;
    }
  }

  void keep_owner_and_mode(const struct stat& old) {
    struct stat own {};
    mode_t mode = old.st_mode & 07777U;
    if (::fstat(file_.get(), &own) == 0 && (own.st_uid != old.st_uid || own.st_gid != old.st_gid) &&
        ::fchown(file_.get(), old.st_uid, old.st_gid) != 0) {
      mode &= 0777U;  // what runs as its owner must not run as another
      if (own.st_gid != old.st_gid && ::fchown(file_.get(), static_cast<uid_t>(-1), old.st_gid) != 0)
        mode = (mode & 0707U) | (mode & 0070U & ((mode & 0007U) << 3U));
    }
    if (::fchmod(file_.get(), mode) == 0) return;
    const int error = errno;
    ::unlink(temporary_.c_str());
    file_ = detail::Descriptor();
    detail::throw_io(target_, "cannot keep its mode", error);
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
