/// \file
/// Random numbers that have an address: deviate number i of a stream and step is a pure function of
/// (seed, stream, step, i). No generator is passed around, and no order of drawing matters.
///
/// Philox4x32-10, key = seed, counter = (block, step, stream). A float takes one of a block's four words
/// (block = i / 4), a double two of them (block = i / 2). For sample s of a batch whose samples have E elements,
/// i = s E + element. `docs/conventions.md` lists the streams; known answers are frozen in `tests/core`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/detail/deviates.hpp"
#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/detail/philox.hpp"
#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion {

/// Where a sequence of deviates lives.
struct NoiseAddress {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;  ///< what the noise is for, see `streams`
  std::uint32_t step = 0;    ///< integration step or training step
};

/// Streams the library uses. Yours may start at `user`.
namespace streams {
inline constexpr std::uint32_t brownian = 0;        ///< Brownian increments, dW
inline constexpr std::uint32_t space_time = 1;      ///< second deviates, for the space-time integral of W
inline constexpr std::uint32_t initial_state = 2;   ///< x at the start of sampling
inline constexpr std::uint32_t weights = 3;         ///< initial values of parameters; step = which one
inline constexpr std::uint32_t data_order = 4;      ///< shuffling; step = epoch
inline constexpr std::uint32_t training_time = 5;   ///< diffusion times of a training batch
inline constexpr std::uint32_t training_noise = 6;  ///< noise of a training batch
inline constexpr std::uint32_t dropout = 7;         ///< dropout masks
inline constexpr std::uint32_t augmentation = 8;    ///< flips, crops
inline constexpr std::uint32_t condition_dropout = 9;  ///< which samples of a training batch are told no condition
inline constexpr std::uint32_t dequantization = 10;    ///< noise below 8 bits of training data; step = epoch
inline constexpr std::uint32_t bound_noise = 11;       ///< noise of a variational bound; step = step of the chain
inline constexpr std::uint32_t data_choice = 12;       ///< which pictures of a set are taken; step 0
inline constexpr std::uint32_t brownian_tree = 16;             ///< virtual Brownian tree; step = number of the node
inline constexpr std::uint32_t brownian_tree_space_time = 17;  ///< its second deviates
inline constexpr std::uint32_t corrector = 18;                 ///< Langevin correctors; step = number of the correction
inline constexpr std::uint32_t likelihood_probe = 19;          ///< probes of Hutchinson's trace estimate
inline constexpr std::uint32_t inpainting = 20;                ///< known parts and ways back; step = number of the use
inline constexpr std::uint32_t user = 1U << 16;     ///< first number that is never used here
}  // namespace streams

namespace detail::inline EASY_DIFFUSION_ISA {

/// The blocks `[first, first + lanes)` of an address, as four arrays of words: the low 32 bits of each element.
template <std::size_t lanes>
struct PhiloxLanes {
  static constexpr std::size_t vectors = (lanes + philox_width - 1) / philox_width;
  std::uint64_t w0[vectors * philox_width], w1[vectors * philox_width], w2[vectors * philox_width],
      w3[vectors * philox_width];

  PhiloxLanes(const NoiseAddress& address, std::uint64_t first) {
    constexpr std::size_t together = vectors % 4 == 0 ? 4 : 1;
    PhiloxVector lane{};
    for (std::size_t i = 0; i < philox_width; ++i) lane[i] = i;
    for (std::size_t begin = 0; begin < vectors; begin += together) {
      PhiloxVector c0[together], c1[together], c2[together], c3[together];
      for (std::size_t v = 0; v < together; ++v) {
        c0[v] = lane + (first + (begin + v) * philox_width);
        c1[v] = c0[v] >> 32;
        c2[v] = philox_broadcast(address.step);
        c3[v] = philox_broadcast(address.stream);
      }
      philox_rounds_in_place(c0, c1, c2, c3, static_cast<std::uint32_t>(address.seed),
                             static_cast<std::uint32_t>(address.seed >> 32));
      constexpr std::size_t bytes = sizeof c0;
      std::memcpy(w0 + begin * philox_width, c0, bytes);
      std::memcpy(w1 + begin * philox_width, c1, bytes);
      std::memcpy(w2 + begin * philox_width, c2, bytes);
      std::memcpy(w3 + begin * philox_width, c3, bytes);
    }
  }
};

inline constexpr std::uint32_t low_word(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
inline constexpr std::uint64_t joined(std::uint64_t low, std::uint64_t high) { return (high << 32) | low_word(low); }

struct NormalDeviate {
  template <std::size_t lanes>
  static void make(const PhiloxLanes<lanes>& words, float* out) {
    for (std::size_t i = 0; i < lanes; ++i) {
      const auto a = box_muller<float>(low_word(words.w0[i]), low_word(words.w1[i]));
      const auto b = box_muller<float>(low_word(words.w2[i]), low_word(words.w3[i]));
      out[4 * i] = a.first;
      out[4 * i + 1] = a.second;
      out[4 * i + 2] = b.first;
      out[4 * i + 3] = b.second;
    }
  }
  template <std::size_t lanes>
  static void make(const PhiloxLanes<lanes>& words, double* out) {
    for (std::size_t i = 0; i < lanes; ++i) {
      const auto a = box_muller<double>(joined(words.w0[i], words.w1[i]), joined(words.w2[i], words.w3[i]));
      out[2 * i] = a.first;
      out[2 * i + 1] = a.second;
    }
  }
};

struct UniformDeviate {
  template <std::size_t lanes>
  static void make(const PhiloxLanes<lanes>& words, float* out) {
    for (std::size_t i = 0; i < lanes; ++i) {
      out[4 * i] = uniform_from(low_word(words.w0[i]));
      out[4 * i + 1] = uniform_from(low_word(words.w1[i]));
      out[4 * i + 2] = uniform_from(low_word(words.w2[i]));
      out[4 * i + 3] = uniform_from(low_word(words.w3[i]));
    }
  }
  template <std::size_t lanes>
  static void make(const PhiloxLanes<lanes>& words, double* out) {
    for (std::size_t i = 0; i < lanes; ++i) {
      out[2 * i] = uniform_from(joined(words.w0[i], words.w1[i]));
      out[2 * i + 1] = uniform_from(joined(words.w2[i], words.w3[i]));
    }
  }
};

/// out[j] = deviate number first + j. Whole groups of blocks go straight to `out`; what is left at the two ends
/// passes through a small buffer.
template <class Deviate, class T>
void fill_deviates(std::span<T> out, const NoiseAddress& address, std::uint64_t first) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  constexpr std::size_t lanes = 32;
  constexpr std::size_t per_block = 16 / sizeof(T);
  constexpr std::size_t group = lanes * per_block;
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t i = first + done;
    const auto skip = static_cast<std::size_t>(i % per_block);
    const std::size_t left = out.size() - done;
    if (skip == 0 && left >= group) {
      Deviate::make(PhiloxLanes<lanes>(address, i / per_block), out.data() + done);
      done += group;
    } else if (left + skip <= 4 * per_block) {
      T buffer[4 * per_block];
      Deviate::make(PhiloxLanes<4>(address, i / per_block), buffer);
      for (std::size_t j = 0; j < left; ++j) out[done + j] = buffer[skip + j];
      done += left;
    } else {
      T buffer[group];
      Deviate::make(PhiloxLanes<lanes>(address, i / per_block), buffer);
      const std::size_t count = left < group - skip ? left : group - skip;
      for (std::size_t j = 0; j < count; ++j) out[done + j] = buffer[skip + j];
      done += count;
    }
  }
}

template <class Deviate, class T>
T one_deviate(const NoiseAddress& address, std::uint64_t i) {
  constexpr std::size_t per_block = 16 / sizeof(T);
  T buffer[per_block];
  Deviate::make(PhiloxLanes<1>(address, i / per_block), buffer);
  return buffer[i % per_block];
}

}  // namespace detail::inline EASY_DIFFUSION_ISA

inline namespace EASY_DIFFUSION_ISA {

/// out[j] = standard normal deviate number `first + j` of that address. T is float or double (which have
/// different deviates: a double is not a float with more digits).
template <class T>
void fill_normal(std::span<T> out, const NoiseAddress& address, std::uint64_t first = 0) {
  detail::fill_deviates<detail::NormalDeviate>(out, address, first);
}

/// out[j] = deviate number `first + j`, uniform in [0, 1).
template <class T>
void fill_uniform(std::span<T> out, const NoiseAddress& address, std::uint64_t first = 0) {
  detail::fill_deviates<detail::UniformDeviate>(out, address, first);
}

/// Standard normal deviate number i of that address.
template <class T = double>
[[nodiscard]] T normal(const NoiseAddress& address, std::uint64_t i) {
  return detail::one_deviate<detail::NormalDeviate, T>(address, i);
}

/// Uniform deviate number i of that address, in [0, 1).
template <class T = double>
[[nodiscard]] T uniform(const NoiseAddress& address, std::uint64_t i) {
  return detail::one_deviate<detail::UniformDeviate, T>(address, i);
}

/// Integer in [0, bound): the high half of a 64-bit random word times the bound. Its bias is below bound / 2^64.
/// \throw ValueError for bound 0
[[nodiscard]] inline std::uint64_t uniform_integer(std::uint64_t bound, const NoiseAddress& address, std::uint64_t i) {
  if (bound == 0) throw ValueError("uniform_integer: expected a bound above 0, got 0");
  const detail::PhiloxLanes<1> words(address, i / 2);
  const std::uint64_t word =
      i % 2 == 0 ? detail::joined(words.w0[0], words.w1[0]) : detail::joined(words.w2[0], words.w3[0]);
  // High half of word * bound without a 128-bit type.
  const std::uint64_t low = (word & 0xFFFFFFFFU) * (bound & 0xFFFFFFFFU);
  const std::uint64_t cross_1 = (word >> 32) * (bound & 0xFFFFFFFFU);
  const std::uint64_t cross_2 = (word & 0xFFFFFFFFU) * (bound >> 32);
  const std::uint64_t middle = (low >> 32) + (cross_1 & 0xFFFFFFFFU) + (cross_2 & 0xFFFFFFFFU);
  return (word >> 32) * (bound >> 32) + (cross_1 >> 32) + (cross_2 >> 32) + (middle >> 32);
}

/// A permutation of 0 ... n-1 (Fisher and Yates).
[[nodiscard]] inline std::vector<std::uint32_t> random_permutation(std::uint32_t n, const NoiseAddress& address) {
  std::vector<std::uint32_t> order(n);
  for (std::uint32_t i = 0; i < n; ++i) order[i] = i;
  for (std::uint32_t i = n; i > 1; --i)
    std::swap(order[i - 1], order[static_cast<std::size_t>(uniform_integer(i, address, i))]);
  return order;
}

}  // inline namespace EASY_DIFFUSION_ISA

}  // namespace easy_diffusion
