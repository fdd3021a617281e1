// A child made by fork() computes: it has neither its parent's threads nor whoever held a lock.

#if defined(__unix__) || defined(__APPLE__)

#include <atomic>
#include <cstdint>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

/// Whether a child computes `right()` within `seconds`. One that waits for ever is ended by its alarm.
template <class F>
bool child_says(unsigned seconds, F&& right) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(seconds);
    _exit(right() ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// The sum of 1 ... n, over threads.
std::int64_t sum_up_to(std::int64_t n) {
  std::atomic<std::int64_t> sum{0};
  parallel_for(1, n + 1, 1, [&](std::int64_t first, std::int64_t last) {
    Tensor<std::int64_t> part(Shape{last - first});
    for (std::int64_t i = first; i < last; ++i) part[i - first] = i;
    for (const std::int64_t i : part) sum += i;
  });
  return sum;
}

TEST_CASE("a child of a process that has threads computes serially", "[core][parallel][fork]") {
  const Threads scope(2);
  REQUIRE(sum_up_to(1000) == 500500);
  CHECK(child_says(30, [] { return sum_up_to(1000) == 500500; }));
#if defined(_OPENMP)
  CHECK(child_says(30, [] { return num_threads() == 1; }));
  CHECK(child_says(30, [] {
    set_num_threads(2);  // does not bring them back
    return sum_up_to(1000) == 500500;
  }));
  CHECK(num_threads() == 2);
#endif
  // A child's child, and the parent itself.
  CHECK(child_says(30, [] {
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(sum_up_to(1000) == 500500 ? 0 : 1);
    int status = -1;
    return waitpid(grandchild, &status, 0) == grandchild && status == 0 && sum_up_to(10) == 55;
  }));
  CHECK(sum_up_to(1000) == 500500);
}

TEST_CASE("a child does not wait for what other threads allocate", "[core][parallel][fork]") {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      Tensor<float> small(Shape{16});
      small[0] = 1;
    }
  });
  bool all = true;
  for (int i = 0; i < 60 && all; ++i)
    all = child_says(5, [] { return Tensor<float>(Shape{16}, 2.0F)[3] == 2.0F && allocator_stats().bytes_in_use > 0; });
  stop = true;
  other.join();
  CHECK(all);
}

// Runs in a process of its own: `core_fork_first`.
TEST_CASE("a child of a process that has no threads yet may have them", "[.][fork-first]") {
#if defined(_OPENMP)
  const Threads scope(2);
  CHECK(child_says(30, [] {
    std::atomic<int> most{0};
    parallel_for(0, 64, 1, [&](std::int64_t, std::int64_t) {
      const int now = omp_get_num_threads();
      if (now > most) most = now;
    });
    return num_threads() == 2 && most == 2;
  }));
#endif
}

}  // namespace

#endif
