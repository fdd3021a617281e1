/// \file
/// Results reach their names whole or not at all: they are written beside them and renamed.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::examples {

/// A name beside `path`, with the same ending, for the time of writing.
[[nodiscard]] inline std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  return path.parent_path() / (path.stem().string() + ".partial" + path.extension().string());
}

/// \throw IoError naming the file
inline void rename_into_place(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw IoError("cannot write '" + path.string() + "': " + error.message());
}

/// Writes a whole file.
/// \throw IoError naming the file; what stood under that name before is still there then
inline void write_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = temporary_beside(path);
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(content.data(), 1, content.size(), file) == content.size();
  int reason = errno;
  if (file != nullptr && std::fclose(file) != 0) {
    if (good) reason = errno;
    good = false;
  }
  if (!good) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw IoError("cannot write '" + path.string() + "': " + std::strerror(reason));
  }
  rename_into_place(temporary, path);
}

}  // namespace easy_diffusion::examples
