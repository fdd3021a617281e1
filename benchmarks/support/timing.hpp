/// \file
/// Timing for the benchmarks.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace easy_diffusion::bench {

/// Median time of one call of `f`, in seconds, after one call that is not counted: of `repetitions` calls, and of more
/// until `least_seconds` are spent.
template <class F>
[[nodiscard]] double median_seconds(int repetitions, F&& f, double least_seconds = 0) {
  f();
  std::vector<double> times;
  for (double spent = 0; static_cast<int>(times.size()) < repetitions || spent < least_seconds; spent += times.back()) {
    const auto start = std::chrono::steady_clock::now();
    f();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace easy_diffusion::bench
