/// \file
/// The battery that every operation goes through: aligned and misaligned views, one and more threads.
#pragma once

#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

/// Calls `run()`, which returns the operation's results, with 1, 2 and 3 threads: all must have the same bits.
/// Returns those results.
template <class Run>
auto same_for_any_threads(Run&& run) {
  const Threads one(1);
  const auto expected = run();
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    const auto got = run();
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      INFO("result " << i << " with " << threads << " threads");
      CHECK(same_bits(got[i], expected[i]));
    }
  }
  return expected;
}

/// Copies of rows [first, first + count).
template <class T>
Tensor<T> rows(const Tensor<T>& x, std::int64_t first, std::int64_t count) {
  return Tensor<T>::copy_of(x.view().slice(first, count));
}

/// `run(first, count)` returns the operation's per-sample results for those samples of a batch of `batch`; joined,
/// the pieces must have the bits of the whole.
template <class Run>
void same_for_any_batch_split(std::int64_t batch, Run&& run) {
  const auto whole = run(std::int64_t{0}, batch);
  for (const std::int64_t piece : {std::int64_t{1}, std::int64_t{3}, batch - 1})
    for (std::int64_t first = 0; first < batch; first += piece) {
      const std::int64_t count = std::min(piece, batch - first);
      const auto part = run(first, count);
      REQUIRE(part.size() == whole.size());
      for (std::size_t i = 0; i < part.size(); ++i) {
        INFO("result " << i << " of samples " << first << " to " << first + count);
        CHECK(same_bits(part[i], rows(whole[i], first, count)));
      }
    }
}

}  // namespace easy_diffusion::test
