/// \file
/// 8-bit data as numbers in [-1, 1], for the two kinds of likelihood that a diffusion model has.
///
/// The bound of the discrete chain is about the whole numbers themselves: its decoder wants k / 127.5 - 1 as it is.
/// The likelihood along the probability-flow equation is a density: its data are spread evenly over their bins first
/// \cite song_2021_score, in training as in evaluation, and `sde::bits_per_dimension` takes `dequantized_bits` for them.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/decoder.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// log2 of how many bins of dequantised data fit into a length of one.
inline constexpr double dequantized_bits = 7;

/// k / 127.5 - 1 becomes (k + u) / 128 - 1, u uniform in [0, 1): element i takes deviate number `first_element` + i of
/// (seed, streams::dequantization, epoch).
/// \param x 8-bit data in [-1, 1] \throw ValueError for other data, dequantised ones too
template <sde::State S>
void dequantize(S& x, std::uint64_t seed, std::uint32_t epoch, std::uint64_t first_element = 0) {
  using T = sde::scalar_t<S>;
  expect_eight_bit(x);
  constexpr std::size_t count = 64;
  T deviates[count];
  std::size_t at = count;
  std::uint64_t next = first_element;
  sde::for_each_element(
      [&](auto& e) {
        if (at == count) {
          fill_uniform(std::span<T>(deviates, count), {seed, streams::dequantization, epoch}, next);
          next += count;
          at = 0;
        }
        const double level = std::round(127.5 * (static_cast<double>(e) + 1));
        const double spread = (level + static_cast<double>(deviates[at++])) / 128 - 1;
        e = static_cast<std::remove_reference_t<decltype(e)>>(spread);
      },
      x);
}

}  // namespace easy_diffusion::diffusion
