/// \file
/// Timing for the benchmarks.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace easy_diffusion::bench {

/// Median time of one call of `f`, in seconds, after one call that is not counted.
template <class F>
[[nodiscard]] double median_seconds(int repetitions, F&& f) {
  f();
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + repetitions / 2, times.end());
  return times[static_cast<std::size_t>(repetitions / 2)];
}

}  // namespace easy_diffusion::bench
