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
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
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

/// Processors that this process may run on and its cgroup pays for.
inline int processors() {
#if defined(_OPENMP)
  // Not the affinity mask of this thread: the OpenMP runtime may have bound it to a single processor.
  int cpus = omp_get_num_procs();
#else
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#endif
#if defined(__linux__)
  const int paid = cgroup_cpus("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                               "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (paid > 0 && paid < cpus) cpus = paid;
#endif
  return cpus > 0 ? cpus : 1;
}

/// `OMP_NUM_THREADS` if set, else all processors.
inline int default_threads() {
#if defined(_OPENMP)
  if (const char* wish = std::getenv("OMP_NUM_THREADS")) {
    const int threads = std::atoi(wish);
    if (threads > 0) return threads;
  }
#endif
  return processors();
}

// Plain numbers, without a guard that a fork could leave locked. 0: not asked for yet.
inline std::atomic<int> thread_setting{0};
inline std::atomic<int> thread_limit{0};

inline int value_or(std::atomic<int>& setting, int (*first_value)()) {
  const int known = setting.load(std::memory_order_relaxed);
  if (known > 0) return known;
  int unknown = 0;
  const int fresh = first_value();
  return setting.compare_exchange_strong(unknown, fresh) ? fresh : unknown;
}

#if defined(_OPENMP)
/// A team of threads does not live on in the child of a fork, and not every OpenMP runtime notices: the child would wait
/// for it for ever. `team_lost` is true in the child of a process that had one.
inline std::atomic<bool> team_made{false};
inline std::atomic<bool> team_lost{false};
#if defined(__unix__) || defined(__APPLE__)
inline const int fork_watch = pthread_atfork(nullptr, nullptr, [] {
  if (team_made.load(std::memory_order_relaxed)) team_lost.store(true, std::memory_order_relaxed);
});
#endif
#endif

}  // namespace detail

/// Threads that parallel loops use: what `set_num_threads` asked for (at the start `OMP_NUM_THREADS`, or as many as there are
/// processors), but no more than the processors that the affinity mask allows and the cgroup's quota pays for, as the
/// others would only be waited for. 1 without OpenMP, and for ever in the child of a fork whose parent had used several.
[[nodiscard]] inline int num_threads() {
#if defined(_OPENMP)
  if (detail::team_lost.load(std::memory_order_relaxed)) return 1;
  const int limit = detail::value_or(detail::thread_limit, detail::processors);
  const int threads = detail::value_or(detail::thread_setting, detail::default_threads);
  return threads < limit ? threads : limit;
#else
  return 1;
#endif
}

/// \throw ValueError unless 1 <= threads <= 4096
inline void set_num_threads(int threads) {
  if (threads < 1 || threads > 4096) throw ValueError("threads: expected 1 to 4096, got " + std::to_string(threads));
  detail::thread_setting.store(threads);
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
  const int most = num_threads();
  const int threads = pieces < most ? static_cast<int>(pieces) : most;
  if (threads > 1 && !omp_in_parallel()) {
    detail::team_made.store(true, std::memory_order_relaxed);
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
