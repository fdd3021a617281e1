/// \file
/// The counter-based generator Philox4x32-10 \cite salmon_2011_random123, one block and many blocks at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace easy_diffusion::detail {

using PhiloxBlock = std::array<std::uint32_t, 4>;

inline constexpr std::uint32_t philox_multiplier_0 = 0xD2511F53U;
inline constexpr std::uint32_t philox_multiplier_1 = 0xCD9E8D57U;
inline constexpr std::uint32_t philox_weyl_0 = 0x9E3779B9U;
inline constexpr std::uint32_t philox_weyl_1 = 0xBB67AE85U;
inline constexpr int philox_rounds = 10;

/// Ten rounds over `lanes` counters held as four arrays, in place. Fixed trip counts and no branches, so that
/// compilers turn the inner loop into vector code.
template <std::size_t lanes>
inline void philox_rounds_in_place(std::uint32_t (&c0)[lanes], std::uint32_t (&c1)[lanes], std::uint32_t (&c2)[lanes],
                                   std::uint32_t (&c3)[lanes], std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < philox_rounds; ++round) {
    for (std::size_t i = 0; i < lanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{philox_multiplier_0} * c0[i];
      const std::uint64_t p1 = std::uint64_t{philox_multiplier_1} * c2[i];
      const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = static_cast<std::uint32_t>(p1);
      c3[i] = static_cast<std::uint32_t>(p0);
      c0[i] = n0;
      c2[i] = n2;
    }
    k0 += philox_weyl_0;
    k1 += philox_weyl_1;
  }
}

/// One block: the four words that belong to a counter and a key.
inline PhiloxBlock philox4x32_10(PhiloxBlock counter, std::uint32_t k0, std::uint32_t k1) {
  std::uint32_t c0[1] = {counter[0]}, c1[1] = {counter[1]}, c2[1] = {counter[2]}, c3[1] = {counter[3]};
  philox_rounds_in_place(c0, c1, c2, c3, k0, k1);
  return {c0[0], c1[0], c2[0], c3[0]};
}

}  // namespace easy_diffusion::detail
