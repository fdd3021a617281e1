/// \file
/// How far two sets of samples lie apart, in any number of dimensions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "support/metrics/sample_set.hpp"

namespace easy_diffusion::bench {

/// Sliced Wasserstein distance \cite bonneel_2015_sliced to a reference set: both sets are projected on random directions,
/// where the distance W2 of two equally large sets is the root mean square difference of their sorted values; the root mean
/// square of that over the directions. A shift of both by d comes out as |d| / sqrt(dimension).
class SlicedWasserstein {
 public:
  /// \param reference m samples of `dimension` numbers, one behind the other
  /// \param seed      of the directions, which are the same for all sets that are compared
  /// \throw ShapeError, ValueError as `sample_count`, or for no direction
  SlicedWasserstein(std::span<const double> reference, std::size_t dimension, std::int64_t directions = 128,
                    std::uint64_t seed = 0)
      : dimension_(dimension), count_(sample_count("sliced Wasserstein", reference, dimension, 1)) {
    if (directions < 1)
      throw ValueError("sliced Wasserstein: expected at least one direction, got " + std::to_string(directions));
    directions_.resize(static_cast<std::size_t>(directions) * dimension);
    fill_normal(std::span<double>(directions_), {seed, streams::user, 2});
    for (std::size_t first = 0; first < directions_.size(); first += dimension) {
      double square = 0;
      for (std::size_t i = first; i < first + dimension; ++i) square += directions_[i] * directions_[i];
      for (std::size_t i = first; i < first + dimension; ++i) directions_[i] /= std::sqrt(square);
    }
    sorted_.resize(static_cast<std::size_t>(directions));
    parallel_for(0, directions, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) sorted_[static_cast<std::size_t>(k)] = projected(reference, k);
    });
  }

  /// \param samples as many as the reference has \throw ShapeError for another number, ValueError for one not finite
  [[nodiscard]] double distance(std::span<const double> samples) const {
    const std::int64_t count = sample_count("sliced Wasserstein", samples, dimension_, 1);
    if (count != count_)
      throw ShapeError("sliced Wasserstein: expected " + std::to_string(count_) + " samples, got " +
                       std::to_string(count));
    std::vector<double> squares(sorted_.size());
    parallel_for(0, static_cast<std::int64_t>(squares.size()), 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        const std::vector<double> values = projected(samples, k);
        const std::vector<double>& wanted = sorted_[static_cast<std::size_t>(k)];
        double& sum = squares[static_cast<std::size_t>(k)];
        for (std::size_t i = 0; i < values.size(); ++i) sum += (values[i] - wanted[i]) * (values[i] - wanted[i]);
      }
    });
    double sum = 0;
    for (const double square : squares) sum += square;
    return std::sqrt(sum / static_cast<double>(squares.size()) / static_cast<double>(count));
  }

 private:
  [[nodiscard]] std::vector<double> projected(std::span<const double> samples, std::int64_t direction) const {
    const double* along = directions_.data() + static_cast<std::size_t>(direction) * dimension_;
    std::vector<double> values;
    values.reserve(static_cast<std::size_t>(count_));
    for (std::size_t first = 0; first < samples.size(); first += dimension_) {
      double sum = 0;
      for (std::size_t i = 0; i < dimension_; ++i) sum += along[i] * samples[first + i];
      values.push_back(sum);
    }
    std::sort(values.begin(), values.end());
    return values;
  }

  std::size_t dimension_;
  std::int64_t count_;
  std::vector<double> directions_;           // [directions, dimension]
  std::vector<std::vector<double>> sorted_;  // [directions][count]
};

}  // namespace easy_diffusion::bench
