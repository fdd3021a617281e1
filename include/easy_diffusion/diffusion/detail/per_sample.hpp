/// \file
/// The samples that a state holds, for what is done to each by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// A state with a shape whose first axis counts samples: a tensor.
template <class S>
concept Batched = requires(const S& x, std::size_t axis) {
  x.shape().rank();
  x.extent(axis);
};

struct SampleExtents {
  std::int64_t samples = 1;
  std::int64_t elements = 0;  ///< of one sample
};

/// A tensor holds a sample for each index of its first axis; any other state is one sample.
template <sde::State S>
[[nodiscard]] SampleExtents sample_extents(const S& x) {
  const std::int64_t count = sde::element_count(x);
  if constexpr (Batched<S>) {
    if (x.shape().rank() > 0 && x.extent(0) > 0) return {x.extent(0), count / x.extent(0)};
  }
  return {1, count};
}

/// f(n, i, x_i, others_i...) for every element i of every sample n. Samples go over threads; the elements of one come
/// in order on one thread, so that f may sum into a place of that sample, whatever its batch.
/// \throw ShapeError where extents differ
template <class F, class S, class... Others>
void visit_samples(F&& f, S& x, Others&... others) {
  if constexpr (Batched<std::remove_const_t<S>>) {
    (sde::detail::expect_same_extents(x, others), ...);
    const SampleExtents extents = sample_extents(x);
    if (extents.elements == 0) return;
    const auto over = [&f, per = extents.elements](auto*... p) {
      return [&f, per, p...](std::int64_t first, std::int64_t last) {
        for (std::int64_t n = first; n < last; ++n)
          for (std::int64_t i = n * per; i < (n + 1) * per; ++i) f(n, i, p[i]...);
      };
    };
    parallel_for(0, extents.samples, std::max<std::int64_t>(1, sde::detail::parallel_grain / extents.elements),
                 over(x.data(), others.data()...));
  } else {
    std::int64_t i = 0;
    sde::for_each_element([&f, &i](auto&... e) { f(std::int64_t{0}, i++, e...); }, x, others...);
  }
}

/// Standard deviation of the elements of each sample, in one pass that finds exactly 0 where all are equal
/// \cite chan_1983_algorithms. \param[out] result one for each sample
template <sde::State S>
void sample_deviations(const S& x, std::vector<double>& result) {
  const SampleExtents extents = sample_extents(x);
  const auto samples = static_cast<std::size_t>(extents.samples);
  result.assign(2 * samples, 0);
  double* const squares = result.data();
  double* const means = result.data() + samples;
  visit_samples(
      [=](std::int64_t n, std::int64_t i, const auto& e) {
        const double from_mean = static_cast<double>(e) - means[n];
        means[n] += from_mean / static_cast<double>(i - n * extents.elements + 1);
        squares[n] += from_mean * (static_cast<double>(e) - means[n]);
      },
      x);
  result.resize(samples);
  for (double& square : result) square = std::sqrt(square / static_cast<double>(extents.elements));
}

}  // namespace easy_diffusion::diffusion::detail
