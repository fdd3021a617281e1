/// \file
/// Layer normalisation over the last axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// The shape of what layer normalisation saves: one number for every row of x. \throw ShapeError for rank 0
[[nodiscard]] inline Shape layer_norm_statistics_shape(const Shape& x) {
  if (x.rank() == 0) throw ShapeError("layer_norm: expected [..., C], got " + x.to_string());
  return Shape(x.begin(), x.end() - 1);
}

/// Layer normalisation \cite ba_2016_layernorm: every row is brought to mean 0 and variance 1 (biased);
/// then y = x_hat gamma + beta.
/// \param x          [..., C], C > 0
/// \param gamma,beta [C]
/// \param epsilon    added to the variance
/// \param[out] y         the shape of x; may be x itself
/// \param[out] mean,rstd the shape of x without its last extent, saved for backward
/// \throw ShapeError naming what does not fit
template <class T>
void layer_norm_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                        TensorView<const std::type_identity_t<T>> beta, T epsilon,
                        TensorView<std::type_identity_t<T>> y, TensorView<std::type_identity_t<T>> mean,
                        TensorView<std::type_identity_t<T>> rstd) {
  using P = detail::Pack<T>;
  const detail::Rows rows("layer_norm", x.shape());
  const std::int64_t width = rows.width;
  expect_shape("layer_norm gamma", Shape{width}, gamma.shape());
  expect_shape("layer_norm beta", Shape{width}, beta.shape());
  expect_shape("layer_norm output", x.shape(), y.shape());
  expect_shape("layer_norm mean", layer_norm_statistics_shape(x.shape()), mean.shape());
  expect_shape("layer_norm rstd", mean.shape(), rstd.shape());
  parallel_for(0, rows.count, rows.grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* in = x.data() + row * width;
      const T m = detail::sum_packs<T>(
                      width, [](P v) { return v; }, in) /
                  static_cast<T>(width);
      const P centre(m);
      // A second pass over centred values: the difference of two large sums would lose digits.
      const T squares = detail::sum_packs<T>(
          width, [&](P v) { return (v - centre) * (v - centre); }, in);
      const T r = T(1) / std::sqrt(squares / static_cast<T>(width) + epsilon);
      const P scale(r);
      detail::map_packs(
          width, y.data() + row * width, [&](P v, P g, P b) { return fma((v - centre) * scale, g, b); }, in,
          gamma.data(), beta.data());
      mean.data()[row] = m;
      rstd.data()[row] = r;
    }
  });
}

/// With x_hat = (x - mean) rstd and averages over the row:
/// dx = rstd (gamma dy - mean(gamma dy) - x_hat mean(gamma dy x_hat)).
/// \param x,gamma,mean,rstd as in forward
/// \param dy                the shape of x
/// \param[out] dx           the shape of x, written; may be dy itself; empty to leave it out
/// \param[out] dgamma,dbeta [C], added to; empty to leave them out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void layer_norm_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                         TensorView<const std::type_identity_t<T>> mean, TensorView<const std::type_identity_t<T>> rstd,
                         TensorView<const std::type_identity_t<T>> dy, TensorView<std::type_identity_t<T>> dx,
                         TensorView<std::type_identity_t<T>> dgamma, TensorView<std::type_identity_t<T>> dbeta) {
  using P = detail::Pack<T>;
  const detail::Rows rows("layer_norm", x.shape());
  const std::int64_t width = rows.width;
  expect_shape("layer_norm gamma", Shape{width}, gamma.shape());
  expect_shape("layer_norm mean", layer_norm_statistics_shape(x.shape()), mean.shape());
  expect_shape("layer_norm rstd", mean.shape(), rstd.shape());
  expect_shape("layer_norm output gradient", x.shape(), dy.shape());
  if (dx) expect_shape("layer_norm input gradient", x.shape(), dx.shape());
  if (dgamma) expect_shape("layer_norm gamma gradient", Shape{width}, dgamma.shape());
  if (dbeta) expect_shape("layer_norm beta gradient", Shape{width}, dbeta.shape());

  // The sums over rows are cut into pieces whose number depends on the shape alone, and added in order.
  const std::int64_t pieces = std::clamp<std::int64_t>(x.size() / 16384, 1, 64);
  const bool sums = !dgamma.empty() || !dbeta.empty();
  Tensor<T> partial;
  if (sums) partial = Tensor<T>(Shape{pieces, 2, width});
  parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) {
      T* sum_gamma = sums ? partial.data() + piece * 2 * width : nullptr;
      T* sum_beta = sums ? sum_gamma + width : nullptr;
      for (std::int64_t row = rows.count * piece / pieces; row < rows.count * (piece + 1) / pieces; ++row) {
        const T* in = x.data() + row * width;
        const T* gradient = dy.data() + row * width;
        const P centre(mean.data()[row]);
        const P scale(rstd.data()[row]);
        if (sums) {
          detail::map_packs(
              width, sum_gamma, [&](P sum, P v, P g) { return fma(g, (v - centre) * scale, sum); },
              static_cast<const T*>(sum_gamma), in, gradient);
          detail::map_packs(
              width, sum_beta, [](P sum, P g) { return sum + g; }, static_cast<const T*>(sum_beta), gradient);
        }
        if (!dx) continue;
        const P mean_g(detail::sum_packs<T>(
                           width, [](P g, P w) { return g * w; }, gradient, gamma.data()) /
                       static_cast<T>(width));
        const P mean_gx(
            detail::sum_packs<T>(
                width, [&](P g, P w, P v) { return g * w * ((v - centre) * scale); }, gradient, gamma.data(), in) /
            static_cast<T>(width));
        detail::map_packs(
            width, dx.data() + row * width,
            [&](P g, P w, P v) { return scale * (g * w - mean_g - (v - centre) * scale * mean_gx); }, gradient,
            gamma.data(), in);
      }
    }
  });
  for (std::int64_t piece = 0; sums && piece < pieces; ++piece)
    for (std::int64_t c = 0; c < width; ++c) {
      if (dgamma) dgamma[c] += partial[piece * 2 * width + c];
      if (dbeta) dbeta[c] += partial[(piece * 2 + 1) * width + c];
    }
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(layer_norm_forward<float>) layer_norm_forward<float>;
extern template decltype(layer_norm_forward<double>) layer_norm_forward<double>;
extern template decltype(layer_norm_backward<float>) layer_norm_backward<float>;
extern template decltype(layer_norm_backward<double>) layer_norm_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
