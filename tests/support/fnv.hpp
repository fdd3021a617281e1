/// \file
/// A hash of bytes, for frozen known answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace easy_diffusion::test {

/// FNV-1a, 64 bits, over the bytes of the elements as they lie in memory.
template <class T>
std::uint64_t fnv1a(std::span<const T> values) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const std::byte b : std::as_bytes(values)) {
    hash ^= static_cast<std::uint64_t>(b);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

}  // namespace easy_diffusion::test
