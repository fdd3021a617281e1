/// \file
/// Group normalisation over channels-last pictures.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/isa.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

/// The extents all group normalisation functions work with; x may be [N, H, W, C], [N, L, C] or [N, C].
struct GroupNormGeometry {
  std::int64_t batch, pixels, channels, groups, group_channels;

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
  }
};

/// Adds up f(pixel row, sum) over a sample's pixels; the compiler's vectors run along the channels.
template <class T, class F>
void sum_channels(std::int64_t pixels, std::int64_t channels, T* sum, F&& f) {
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = T(0);
  for (std::int64_t p = 0; p < pixels; ++p)
    for (std::int64_t c = 0; c < channels; ++c) sum[c] += f(p * channels + c, c);
}

}  // namespace detail

/// Group normalisation \cite wu_2018_groupnorm: each sample's channels are cut into groups, and each group is brought
/// to mean 0 and variance 1 (biased) over its channels and pixels; then y = x_hat gamma + beta.
/// \param x          [N, H, W, C] or [N, ..., C]
/// \param gamma,beta [C]
/// \param groups     divides C
/// \param epsilon    added to the variance
/// \param[out] y         the shape of x
/// \param[out] mean,rstd [N, groups], saved for backward
/// \throw ShapeError naming what does not fit
template <class T>
void group_norm_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                        TensorView<const std::type_identity_t<T>> beta, std::int64_t groups, T epsilon,
                        TensorView<std::type_identity_t<T>> y, TensorView<std::type_identity_t<T>> mean,
                        TensorView<std::type_identity_t<T>> rstd) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  expect_shape("group_norm gamma", Shape{g.channels}, gamma.shape());
  expect_shape("group_norm beta", Shape{g.channels}, beta.shape());
  expect_shape("group_norm output", x.shape(), y.shape());
  expect_shape("group_norm mean", Shape{g.batch, groups}, mean.shape());
  expect_shape("group_norm rstd", Shape{g.batch, groups}, rstd.shape());
  const T count = static_cast<T>(g.pixels * g.group_channels);
  parallel_for(0, g.batch, 1, [&](std::int64_t first, std::int64_t last) {
    Tensor<T> work(Shape{3, g.channels});
    T* sum = work.data();
    T* scale = sum + g.channels;
    T* shift = scale + g.channels;
    for (std::int64_t n = first; n < last; ++n) {
      const T* in = x.data() + n * g.pixels * g.channels;
      T* out = y.data() + n * g.pixels * g.channels;
      T* mean_of = mean.data() + n * groups;
      T* rstd_of = rstd.data() + n * groups;
      detail::sum_channels(g.pixels, g.channels, sum, [in](std::int64_t i, std::int64_t) { return in[i]; });
      for (std::int64_t k = 0; k < groups; ++k) {
        T total = T(0);
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) total += sum[c];
        mean_of[k] = total / count;
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) shift[c] = mean_of[k];
      }
      // A second pass over centred values: the difference of two large sums would lose digits.
      detail::sum_channels(g.pixels, g.channels, sum, [in, shift](std::int64_t i, std::int64_t c) {
        const T centred = in[i] - shift[c];
        return centred * centred;
      });
      for (std::int64_t k = 0; k < groups; ++k) {
        T total = T(0);
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) total += sum[c];
        rstd_of[k] = T(1) / std::sqrt(total / count + epsilon);
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
          scale[c] = rstd_of[k] * gamma[c];
          shift[c] = beta[c] - mean_of[k] * scale[c];
        }
      }
      for (std::int64_t p = 0; p < g.pixels; ++p)
        for (std::int64_t c = 0; c < g.channels; ++c)
          out[p * g.channels + c] = in[p * g.channels + c] * scale[c] + shift[c];
    }
  });
}

/// With x_hat = (x - mean) rstd and averages over the group's elements:
/// dx = rstd (gamma dy - mean(gamma dy) - x_hat mean(gamma dy x_hat)).
/// \param x,gamma,mean,rstd as in forward
/// \param dy                the shape of x
/// \param[out] dx           the shape of x, written; may be dy itself; empty to leave it out
/// \param[out] dgamma,dbeta [C], added to; empty to leave them out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void group_norm_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                         TensorView<const std::type_identity_t<T>> mean, TensorView<const std::type_identity_t<T>> rstd,
                         TensorView<const std::type_identity_t<T>> dy, std::int64_t groups,
                         TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dgamma,
                         TensorView<std::type_identity_t<T>> dbeta) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  expect_shape("group_norm gamma", Shape{g.channels}, gamma.shape());
  expect_shape("group_norm output gradient", x.shape(), dy.shape());
  expect_shape("group_norm mean", Shape{g.batch, groups}, mean.shape());
  expect_shape("group_norm rstd", Shape{g.batch, groups}, rstd.shape());
  if (dx) expect_shape("group_norm input gradient", x.shape(), dx.shape());
  const T count = static_cast<T>(g.pixels * g.group_channels);
  // Sums over pixels, one row a sample: of dy, and of dy x_hat.
  Tensor<T> sums_dy = Tensor<T>::uninitialized(Shape{g.batch, g.channels});
  Tensor<T> sums_dy_xhat = Tensor<T>::uninitialized(Shape{g.batch, g.channels});
  parallel_for(0, g.batch, 1, [&](std::int64_t first, std::int64_t last) {
    Tensor<T> work(Shape{3, g.channels});
    T* a = work.data();
    T* b = a + g.channels;
    T* d = b + g.channels;
    for (std::int64_t n = first; n < last; ++n) {
      const T* in = x.data() + n * g.pixels * g.channels;
      const T* grad = dy.data() + n * g.pixels * g.channels;
      const T* mean_of = mean.data() + n * groups;
      const T* rstd_of = rstd.data() + n * groups;
      T* sum_dy = sums_dy.data() + n * g.channels;
      T* sum_dy_xhat = sums_dy_xhat.data() + n * g.channels;
      for (std::int64_t c = 0; c < g.channels; ++c) a[c] = mean_of[c / g.group_channels];
      detail::sum_channels(g.pixels, g.channels, sum_dy, [grad](std::int64_t i, std::int64_t) { return grad[i]; });
      detail::sum_channels(g.pixels, g.channels, sum_dy_xhat,
                           [in, grad, a](std::int64_t i, std::int64_t c) { return grad[i] * (in[i] - a[c]); });
      for (std::int64_t c = 0; c < g.channels; ++c) sum_dy_xhat[c] *= rstd_of[c / g.group_channels];
      if (!dx) continue;
      // dx = a dy - b x - d, with what belongs to the channel folded into a, b and d.
      for (std::int64_t k = 0; k < groups; ++k) {
        T mean_dy = T(0);
        T mean_dy_xhat = T(0);
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
          mean_dy += gamma[c] * sum_dy[c];
          mean_dy_xhat += gamma[c] * sum_dy_xhat[c];
        }
        mean_dy /= count;
        mean_dy_xhat /= count;
        const T slope = rstd_of[k] * rstd_of[k] * mean_dy_xhat;
        for (std::int64_t c = k * g.group_channels; c < (k + 1) * g.group_channels; ++c) {
          a[c] = rstd_of[k] * gamma[c];
          b[c] = slope;
          d[c] = rstd_of[k] * mean_dy - slope * mean_of[k];
        }
      }
      T* out = dx.data() + n * g.pixels * g.channels;
      for (std::int64_t p = 0; p < g.pixels; ++p)
        for (std::int64_t c = 0; c < g.channels; ++c) {
          const std::int64_t i = p * g.channels + c;
          out[i] = grad[i] * a[c] - in[i] * b[c] - d[c];
        }
    }
  });
  if (dgamma) {
    expect_shape("group_norm gamma gradient", Shape{g.channels}, dgamma.shape());
    detail::add_column_sums(sums_dy_xhat.data(), g.batch, g.channels, dgamma.data());
  }
  if (dbeta) {
    expect_shape("group_norm beta gradient", Shape{g.channels}, dbeta.shape());
    detail::add_column_sums(sums_dy.data(), g.batch, g.channels, dbeta.data());
  }
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
