// parallel_for and the number of threads.

#include "easy_diffusion/core/parallel.hpp"

#include <atomic>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEST_CASE("parallel_for covers every index once", "[core][parallel]") {
  for (const int threads : {1, 2, 3, 5}) {
    const Threads scope(threads);
    for (const std::int64_t n : {0, 1, 2, 3, 7, 64, 1000, 1001})
      for (const std::int64_t grain : {-1, 0, 1, 3, 64, 5000}) {
        INFO(threads << " threads, " << n << " indices, grain " << grain);
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
        std::atomic<int> short_pieces{0};
        const std::int64_t begin = -5;
        parallel_for(begin, begin + n, grain, [&](std::int64_t first, std::int64_t last) {
          if (last - first < grain && last != begin + n) ++short_pieces;
          for (std::int64_t i = first; i < last; ++i) ++visits[static_cast<std::size_t>(i - begin)];
        });
        bool once = true;
        for (const auto& count : visits) once = once && count == 1;
        CHECK(once);
        CHECK(short_pieces == 0);  // only the last piece may be short
      }
  }
  bool called = false;
  parallel_for(3, 1, 1, [&](std::int64_t, std::int64_t) { called = true; });
  CHECK_FALSE(called);
}

TEST_CASE("parallel_for throws what its function threw", "[core][parallel]") {
  for (const int threads : {1, 2}) {
    const Threads scope(threads);
    const auto run = [] {
      parallel_for(0, 100, 1, [](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i)
          if (i == 42) throw std::runtime_error("at 42");
      });
    };
    CHECK_THROWS_WITH(run(), "at 42");
    CHECK_THROWS_AS(run(), std::runtime_error);
    // And works again afterwards.
    std::atomic<std::int64_t> count{0};
    parallel_for(0, 100, 1, [&](std::int64_t first, std::int64_t last) { count += last - first; });
    CHECK(count == 100);
  }
}

TEST_CASE("a parallel loop inside another runs serially", "[core][parallel]") {
  const Threads scope(2);
  std::atomic<int> inner_calls{0}, outer_indices{0};
  parallel_for(0, 8, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      ++outer_indices;
      parallel_for(0, 1000, 1, [&](std::int64_t a, std::int64_t b) { inner_calls += a == 0 && b == 1000 ? 1 : 1000; });
    }
  });
  CHECK(outer_indices == 8);
#if defined(_OPENMP)
  CHECK(inner_calls == 8);
#endif
}

TEST_CASE("the number of threads can be set", "[core][parallel]") {
  const Threads scope(3);
#if defined(_OPENMP)
  CHECK(num_threads() == 3);
  std::atomic<int> most{0};
  parallel_for(0, 64, 1, [&](std::int64_t, std::int64_t) {
    const int now = omp_get_num_threads();
    if (now > most) most = now;
  });
  CHECK(most <= 3);
#else
  CHECK(num_threads() == 1);
#endif
  CHECK_THROWS_WITH(set_num_threads(0), "threads: expected 1 to 4096, got 0");
  CHECK_THROWS_WITH(set_num_threads(-2), "threads: expected 1 to 4096, got -2");
  CHECK_THROWS_AS(set_num_threads(5000), ValueError);
  set_num_threads(1);
  CHECK(num_threads() == 1);
  CHECK(detail::default_threads() >= 1);
}

TEST_CASE("a team has no more threads than there are processors", "[core][parallel]") {
  CHECK(detail::processors() >= 1);
#if defined(_OPENMP)
  struct Limit {
    int before = detail::thread_limit.load();
    explicit Limit(int processors) { detail::thread_limit.store(processors); }
    ~Limit() { detail::thread_limit.store(before); }
  };
  for (const int processors : {1, 2, 3}) {
    const Limit limit(processors);
    const Threads scope(64);
    CHECK(num_threads() == processors);
    std::atomic<int> most{0}, covered{0};
    parallel_for(0, 1000, 1, [&](std::int64_t first, std::int64_t last) {
      const int now = omp_get_num_threads();
      if (now > most) most = now;
      covered += static_cast<int>(last - first);
    });
    CHECK(most <= processors);
    CHECK(covered == 1000);
  }
#endif
}

TEST_CASE("the quota of a cgroup is read", "[core][parallel]") {
  const auto folder = scratch_folder("cgroup");
  const auto file = [&](const std::string& name, const std::string& text) {
    const std::string path = (folder / name).string();
    std::ofstream(path) << text;
    return path;
  };
  const std::string missing = (folder / "missing").string();
  const auto version_2 = [&](const std::string& text) {
    return detail::cgroup_cpus(file("cpu.max", text).c_str(), missing.c_str(), missing.c_str());
  };
  CHECK(version_2("200000 100000\n") == 2);
  CHECK(version_2("150000 100000\n") == 2);
  CHECK(version_2("50000 100000\n") == 1);
  CHECK(version_2("max 100000\n") == 0);
  CHECK(version_2("") == 0);
  CHECK(version_2("nonsense") == 0);
  CHECK(version_2("100000 0\n") == 0);
  CHECK(version_2("-1 100000\n") == 0);
  const auto version_1 = [&](const std::string& quota, const std::string& period) {
    return detail::cgroup_cpus(missing.c_str(), file("quota", quota).c_str(), file("period", period).c_str());
  };
  CHECK(version_1("300000\n", "100000\n") == 3);
  CHECK(version_1("250000\n", "100000\n") == 3);
  CHECK(version_1("-1\n", "100000\n") == 0);
  CHECK(version_1("", "100000\n") == 0);
  CHECK(detail::cgroup_cpus(missing.c_str(), missing.c_str(), missing.c_str()) == 0);
  // The newer file decides where both are there.
  CHECK(detail::cgroup_cpus(file("cpu.max", "max 100000").c_str(), file("quota", "300000").c_str(),
                            file("period", "100000").c_str()) == 0);
}

}  // namespace
