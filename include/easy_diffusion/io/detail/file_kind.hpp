/// \file
/// What a file is that was given in place of another: its kind by its first bytes, and what to do about it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace easy_diffusion::io::detail {

struct FileKind {
  std::string_view start;  ///< first bytes
  std::string_view what;   ///< "got <what>"
};

/// Longer starts before those that they begin with.
inline constexpr FileKind file_kinds[] = {
    {"version https://git-lfs.github.com/spec/",
     "a pointer of git LFS, not the file itself: run 'git lfs pull' where it "
     "was cloned, or download it from the page of the repository"},
    {"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes: load it there and save its tensors in this format"},
    {"\x89PNG\r\n\x1a\n", "a PNG picture"},
    {"\xFF\xD8\xFF", "a JPEG picture"},
    {"GIF8", "a GIF picture"},
    {"\x93NUMPY", "an npy array of NumPy"},
    {"GGUF", "a GGUF file, as llama.cpp reads: take the original weights that it was made from"},
    {"ggml", "a GGML file, as llama.cpp read: take the original weights that it was made from"},
    {"\x1f\x8b", "a gzip file: unpack it with gunzip"},
    {"BZh", "a bzip2 file: unpack it with bunzip2"},
    {"\xFD"
     "7zXZ",
     "an xz file: unpack it with unxz"},
    {"\x28\xB5\x2F\xFD", "a zstd file: unpack it with unzstd"},
    {"7z\xBC\xAF\x27\x1C", "a 7z archive: unpack it"},
    {"Rar!", "a RAR archive: unpack it"},
    {"%PDF-", "a PDF document"},
    {"\x7F"
     "ELF",
     "a program"},
    {"#!", "a script"},
};

inline constexpr std::string_view from_pytorch =
    ": load it in Python with torch.load(..., weights_only=True) and save its state_dict with "
    "safetensors.torch.save_file";

/// Whether a text begins with a word, in whatever case; the word is in lower case.
inline bool starts_with_word(std::string_view text, std::string_view word) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return text.size() >= word.size() &&
         std::equal(word.begin(), word.end(), text.begin(), [&](char a, char b) { return a == lower(b); });
}

/// JSON, or something of a page from the network; nothing where it is no text.
inline std::string text_kind(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  text.remove_prefix(first);
  constexpr std::string_view again =
      ", perhaps an error or a page to log in: download the file again and look at what came";
  if (starts_with_word(text, "<!doctype html") || starts_with_word(text, "<html"))
    return "a page of HTML" + std::string(again);
  if (starts_with_word(text, "<?xml")) return "a text in XML" + std::string(again);
  // No text in UTF-8 has a byte from 0xF5 on.
  const bool is_text = std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7F && byte < 0xF5) || c == '\t' || c == '\r' || c == '\n';
  });
  if (!is_text) return {};
  if (text.starts_with('{') && text.find("\"weight_map\"") != std::string_view::npos)
    return "the index of weights in several files: give a file that it names, or join them";
  if (text.starts_with('{') || text.starts_with('[')) return "a JSON text, such as settings or a message of a server";
  return "a text";
}

/// "a page of HTML ...: what to do", or nothing where the bytes are none of what is known.
inline std::string known_kind(std::span<const std::byte> bytes) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view start = all.substr(0, 4096);
  if (start.empty()) return "an empty file";
  if (start.starts_with("PK\x03\x04")) {
    // torch.save names its first member <name>/data.pkl; numpy.savez has members that end in .npy.
    if (start.find("/data.pkl") != std::string_view::npos)
      return "a file of PyTorch (.pt, .pth, .ckpt: a zip archive with pickled Python objects)" +
             std::string(from_pytorch);
    if (start.find(".npy") != std::string_view::npos)
      return "an npz archive of NumPy: load it there and save each array by itself with numpy.save";
    return "a zip archive: unpack it";
  }
  for (const FileKind& kind : file_kinds)
    if (start.starts_with(kind.start)) return std::string(kind.what);
  // A pickle of protocol 2 to 5; the first of an old PyTorch file is its magic number.
  if (start.size() >= 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5)
    return "pickled Python objects, as old files of PyTorch (.pt, .pth) are" + std::string(from_pytorch);
  if (start.size() > 262 && start.substr(257, 5) == "ustar") return "a tar archive: unpack it with tar -xf";
  if (start.size() > 3 && start[0] == '\x08' && start[1] > 0 && start[1] < 32 &&
      (start[2] == '\x12' || start[2] == '\x3A'))
    return "an ONNX model: take the weights that it was exported from";
  if (start.size() > 8 && start.substr(4, 5) == std::string_view("\0\0\0\0{", 5) &&
      start.find("\"dtype\"") != std::string_view::npos)
    return "a safetensors file";
  if (start.size() > 4 && start.starts_with(std::string_view("\0\0\x08", 3)) && start[3] >= 1 && start[3] <= 6)
    return "an IDX file, as MNIST's are";
  if (start.size() >= 16 && start.find_first_not_of('\0') == std::string_view::npos)
    return "zero bytes, perhaps of a download that was cut off: download the file again";
  return text_kind(start);
}

/// "; got <kind>", or nothing: what ends the refusal of a file that is not of the format expected.
inline std::string but_got(std::span<const std::byte> bytes) {
  const std::string kind = known_kind(bytes);
  return kind.empty() ? kind : "; it is " + kind;
}

}  // namespace easy_diffusion::io::detail
