/// \file
/// How far apart two feature pictures are whose pixels are brought to length one: one stage of a perceptual distance.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

/// Added to a pixel's length before it divides, as in LPIPS.
inline constexpr double unit_feature_epsilon = 1e-10;

/// sqrt(sum of squares) of a row.
template <class T>
T row_length(std::int64_t width, const T* row) {
  return std::sqrt(sum_packs<T>(
      width, [](Pack<T> v) { return v * v; }, row));
}

/// \return pixels of a picture \throw ShapeError where shapes do not fit, or a picture has no pixel or channel
template <class T>
std::int64_t check_unit_features(TensorView<const T> f, TensorView<const T> g, TensorView<const T> weight) {
  expect_rank("unit_feature_distance", 4, "[N, H, W, C]", f.shape());
  expect_shape("unit_feature_distance", f.shape(), g.shape());
  if (weight) expect_shape("unit_feature_distance weight", Shape{f.extent(3)}, weight.shape());
  const std::int64_t pixels = f.extent(1) * f.extent(2);
  if (pixels < 1 || f.extent(3) < 1)
    throw ShapeError("unit_feature_distance: expected at least one pixel and channel, got " + f.shape().to_string());
  return pixels;
}

/// x scale_a - y scale_b, written so that equal pixels give exactly zero and nearly equal ones lose no digits: the
/// difference times the smaller scale, and what the larger has beyond it. (A pixel without features has a scale of 1e10.)
template <class T>
struct UnitDifference {
  Pack<T> both, more_a, more_b;
  UnitDifference(T scale_a, T scale_b)
      : both(std::min(scale_a, scale_b)),
        more_a(std::max(scale_a - scale_b, T(0))),
        more_b(std::max(scale_b - scale_a, T(0))) {}
  Pack<T> operator()(Pack<T> x, Pack<T> y) const { return fma(x - y, both, x * more_a - y * more_b); }
};

}  // namespace detail

/// distance[n] += mean over pixels of sum_c weight[c] (f / (|f| + 1e-10) - g / (|g| + 1e-10))^2, |f| being the length of
/// a pixel's features \cite zhang_2018_lpips.
/// \param f,g      [N, H, W, C]
/// \param weight   [C]; empty: ones
/// \param[in,out] distance [N]
/// \throw ShapeError where shapes do not fit, or a picture has no pixel
template <class T>
void unit_feature_distance_forward(TensorView<const T> f, TensorView<const std::type_identity_t<T>> g,
                                   TensorView<const std::type_identity_t<T>> weight,
                                   TensorView<std::type_identity_t<T>> distance) {
  using P = detail::Pack<T>;
  const std::int64_t pixels = detail::check_unit_features<T>(f, g, weight);
  const std::int64_t width = f.extent(3);
  expect_shape("unit_feature_distance output", Shape{f.extent(0)}, distance.shape());
  const detail::Rows rows("unit_feature_distance", f.shape());
  // A number a pixel, then summed in the order of memory: the same bits for any number of threads.
  Tensor<T> parts = Tensor<T>::uninitialized(Shape{rows.count});
  parallel_for(0, rows.count, rows.grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* a = f.data() + row * width;
      const T* b = g.data() + row * width;
      const T epsilon = static_cast<T>(detail::unit_feature_epsilon);
      const T scale_a = T(1) / (detail::row_length(width, a) + epsilon);
      const T scale_b = T(1) / (detail::row_length(width, b) + epsilon);
      const auto square = [away = detail::UnitDifference<T>(scale_a, scale_b)](P x, P y) {
        const P d = away(x, y);
        return d * d;
      };
      parts[row] = weight ? detail::sum_packs<T>(
                                width, [&](P x, P y, P w) { return w * square(x, y); }, a, b, weight.data())
                          : detail::sum_packs<T>(width, square, a, b);
    }
  });
  for (std::int64_t n = 0; n < distance.size(); ++n) {
    double sum = 0;
    for (std::int64_t p = 0; p < pixels; ++p) sum += static_cast<double>(parts[n * pixels + p]);
    distance[n] += static_cast<T>(sum / static_cast<double>(pixels));
  }
}

/// Gradient of f; that of g is the same with f and g changed over. With u = f / (|f| + e), v likewise of g and
/// d_c = 2 weight_c (u_c - v_c) ddistance / pixels:  df_c = d_c / (|f| + e) - f_c (d . f) / (|f| (|f| + e)^2).
/// Where all features of a pixel are zero the length has no derivative; its gradient is zero there.
/// \param f,g,weight as in forward
/// \param ddistance  [N]
/// \param[out] df    the shape of f, written
/// \throw ShapeError where a shape does not match forward's
template <class T>
void unit_feature_distance_backward(TensorView<const T> f, TensorView<const std::type_identity_t<T>> g,
                                    TensorView<const std::type_identity_t<T>> weight,
                                    TensorView<const std::type_identity_t<T>> ddistance,
                                    TensorView<std::type_identity_t<T>> df) {
  using P = detail::Pack<T>;
  const std::int64_t pixels = detail::check_unit_features<T>(f, g, weight);
  const std::int64_t width = f.extent(3);
  expect_shape("unit_feature_distance output gradient", Shape{f.extent(0)}, ddistance.shape());
  expect_shape("unit_feature_distance input gradient", f.shape(), df.shape());
  const detail::Rows rows("unit_feature_distance", f.shape());
  parallel_for(0, rows.count, rows.grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* a = f.data() + row * width;
      const T* b = g.data() + row * width;
      T* out = df.data() + row * width;
      const T length = detail::row_length(width, a);
      if (length == T(0)) {
        std::fill_n(out, width, T(0));
        continue;
      }
      const T epsilon = static_cast<T>(detail::unit_feature_epsilon);
      const T scale = T(1) / (length + epsilon);
      const P scale_a(scale);
      const detail::UnitDifference<T> away(scale, T(1) / (detail::row_length(width, b) + epsilon));
      const P factor(T(2) * ddistance[row / pixels] / static_cast<T>(pixels));
      // d first, in place of the result.
      if (weight)
        detail::map_packs(
            width, out, [&](P x, P y, P w) { return factor * w * away(x, y); }, a, b, weight.data());
      else
        detail::map_packs(
            width, out, [&](P x, P y) { return factor * away(x, y); }, a, b);
      const T along = detail::sum_packs<T>(
          width, [](P d, P x) { return d * x; }, static_cast<const T*>(out), a);
      const P back(along * scale * scale / length);
      detail::map_packs(
          width, out, [&](P d, P x) { return d * scale_a - x * back; }, static_cast<const T*>(out), a);
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
