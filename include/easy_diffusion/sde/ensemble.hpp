/// \file
/// Ensembles: many independent paths at once, over threads and vector lanes, each kept in the nearest cache for all of
/// its steps.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// A noise whose elements can be counted from another one, as `BrownianNoise`: what a part of an ensemble is given.
template <class Noise>
concept SplittableNoise = std::copyable<Noise> && requires(Noise& noise) {
  noise.first_element += std::uint64_t{1};
};

/// Moves every element of `x`, a path of its own, along the grid: the bits are those of one integration of the whole as one
/// state, as long as the system treats elements alone. Blocks of paths take all of their steps in a row, in the first
/// cache, and go over threads; the result depends neither on threads nor on how an ensemble is split.
/// \tparam Stepper a stepper template, such as `EulerMaruyama`
/// \param system  drift and diffusion element by element, for `std::array<T, n>` as state: a template does
/// \param x       paths; path i has the noise of element `noise.first_element + i`
/// \param options of `integrate`
/// \throw whatever the system or the noise throws; ValueError where `options` ask for finite states
template <template <class> class Stepper, class System, std::floating_point T, SplittableNoise Noise>
void integrate_ensemble(const System& system, std::span<T> x, const TimeGrid& grid, const Noise& noise,
                        const IntegrateOptions& options = {}) {
  // 4 KiB a state: a stepper's few work states stay in the first cache.
  constexpr std::size_t width = 4096 / sizeof(T);
  using Block = std::array<T, width>;
  const auto count = static_cast<std::int64_t>(x.size());
  const std::int64_t blocks = (count + static_cast<std::int64_t>(width) - 1) / static_cast<std::int64_t>(width);
  parallel_for(0, blocks, 1, [&](std::int64_t first, std::int64_t last) {
    Stepper<Block> stepper;
    Block block{};
    for (std::int64_t b = first; b < last; ++b) {
      const std::size_t begin = static_cast<std::size_t>(b) * width;
      const std::size_t size = std::min(width, x.size() - begin);
      // The last block goes through the same code: what fills it up is dropped.
      for (std::size_t i = 0; i < width; ++i) block[i] = x[begin + std::min(i, size - 1)];
      Noise part = noise;
      part.first_element += begin;
      integrate(stepper, system, block, grid, part, options);
      for (std::size_t i = 0; i < size; ++i) x[begin + i] = block[i];
    }
  });
}

/// Moves every state of `x`, a path of its own, along the grid, over threads. Path i has the noise of the elements from
/// `noise.first_element + i * elements a state` on.
/// \param stepper copied, one for each piece of the work
/// \param system  of all paths; one that differs from path to path offers `system.of_path(i)`, the system of path i
/// \throw whatever the system or the noise throws
template <class Stepper, class System, State S, SplittableNoise Noise>
void integrate_paths(const Stepper& stepper, const System& system, std::span<S> x, const TimeGrid& grid,
                     const Noise& noise, const IntegrateOptions& options = {}) {
  parallel_for(0, static_cast<std::int64_t>(x.size()), 64, [&](std::int64_t first, std::int64_t last) {
    Stepper own = stepper;
    for (std::int64_t i = first; i < last; ++i) {
      S& path = x[static_cast<std::size_t>(i)];
      Noise part = noise;
      part.first_element += static_cast<std::uint64_t>(i * element_count(path));
      if constexpr (requires { system.of_path(i); }) {
        integrate(own, system.of_path(i), path, grid, part, options);
      } else {
        integrate(own, system, path, grid, part, options);
      }
    }
  });
}

}  // namespace easy_diffusion::sde
