/// \file
/// How group normalisation walks over memory. A sample's pixels are cut into blocks that stay in the first-level cache, by
/// the shape alone. The first pass makes each block's sums over pixels, one a channel; then the blocks' sums are joined in
/// order; the second pass writes the result. Samples or blocks are shared out among threads, and no bit depends on which.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// The extents all group normalisation functions work with; x may be [N, H, W, C], [N, L, C] or [N, C].
struct GroupNormGeometry {
  static constexpr std::int64_t block_pixels = 32;

  std::int64_t batch, pixels, channels, groups, group_channels, blocks;

  GroupNormGeometry(const Shape& x, std::int64_t group_count) {
    if (x.rank() < 2) throw ShapeError("group_norm: expected [N, ..., C], got " + x.to_string());
    batch = x[0];
    channels = x.back();
    groups = group_count;
    if (groups < 1 || channels % groups != 0 || channels == 0)
      throw ShapeError("group_norm: " + std::to_string(groups) + " groups do not divide the channels of " +
                       x.to_string());
    group_channels = channels / groups;
    pixels = 1;
    for (std::size_t axis = 1; axis + 1 < x.rank(); ++axis) pixels *= x[axis];
    blocks = (pixels + block_pixels - 1) / block_pixels;
  }

  [[nodiscard]] std::int64_t pixels_of(std::int64_t block) const {
    return std::min(block_pixels, pixels - block * block_pixels);
  }
  /// Index of the block's first element.
  [[nodiscard]] std::int64_t start(std::int64_t sample, std::int64_t block) const {
    return (sample * pixels + block * block_pixels) * channels;
  }
  [[nodiscard]] double group_size() const { return static_cast<double>(pixels * group_channels); }

  template <class T>
  void check_forward(TensorView<const T> x, TensorView<const T> gamma, TensorView<const T> beta, TensorView<T> y,
                     TensorView<T> mean, TensorView<T> rstd) const {
    expect_shape("group_norm gamma", Shape{channels}, gamma.shape());
    expect_shape("group_norm beta", Shape{channels}, beta.shape());
    expect_shape("group_norm output", x.shape(), y.shape());
    expect_shape("group_norm mean", Shape{batch, groups}, mean.shape());
    expect_shape("group_norm rstd", Shape{batch, groups}, rstd.shape());
  }
  template <class T>
  void check_backward(TensorView<const T> x, TensorView<const T> gamma, TensorView<const T> mean,
                      TensorView<const T> rstd, TensorView<const T> dy, TensorView<T> dx, TensorView<T> dgamma,
                      TensorView<T> dbeta) const {
    expect_shape("group_norm gamma", Shape{channels}, gamma.shape());
    expect_shape("group_norm output gradient", x.shape(), dy.shape());
    expect_shape("group_norm mean", Shape{batch, groups}, mean.shape());
    expect_shape("group_norm rstd", Shape{batch, groups}, rstd.shape());
    if (dx) expect_shape("group_norm input gradient", x.shape(), dx.shape());
    if (dgamma) expect_shape("group_norm gamma gradient", Shape{channels}, dgamma.shape());
    if (dbeta) expect_shape("group_norm beta gradient", Shape{channels}, dbeta.shape());
  }
};

/// What a sample's steps hand to each other.
template <class T>
struct GroupNormScratch {
  T* sums;       ///< [blocks, rows, C], made by the first pass
  T* row[4];     ///< [C] each, what the passes need of a channel
  double* work;  ///< [2, C]
};

/// Runs, for every sample, prepare(sample, scratch), first(sample, block, scratch) on its blocks, join(sample, scratch) and
/// second(sample, block, scratch) on its blocks. \param sum_rows rows [C] of sums that a block has
template <class T, class Prepare, class First, class Join, class Second>
void in_two_passes(const GroupNormGeometry& g, std::int64_t sum_rows, Prepare&& prepare, First&& first, Join&& join,
                   Second&& second) {
  constexpr std::int64_t elements_a_thread = 8192;
  const std::int64_t size = (g.blocks * sum_rows + 4) * g.channels;
  const std::int64_t sample = std::max<std::int64_t>(1, g.pixels * g.channels);
  const auto threads = static_cast<std::int64_t>(num_threads());
  const bool whole_samples =
      g.batch % threads == 0 || g.batch >= 4 * threads || g.batch * sample < 2 * elements_a_thread;
  const auto scratch_of = [&](Tensor<T>& memory, Tensor<double>& work, std::int64_t n) {
    T* sums = memory.data() + n * size;
    T* rows = sums + size - 4 * g.channels;
    return GroupNormScratch<T>{sums,
                               {rows, rows + g.channels, rows + 2 * g.channels, rows + 3 * g.channels},
                               work.data() + n * 2 * g.channels};
  };
  const auto memory_for = [&](std::int64_t samples) { return Tensor<T>::uninitialized(Shape{samples, size}); };
  const auto work_for = [&](std::int64_t samples) {
    return Tensor<double>::uninitialized(Shape{samples, 2, g.channels});
  };
  if (whole_samples) {
    // The second pass finds the sample in the cache.
    parallel_for(0, g.batch, std::max<std::int64_t>(1, elements_a_thread / sample),
                 [&](std::int64_t begin, std::int64_t end) {
                   Tensor<T> memory = memory_for(1);
                   Tensor<double> work = work_for(1);
                   const auto scratch = scratch_of(memory, work, 0);
                   for (std::int64_t n = begin; n < end; ++n) {
                     prepare(n, scratch);
                     for (std::int64_t b = 0; b < g.blocks; ++b) first(n, b, scratch);
                     join(n, scratch);
                     for (std::int64_t b = 0; b < g.blocks; ++b) second(n, b, scratch);
                   }
                 });
    return;
  }
  Tensor<T> memory = memory_for(g.batch);
  Tensor<double> work = work_for(g.batch);
  const std::int64_t block = GroupNormGeometry::block_pixels * g.channels;
  const auto for_each_block = [&](auto&& f) {
    parallel_for(0, g.batch * g.blocks, std::max<std::int64_t>(1, elements_a_thread / block),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i)
                     f(i / g.blocks, i % g.blocks, scratch_of(memory, work, i / g.blocks));
                 });
  };
  for (std::int64_t n = 0; n < g.batch; ++n) prepare(n, scratch_of(memory, work, n));
  for_each_block(first);
  for (std::int64_t n = 0; n < g.batch; ++n) join(n, scratch_of(memory, work, n));
  for_each_block(second);
}

/// How a column of vectors meets memory: whole vectors, or the channels that fill none.
template <class T, int count>
struct WholeColumn {
  static constexpr int vectors = count;
  static Pack<T> load(const T* p) { return Pack<T>::load(p); }
  static void store(Pack<T> x, T* p) { x.store(p); }
};
template <class T>
struct PartOfColumn {
  static constexpr int vectors = 1;
  std::int64_t count;
  Pack<T> load(const T* p) const { return load_partial(p, count); }
  void store(Pack<T> x, T* p) const { store_partial(x, p, count); }
};

/// Calls f(first channel, column) so that all channels are covered.
template <class T, class F>
inline void for_each_column(std::int64_t channels, F&& f) {
  constexpr std::int64_t lanes = Pack<T>::lanes;
  std::int64_t c = 0;
  for (; c + 4 * lanes <= channels; c += 4 * lanes) f(c, WholeColumn<T, 4>());
  for (; c + lanes <= channels; c += lanes) f(c, WholeColumn<T, 1>());
  if (c < channels) f(c, PartOfColumn<T>{channels - c});
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
