/// \file
/// The rows of bench_ops: which are wanted, how they are timed and printed.
#pragma once

#include <cstdio>
#include <regex>
#include <string>
#include <utility>

#include "support/peak.hpp"
#include "support/timing.hpp"

namespace easy_diffusion::bench {

/// What a row is measured by: floating-point operations, or bytes that have to be read and written at least.
struct Work {
  enum class Kind { flops, bytes } kind;
  double amount;

  static Work flops(double amount) { return {Kind::flops, amount}; }
  static Work bytes(double amount) { return {Kind::bytes, amount}; }
};

class OpsReport {
 public:
  /// Measures the peaks of that many threads.
  OpsReport(int threads, int repetitions, const std::string& filter, bool json)
      : threads_(threads),
        repetitions_(repetitions),
        filter_(filter),
        json_(json),
        peak_(arithmetic_peak(threads)),
        bandwidth_(memory_bandwidth()) {
    constexpr auto lanes = static_cast<long long>(ops::detail::Pack<float>::lanes);
    std::printf(json_ ? "{\"op\":\"peak\",\"threads\":%d,\"gflops\":%.1f,\"gbs\":%.1f,\"lanes\":%lld}\n"
                      : "%d threads: arithmetic peak %.0f GFLOP/s, memory %.1f GB/s, vectors of %lld floats\n",
                threads_, 1e-9 * peak_, 1e-9 * bandwidth_, lanes);
  }

  /// Whether the filter takes a row of that name; asked before a row's data are made.
  [[nodiscard]] bool wants(const std::string& name) const { return std::regex_search(name, filter_); }

  /// `verify` runs the operation and throws where it is wrong; `run` is timed.
  template <class Verify, class Run>
  void row(const std::string& name, const Work& work, Verify&& verify, Run&& run) {
    if (!wants(name)) return;
    std::forward<Verify>(verify)();
    const double seconds = median_seconds(repetitions_, run, 0.02);
    const double rate = work.amount / seconds;
    const bool flops = work.kind == Work::Kind::flops;
    const double share = rate / (flops ? peak_ : bandwidth_);
    if (json_)
      std::printf("{\"op\":\"%s\",\"threads\":%d,\"ms\":%.4f,\"%s\":%.2f,\"share\":%.4f}\n", name.c_str(), threads_,
                  1e3 * seconds, flops ? "gflops" : "gbs", 1e-9 * rate, share);
    else
      std::printf("%-46s %9.3f ms %8.1f %s %6.1f %% of %s\n", name.c_str(), 1e3 * seconds, 1e-9 * rate,
                  flops ? "GFLOP/s" : "GB/s   ", 100 * share, flops ? "the peak" : "memory");
    std::fflush(stdout);
  }

 private:
  int threads_;
  int repetitions_;
  std::regex filter_;
  bool json_;
  double peak_, bandwidth_;
};

}  // namespace easy_diffusion::bench
