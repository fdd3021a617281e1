/// \file
/// The counter-based generator Philox4x32-10 \cite salmon_2011_random123, one block and many blocks at once.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "easy_diffusion/core/detail/isa.hpp"

namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA {

using PhiloxBlock = std::array<std::uint32_t, 4>;

inline constexpr std::uint32_t philox_multiplier_0 = 0xD2511F53U;
inline constexpr std::uint32_t philox_multiplier_1 = 0xCD9E8D57U;
inline constexpr std::uint32_t philox_weyl_0 = 0x9E3779B9U;
inline constexpr std::uint32_t philox_weyl_1 = 0xBB67AE85U;
inline constexpr int philox_rounds = 10;

/// Counters side by side, each in 64 bits of which only the low 32 count: `low_product` multiplies those, so what a round
/// leaves in the high ones need not be cleared, and no lane changes its place. Compilers find this instruction in no
/// loop over 32-bit words.
#if defined(XSIMD_NO_SUPPORTED_ARCHITECTURE) || !defined(__SSE2__)
using PhiloxVector = std::uint64_t __attribute__((vector_size(16)));
inline PhiloxVector low_product(PhiloxVector a, PhiloxVector b) {
  constexpr std::uint64_t low = 0xFFFFFFFFU;
  return PhiloxVector{(a[0] & low) * (b[0] & low), (a[1] & low) * (b[1] & low)};
}
#elif defined(__AVX512F__)
using PhiloxVector = std::uint64_t __attribute__((vector_size(64)));
inline PhiloxVector low_product(PhiloxVector a, PhiloxVector b) {
  // All lanes chosen: without a choice, g++ 12 warns of the intrinsic's own undefined operand.
  return std::bit_cast<PhiloxVector>(
      _mm512_maskz_mul_epu32(0xFF, std::bit_cast<__m512i>(a), std::bit_cast<__m512i>(b)));
}
#elif defined(__AVX2__)
using PhiloxVector = std::uint64_t __attribute__((vector_size(32)));
inline PhiloxVector low_product(PhiloxVector a, PhiloxVector b) {
  return std::bit_cast<PhiloxVector>(_mm256_mul_epu32(std::bit_cast<__m256i>(a), std::bit_cast<__m256i>(b)));
}
#else
using PhiloxVector = std::uint64_t __attribute__((vector_size(16)));
inline PhiloxVector low_product(PhiloxVector a, PhiloxVector b) {
  return std::bit_cast<PhiloxVector>(_mm_mul_epu32(std::bit_cast<__m128i>(a), std::bit_cast<__m128i>(b)));
}
#endif
inline constexpr std::size_t philox_width = sizeof(PhiloxVector) / sizeof(std::uint64_t);

/// The same number in every lane.
inline PhiloxVector philox_broadcast(std::uint64_t x) { return PhiloxVector{} + x; }

/// Ten rounds over counters (c0, c1, c2, c3), in place. Several vectors go side by side, as each round waits for the one
/// before it.
template <std::size_t vectors>
inline void philox_rounds_in_place(PhiloxVector (&c0)[vectors], PhiloxVector (&c1)[vectors],
                                   PhiloxVector (&c2)[vectors], PhiloxVector (&c3)[vectors], std::uint32_t k0,
                                   std::uint32_t k1) {
  const PhiloxVector m0 = philox_broadcast(philox_multiplier_0);
  const PhiloxVector m1 = philox_broadcast(philox_multiplier_1);
  PhiloxVector key0 = philox_broadcast(k0);
  PhiloxVector key1 = philox_broadcast(k1);
  for (int round = 0; round < philox_rounds; ++round) {
    for (std::size_t v = 0; v < vectors; ++v) {
      const PhiloxVector p0 = low_product(c0[v], m0);
      const PhiloxVector p1 = low_product(c2[v], m1);
      c0[v] = (p1 >> 32) ^ c1[v] ^ key0;
      c2[v] = (p0 >> 32) ^ c3[v] ^ key1;
      c1[v] = p1;
      c3[v] = p0;
    }
    key0 += philox_weyl_0;
    key1 += philox_weyl_1;
  }
}

/// One block: the four words that belong to a counter and a key.
inline PhiloxBlock philox4x32_10(PhiloxBlock counter, std::uint32_t k0, std::uint32_t k1) {
  PhiloxVector c0[] = {philox_broadcast(counter[0])}, c1[] = {philox_broadcast(counter[1])},
               c2[] = {philox_broadcast(counter[2])}, c3[] = {philox_broadcast(counter[3])};
  philox_rounds_in_place(c0, c1, c2, c3, k0, k1);
  const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
  return {low(c0[0][0]), low(c1[0][0]), low(c2[0][0]), low(c3[0][0])};
}

}  // namespace easy_diffusion::detail::inline EASY_DIFFUSION_ISA
