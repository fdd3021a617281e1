/// \file
/// Loops over threads: OpenMP where the compiler has it, serial otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion {

namespace detail {

/// Processors that the cgroup's quota pays for, rounded up; 0 where there is no quota.
/// Reads cgroup v2 `cpu.max` ("<quota> <period>" or "max <period>"), then v1.
inline int cgroup_cpus(const char* v2_path, const char* v1_quota_path, const char* v1_period_path) {
  const auto ceil_ratio = [](long long quota, long long period) {
    return quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
  };
  const auto read_number = [](const char* path) {
    long long value = -1;
    if (std::FILE* file = std::fopen(path, "r")) {
      if (std::fscanf(file, "%lld", &value) != 1) value = -1;
      std::fclose(file);
    }
    return value;
  };
  if (std::FILE* file = std::fopen(v2_path, "r")) {
    long long quota = -1;
    long long period = -1;
    const int fields = std::fscanf(file, "%lld %lld", &quota, &period);
    std::fclose(file);
    return fields == 2 ? ceil_ratio(quota, period) : 0;
  }
  return ceil_ratio(read_number(v1_quota_path), read_number(v1_period_path));
}

inline int default_threads() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  const int paid = cgroup_cpus("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                               "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (paid > 0 && paid < cpus) cpus = paid;
#endif
#if defined(_OPENMP)
  if (const char* wish = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(wish);
    if (threads > 0) return threads;
  }
#endif
  return cpus > 0 ? cpus : 1;
}

inline std::atomic<int>& thread_setting() {
  static std::atomic<int> threads{default_threads()};
  return threads;
}

}  // namespace detail

/// Threads that parallel loops use. At the start: `OMP_NUM_THREADS` if set, else the processors of the affinity
/// mask, at most as many as the cgroup's quota pays for. Always 1 without OpenMP.
[[nodiscard]] inline int num_threads() {
#if defined(_OPENMP)
  return detail::thread_setting().load();
#else
  return 1;
#endif
}

/// \throw ValueError unless 1 <= threads <= 4096
inline void set_num_threads(int threads) {
  if (threads < 1 || threads > 4096) throw ValueError("threads: expected 1 to 4096, got " + std::to_string(threads));
  detail::thread_setting().store(threads);
}

/// Calls `f(first, last)` on pieces that cover `[begin, end)` once, over threads. A piece has at least `grain`
/// indices (save the last). What `f` throws is thrown again here, the first one that came. Inside a parallel
/// loop it runs serially. How the range is cut depends on the number of threads: whatever `f` sums over
/// several indices must not depend on the cut.
template <class F>
void parallel_for(std::int64_t begin, std::int64_t end, std::int64_t grain, F&& f) {
  const std::int64_t n = end - begin;
  if (n <= 0) return;
  if (grain < 1) grain = 1;
#if defined(_OPENMP)
  const std::int64_t pieces = (n + grain - 1) / grain;
  const int threads = static_cast<int>(pieces < num_threads() ? pieces : num_threads());
  if (threads > 1 && !omp_in_parallel()) {
    std::exception_ptr error;
    std::mutex error_mutex;
    // Four pieces a thread even out uneven work; each is a whole number of grains.
    std::int64_t piece = (n + 4 * threads - 1) / (4 * threads);
    piece = ((piece + grain - 1) / grain) * grain;
    const std::int64_t count = (n + piece - 1) / piece;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t i = 0; i < count; ++i) {
      try {
        const std::int64_t first = begin + i * piece;
        f(first, first + piece < end ? first + piece : end);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  f(begin, end);
}

}  // namespace easy_diffusion
