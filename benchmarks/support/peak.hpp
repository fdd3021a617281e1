/// \file
/// What the machine can do at most: fused multiply-adds a second, and bytes a second from and to memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"
#include "support/timing.hpp"

namespace easy_diffusion::bench {

/// FLOP/s of fused multiply-adds on float registers alone, by that many threads.
[[nodiscard]] inline double arithmetic_peak(int threads) {
  using P = ops::detail::Pack<float>;
  constexpr int chains = 12;
  constexpr std::int64_t rounds = 2'000'000;
  std::vector<float> sink(static_cast<std::size_t>(threads));
  const double seconds = median_seconds(5, [&] {
    parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t t = first; t < last; ++t) {
        P sum[chains];
        for (int k = 0; k < chains; ++k) sum[k] = P(static_cast<float>(t + k));  // equal chains would be computed once
        const P a(0.999999F);
        const P b(1e-7F);
        for (std::int64_t i = 0; i < rounds; ++i)
          for (P& s : sum) s = fma(s, a, b);
        float total = 0;
        for (const P& s : sum) total += ops::detail::sum_lanes(s);
        sink[static_cast<std::size_t>(t)] = total;
      }
    });
  });
  return 2.0 * static_cast<double>(P::lanes * chains * rounds * threads) / seconds;
}

/// Bytes/s over 256 MiB, more than caches hold: the faster of adding it up and of changing it in place (read and written).
[[nodiscard]] inline double memory_bandwidth() {
  using P = ops::detail::Pack<float>;
  constexpr std::int64_t block = 1 << 16;
  constexpr std::int64_t blocks = 1 << 10;
  Tensor<float> x(Shape{blocks, block});
  Tensor<float> sums(Shape{blocks});
  const double read = median_seconds(5, [&] {
    parallel_for(0, blocks, 16, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        P sum[8];
        for (P& s : sum) s = P(0.0F);
        const float* p = x.data() + k * block;
        for (std::int64_t i = 0; i < block; i += 8 * P::lanes)
          for (int j = 0; j < 8; ++j) sum[j] = sum[j] + P::load(p + i + j * P::lanes);
        for (int j = 1; j < 8; ++j) sum[0] = sum[0] + sum[j];
        sums[k] = ops::detail::sum_lanes(sum[0]);
      }
    });
  });
  const double update = median_seconds(5, [&] {
    parallel_for(0, blocks, 16, [&](std::int64_t first, std::int64_t last) {
      const P one(1.0F);
      float* p = x.data();
      for (std::int64_t i = first * block; i < last * block; i += P::lanes) (P::load(p + i) + one).store(p + i);
    });
  });
  const double bytes = static_cast<double>(x.size()) * sizeof(float);
  return std::max(bytes / read, 2 * bytes / update);
}

}  // namespace easy_diffusion::bench
