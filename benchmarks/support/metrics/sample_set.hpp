/// \file
/// What the metrics check of a set of samples before they measure it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::bench {

/// Number of samples in a set that holds them one behind the other. A sampler that blew up must not pass for a good one.
/// \throw ShapeError unless the numbers make at least `least` whole samples, ValueError where one is not finite
template <class T>
std::int64_t sample_count(const char* metric, std::span<const T> samples, std::size_t dimension, std::int64_t least) {
  const auto count = static_cast<std::int64_t>(dimension > 0 ? samples.size() / dimension : 0);
  if (dimension == 0 || samples.size() % dimension != 0 || count < least)
    throw ShapeError(std::string(metric) + ": expected at least " + std::to_string(least) + " samples of " +
                     std::to_string(dimension) + " numbers, got " + std::to_string(samples.size()) + " numbers");
  for (std::size_t i = 0; i < samples.size(); ++i)
    if (!std::isfinite(samples[i]))
      throw ValueError(std::string(metric) + ": sample " + std::to_string(i / dimension) + " is not finite");
  return count;
}

}  // namespace easy_diffusion::bench
