/// \file
/// A run owns the folder that it writes into: a second run, of whatever program, is told so.
#pragma once

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/text.hpp"

namespace easy_diffusion::examples {

/// The lock of a folder, a file `.lock` in it that says who holds it. The operating system gives it back however the program
/// ends; a file that a killed run has left behind is taken over. Programs that are started meanwhile (gnuplot) do not inherit
/// it. File systems without locks go without, after a word on the standard error.
class RunFolder {
 public:
  /// \param folder that is there \param program whose run it is, for the messages to others
  /// \throw IoError naming the folder and who holds it, or why nothing can be written there
  RunFolder(const std::filesystem::path& folder, const std::string& program) : path_(folder / ".lock") {
    for (int attempt = 0;; ++attempt) {
      io::detail::Descriptor file(::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
      // What another user's killed run has left can be locked without being written.
      if (!file.valid() && errno == EACCES)
        file = io::detail::Descriptor(::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      if (!file.valid())
        throw IoError("--out: cannot write into the folder '" + folder.string() +
                      "': " + std::generic_category().message(errno));
      if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK)
          throw IoError("--out: " + holder(file.get()) + " is writing into '" + folder.string() +
                        "': wait for its end, or choose another folder");
        std::fprintf(stderr, "%s: the folder '%s' cannot be locked (%s): no other run may write into it meanwhile\n",
                     io::printable(program).c_str(), io::printable(folder).c_str(), std::generic_category().message(errno).c_str());
      }
      // Between opening and locking, a run that ended may have removed what was opened here.
      if (!is_named(file.get()) && attempt < 100) continue;
      file_ = std::move(file);
      break;
    }
    const std::string text = std::to_string(::getpid()) + " " + program + "\n";
    // On a full disk the lock holds all the same, without a name.
    if (::ftruncate(file_.get(), 0) == 0) static_cast<void>(!::write(file_.get(), text.data(), text.size()));
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder() {
    // While the lock is held nobody else has taken this very file.
    if (is_named(file_.get())) ::unlink(path_.c_str());
  }

 private:
  [[nodiscard]] bool is_named(int file) const {
    struct stat opened {};
    struct stat named {};
    return ::fstat(file, &opened) == 0 && ::lstat(path_.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
  }

  /// "train_ddpm (process 4711)", as far as the file says it.
  static std::string holder(int file) {
    char bytes[128];
    const ssize_t length = ::pread(file, bytes, sizeof bytes, 0);
    const std::string_view text(bytes, length > 0 ? static_cast<std::size_t>(length) : 0);
    long process = 0;
    const auto number = std::from_chars(text.data(), text.data() + text.size(), process);
    const std::size_t space = text.find(' ');
    if (number.ec != std::errc{} || space == std::string_view::npos) return "another program";
    std::string program(text.substr(space + 1, text.find('\n') - space - 1));
    for (char& c : program)
      if (c < ' ' || c > '~') c = '?';
    return program + " (process " + std::to_string(process) + ")";
  }

  std::filesystem::path path_;
  io::detail::Descriptor file_;
};

}  // namespace easy_diffusion::examples
