/// \file
/// Memory of the process, as the operating system counts it.
#pragma once

#include <cstdio>

#include <sys/resource.h>
#include <unistd.h>

namespace easy_diffusion::bench {

/// The most that was resident so far, in MiB.
[[nodiscard]] inline double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// What is resident now, in MiB; 0 where the system does not say.
[[nodiscard]] inline double rss_mb() {
  long long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*d %lld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1024 * 1024);
}

}  // namespace easy_diffusion::bench
