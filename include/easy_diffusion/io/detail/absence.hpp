/// \file
/// Why a file or folder that was named is not there.
#pragma once

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace easy_diffusion::io::detail {

/// The end of "expected ..., but": "there is none", or what above it stands in the way of looking, by its name; or what is
/// there instead.
/// \param path where nothing of the wanted kind could be found
[[nodiscard]] inline std::string absence(const std::filesystem::path& path) {
  struct stat status {};
  errno = 0;
  const int error = ::stat(path.c_str(), &status) == 0 ? 0 : errno;
  if (error == 0) return S_ISDIR(status.st_mode) ? "it is a folder" : "it is a file";
  if (error == ENOENT && !path.empty()) {
    std::error_code ignored;
    return std::filesystem::is_symlink(path, ignored) ? "it is a link to what is not there" : "there is none";
  }
  if (path.empty()) return "no name is given";
  const std::string reason = std::generic_category().message(error);
  if (error != ENOTDIR && error != EACCES) return "it cannot be looked for: " + reason;
  // The first part of the path that is no folder, or behind which nothing can be seen.
  std::filesystem::path folder;
  mode_t before = S_IFDIR;
  for (const auto& part : path) {
    const std::filesystem::path next = folder / part;
    if (::stat(next.c_str(), &status) != 0) {
      const std::string name = folder.empty() ? "." : folder.string();
      if (error == ENOTDIR && !S_ISDIR(before)) return "'" + name + "' is a file and no folder";
      if (error == EACCES && ::access(name.c_str(), X_OK) != 0) return "the folder '" + name + "' may not be entered";
      break;  // it is behind a symbolic link
    }
    folder = next;
    before = status.st_mode;
  }
  return "it cannot be looked for: " + reason;
}

}  // namespace easy_diffusion::io::detail
