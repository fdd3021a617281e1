/// \file
/// What the fuzz targets share. A target is given bytes and reads them as a file of its format: that must end with a result
/// or with a refusal of this library, in one line, and in no other way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "easy_diffusion/core/error.hpp"

/// libFuzzer's entry; in the program of the seeds each target has another name (see CMakeLists.txt).
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace easy_diffusion::fuzz {

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

/// Ends the process where the condition does not hold.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz target: %s\n", what);
  std::abort();
}

/// Calls `read`; a refusal is as good as a result.
template <class Read>
void read_or_refuse(Read&& read) {
  try {
    read();
  } catch (const Error& error) {
    const std::string message = error.what();
    require(!message.empty() && message.size() < 2000, "a refusal is empty or long");
    for (const char c : message) {
      const auto byte = static_cast<unsigned char>(c);
      require(byte >= 0x20 && byte != 0x7F, "a refusal holds a control character");
    }
  }
}

}  // namespace easy_diffusion::fuzz
