#pragma once

/// \file
/// Making files, good and bad, and looking at what a refusal says.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "easy_diffusion/core/error.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

namespace easy_diffusion::test {

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline std::filesystem::path spill(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(out.good());
  return path;
}

/// The lowest `bytes` bytes of a number.
inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  return text;
}
inline std::string big_endian(std::uint64_t value, int bytes) {
  const std::string text = little_endian(value, bytes);
  return {text.rbegin(), text.rend()};
}

inline std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string result(deflateBound(&stream, static_cast<uLong>(text.size())) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

inline std::string idx_file(unsigned type, std::initializer_list<std::uint32_t> extents, const std::string& data) {
  std::string text{'\0', '\0', static_cast<char>(type), static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents) text += big_endian(extent, 4);
  return text + data;
}

/// What `f` throws, which must be an E and one line.
template <class E, class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const E& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 600);
    return message;
  } catch (const std::exception& error) { FAIL("another exception than expected: " << error.what()); }
  FAIL("nothing was thrown");
  return {};
}

/// Files in a folder, without the folder's name.
inline std::vector<std::string> listing(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

/// A small generator for tests that mutate files (splitmix64).
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t operator()(std::uint64_t bound) {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  std::uint64_t state_;
};

/// Some bytes changed, removed, doubled or cut off.
inline std::string mutated(std::string text, Dice& dice) {
  const std::uint64_t changes = 1 + dice(3);
  for (std::uint64_t i = 0; i < changes && !text.empty(); ++i) {
    const auto at = static_cast<std::size_t>(dice(text.size()));
    switch (dice(6)) {
      case 0: text[at] = static_cast<char>(static_cast<unsigned char>(dice(256))); break;
      case 1: text[at] = static_cast<char>(text[at] ^ (1 << dice(8))); break;
      case 2: text.resize(at); break;
      case 3: text.erase(at, 1 + dice(4)); break;
      case 4: text.insert(at, text.substr(at, 1 + dice(16))); break;
      default: text[at] = "0123456789{}[]\":,\\"[dice(18)]; break;
    }
  }
  return text;
}

}  // namespace easy_diffusion::test
