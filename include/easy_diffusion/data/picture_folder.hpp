/// \file
/// A folder of pictures, or of a folder of pictures for each class.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/framing.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/io/detail/absence.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/detail/picture_file.hpp"
#include "easy_diffusion/io/detail/safetensors_header.hpp"
#include "easy_diffusion/io/image.hpp"

namespace easy_diffusion::data {

namespace detail {

/// Files so named must be pictures that can be read: none may be left out silently.
inline constexpr std::string_view picture_endings[] = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp",
                                                       ".gif", ".pbm", ".pgm",  ".ppm", ".pnm"};
inline constexpr std::string_view other_picture_endings[] = {".webp", ".tif", ".tiff", ".avif", ".heic", ".heif",
                                                             ".jxl",  ".jp2", ".svg",  ".tga",  ".psd"};

/// What lies in a folder, sorted byte by byte. Pictures are files with a picture's content, whatever they are called,
/// and those with a picture's name; hidden files and folders, and everything else, is left out.
struct FolderContents {
  std::vector<std::string> pictures;
  std::vector<std::string> folders;
  std::vector<std::string> left_out;
};

/// \throw IoError when it cannot be listed \throw FormatError for a picture of a kind that cannot be read
inline FolderContents contents_of(const std::filesystem::path& folder) {
  FolderContents result;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    const bool is_folder = entry->is_directory(ignored);
    if (name.starts_with('.')) {
      result.left_out.push_back(is_folder ? name + "/" : name);
      continue;
    }
    if (is_folder) {
      result.folders.push_back(name);
      continue;
    }
    std::string ending = entry->path().extension().string();
    for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto is_one_of = [&](const auto& endings) {
      return std::find(std::begin(endings), std::end(endings), ending) != std::end(endings);
    };
    const std::vector<std::byte> start = io::detail::start_of_file(entry->path(), io::detail::picture_start);
    const std::string_view unread = io::detail::unread_picture(start);
    const bool readable = io::detail::picture_kind(start) != io::detail::PictureKind::none;
    if (!readable && (!unread.empty() || is_one_of(other_picture_endings)))
      throw FormatError(entry->path().string() + ": expected " + std::string(io::detail::readable_pictures) + ", got " +
                        std::string(unread.empty() ? "a picture of another kind" : unread));
    (readable || is_one_of(picture_endings) ? result.pictures : result.left_out).push_back(name);
  }
  if (error) throw IoError(folder.string() + ": cannot list the folder: " + error.message());
  for (auto* names : {&result.pictures, &result.folders, &result.left_out}) std::sort(names->begin(), names->end());
  return result;
}

}  // namespace detail

/// Reads all pictures of a folder that `io::load_image` reads, whatever they are called, in the order of their names'
/// bytes. Folders in it are the classes: labels are their numbers in the order of their names, and the pictures come
/// class after class. Without folders there are no labels. Hidden files, and files that neither are nor are named as
/// pictures, are left out: `ImageDataset::left_out` names them.
/// \throw ValueError for an option out of range
/// \throw IoError when the folder is missing, or a file or folder cannot be read
/// \throw FormatError naming the file or folder: empty, damaged, no picture, a kind of picture that is not read, too
///        large (`PictureOptions::max_bytes`), too small (`PictureOptions::max_enlargement`); a folder without pictures,
///        with pictures beside folders of classes, with folders in these, or with a name that is not UTF-8
[[nodiscard]] inline ImageDataset load_picture_folder(const std::filesystem::path& folder,
                                                      const PictureOptions& options = {}) {
  check(options);
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    throw IoError(folder.string() + ": expected a folder of pictures, " +
                  (std::filesystem::exists(folder, ignored) ? "got a file" : "but " + io::detail::absence(folder)));
  ImageDataset result;
  result.name = folder.string();
  std::vector<std::filesystem::path> files;
  const auto contents = detail::contents_of(folder);
  result.left_out = contents.left_out;
  for (const std::string& name : contents.pictures) files.push_back(folder / name);
  if (!contents.folders.empty() && !files.empty())
    throw FormatError(folder.string() + ": expected either pictures or a folder for each class, got both: " +
                      contents.pictures.front() + " and the folder " + contents.folders.front());
  for (const std::string& name : contents.folders) {
    const std::filesystem::path place = folder / name;
    if (!io::detail::is_utf8(name))
      throw FormatError(folder.string() + ": the name of the folder " + io::detail::in_quotes(name) + " is not UTF-8");
    const auto members = detail::contents_of(place);
    if (!members.folders.empty())
      throw FormatError((place / members.folders.front()).string() + ": expected pictures of the class " + name +
                        ", got a folder");
    if (members.pictures.empty())
      throw FormatError(place.string() + ": expected pictures of the class " + name + ", but there is none");
    for (const std::string& member : members.pictures) files.push_back(place / member);
    for (const std::string& member : members.left_out) result.left_out.push_back(name + "/" + member);
    result.labels.resize(files.size(), static_cast<std::int64_t>(result.class_names.size()));
    result.class_names.push_back(name);
  }
  if (files.empty())
    throw FormatError(folder.string() + ": expected pictures (" + std::string(io::detail::readable_pictures) +
                      "), but there is none in it");

  const auto count = static_cast<std::int64_t>(files.size());
  const std::int64_t pixels = options.size * options.size * options.channels;
  result.images = Tensor<std::uint8_t>::uninitialized({count, options.size, options.size, options.channels});
  io::detail::MemoryPool memory(options.max_bytes);  // for all threads together
  parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::filesystem::path& file = files[static_cast<std::size_t>(i)];
      const io::detail::MappedFile bytes_of_file(file);
      io::detail::MemoryPool::Share share(memory);
      const auto picture = io::decode_image<float>(
          bytes_of_file.bytes(), file.string(), {.upright = options.upright, .max_bytes = options.max_bytes}, &share);
      try {
        const Tensor<std::uint8_t> bytes = framed(picture, options);
        std::copy(bytes.begin(), bytes.end(), result.images.data() + i * pixels);
      } catch (const ValueError& error) { throw FormatError(file.string() + ": " + error.what()); }
    }
  });
  result.validate();
  return result;
}

}  // namespace easy_diffusion::data
