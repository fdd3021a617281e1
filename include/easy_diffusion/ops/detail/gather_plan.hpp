/// \file
/// Which input pixels each output pixel of a convolution meets. Output pixels that meet the same kernel elements form a
/// class, so that a product over a class multiplies no padding, and needs one offset a kernel element and one a pixel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// A stride of at least `elements` that is an odd number of cache lines: streams so far apart do not compete for the same
/// places of a cache.
inline std::int64_t spread(std::int64_t elements) {
  constexpr std::int64_t line = 16;
  return ((elements + line - 1) / line | 1) * line;
}

/// How work of several passes is cut into rounds, so that what lies between the passes stays in a cache. No bit of the
/// result depends on it.
struct Rounds {
  std::int64_t count;
  bool apart;  ///< threads take rounds of their own; otherwise they share the passes of each round

  template <class F>
  void run(F&& f) const {
    if (apart)
      parallel_for(0, count, 1, f);
    else
      f(std::int64_t{0}, count);
  }
};

/// Rounds whose passes the threads share. \param items that can be cut apart \param bytes between the passes for each
inline Rounds plan_shared_rounds(std::int64_t items, std::int64_t bytes) {
  constexpr std::int64_t shared_room = 6 << 20;  // part of a third-level cache
  const std::int64_t fit = std::max<std::int64_t>(1, shared_room / bytes);
  return {(items + fit - 1) / fit, false};
}

/// Rounds for each thread where there are enough of them. \param bytes_of_weight that every round goes through
inline Rounds plan_rounds(std::int64_t items, std::int64_t bytes, std::int64_t bytes_of_weight) {
  constexpr std::int64_t core_room = 700 << 10;   // most of a second-level cache
  constexpr std::int64_t light_weight = 4 << 20;  // read again for every round
  const std::int64_t fit = std::max<std::int64_t>(1, core_room / bytes);
  const std::int64_t rounds = (items + fit - 1) / fit;
  if (bytes_of_weight <= light_weight && rounds >= 2 * num_threads()) return {rounds, true};
  return plan_shared_rounds(items, bytes);
}

/// Extents of both grids of a convolution and of the kernel between them: small pixel (y, x) meets, at kernel element
/// (i, j), the large pixel (y stride + i - padding, x stride + j - padding).
struct ConvolutionGeometry {
  std::int64_t batch, large_h, large_w, large_c, small_h, small_w, small_c, kernel_h, kernel_w, stride, padding;

  [[nodiscard]] std::int64_t taps() const { return kernel_h * kernel_w; }
  /// 3x3, stride 1, and no more padding than the kernel can meet
  [[nodiscard]] bool is_unit() const { return kernel_h == 3 && kernel_w == 3 && stride == 1 && padding <= 2; }
};

/// Offsets are in elements. The input vector that a pixel meets at a tap begins at
/// `sample * in_stride + pixel.in + tap.in`; its result at `sample * out_stride + pixel.out`.
struct GatherPlan {
  struct Tap {
    std::int64_t in;
    std::int64_t id;  ///< which kernel element
  };
  struct Pixel {
    std::int64_t in, out;
  };
  struct Class {
    std::int64_t first_tap, taps, first_pixel, pixels;
  };

  std::int64_t samples = 0, in_stride = 0, out_stride = 0;
  std::vector<Tap> taps;
  std::vector<Pixel> pixels;
  std::vector<Class> classes;

  void clear() {
    taps.clear();
    pixels.clear();
    classes.clear();
  }

  /// One tap and no neighbours: `rows` vectors of `in_channels` become vectors of `out_channels`.
  void make_rows(std::int64_t rows, std::int64_t in_channels, std::int64_t out_channels) {
    clear();
    samples = rows;
    in_stride = in_channels;
    out_stride = out_channels;
    taps.push_back({0, 0});
    pixels.push_back({0, 0});
    classes.push_back({0, 1, 0, 1});
  }
};

/// Positions along one axis that meet the same kernel elements. A position's neighbours are `start + step`.
struct AxisClasses {
  struct Tap {
    std::int64_t step, element;
  };
  struct Position {
    std::int64_t at, start;
  };
  struct Class {
    std::vector<Tap> taps;
    std::vector<Position> positions;
  };
  std::vector<Class> classes;
  std::size_t used = 0;

  void clear() { used = 0; }

  /// `neighbour(at, element)` is the step of that kernel element from the position's start, or -1 in `valid`.
  void add(std::int64_t at, std::int64_t start, const std::vector<Tap>& taps) {
    for (std::size_t k = 0; k < used; ++k)
      if (same(classes[k].taps, taps)) {
        classes[k].positions.push_back({at, start});
        return;
      }
    if (used == classes.size()) classes.emplace_back();
    Class& fresh = classes[used++];
    fresh.taps.assign(taps.begin(), taps.end());
    fresh.positions.clear();
    fresh.positions.push_back({at, start});
  }

 private:
  static bool same(const std::vector<Tap>& a, const std::vector<Tap>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (a[i].step != b[i].step || a[i].element != b[i].element) return false;
    return true;
  }
};

/// Small positions and the large ones they meet: start = at * stride - padding, step = element.
inline void classify_small(std::int64_t small, std::int64_t large, std::int64_t kernel, std::int64_t stride,
                           std::int64_t padding, AxisClasses& axis, std::vector<AxisClasses::Tap>& scratch) {
  axis.clear();
  for (std::int64_t at = 0; at < small; ++at) {
    scratch.clear();
    const std::int64_t start = at * stride - padding;
    for (std::int64_t i = 0; i < kernel; ++i)
      if (start + i >= 0 && start + i < large) scratch.push_back({i, i});
    axis.add(at, start, scratch);
  }
}

/// Large positions and the small ones that meet them at element i: (at + padding - i) / stride, where that divides.
inline void classify_large(std::int64_t small, std::int64_t large, std::int64_t kernel, std::int64_t stride,
                           std::int64_t padding, AxisClasses& axis, std::vector<AxisClasses::Tap>& scratch) {
  axis.clear();
  for (std::int64_t at = 0; at < large; ++at) {
    scratch.clear();
    const std::int64_t first = (at + padding) % stride;
    const std::int64_t start = (at + padding - first) / stride;
    for (std::int64_t i = first; i < kernel; i += stride) {
      const std::int64_t step = -(i - first) / stride;
      if (start + step >= 0 && start + step < small) scratch.push_back({step, i});
    }
    axis.add(at, start, scratch);
  }
}

/// Plans are built anew for every product, in memory that the thread keeps: a few microseconds and no allocation.
struct PlanWorkspace {
  GatherPlan plan;
  AxisClasses rows, columns;
  std::vector<AxisClasses::Tap> scratch;

  static PlanWorkspace& of_thread() {
    static thread_local PlanWorkspace workspace;
    return workspace;
  }

  /// The product that writes the small grid from the large one, or the large grid from the small one.
  const GatherPlan& make(const ConvolutionGeometry& g, bool to_small) {
    const auto classify = to_small ? classify_small : classify_large;
    classify(g.small_h, g.large_h, g.kernel_h, g.stride, g.padding, rows, scratch);
    classify(g.small_w, g.large_w, g.kernel_w, g.stride, g.padding, columns, scratch);
    const std::int64_t in_w = to_small ? g.large_w : g.small_w;
    const std::int64_t in_c = to_small ? g.large_c : g.small_c;
    const std::int64_t out_w = to_small ? g.small_w : g.large_w;
    const std::int64_t out_c = to_small ? g.small_c : g.large_c;
    plan.clear();
    plan.samples = g.batch;
    plan.in_stride = (to_small ? g.large_h : g.small_h) * in_w * in_c;
    plan.out_stride = (to_small ? g.small_h : g.large_h) * out_w * out_c;
    for (std::size_t r = 0; r < rows.used; ++r)
      for (std::size_t c = 0; c < columns.used; ++c) {
        const auto& row = rows.classes[r];
        const auto& column = columns.classes[c];
        plan.classes.push_back({static_cast<std::int64_t>(plan.taps.size()),
                                static_cast<std::int64_t>(row.taps.size() * column.taps.size()),
                                static_cast<std::int64_t>(plan.pixels.size()),
                                static_cast<std::int64_t>(row.positions.size() * column.positions.size())});
        for (const auto& i : row.taps)
          for (const auto& j : column.taps)
            plan.taps.push_back({(i.step * in_w + j.step) * in_c, i.element * g.kernel_w + j.element});
        for (const auto& y : row.positions)
          for (const auto& x : column.positions)
            plan.pixels.push_back({(y.start * in_w + x.start) * in_c, (y.at * out_w + x.at) * out_c});
      }
    return plan;
  }
};

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
