/// \file
/// Batch normalisation over channels-last pictures.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops {

/// Whether mean and rstd were computed from this batch, or are constants that came with the model.
enum class BatchStatistics { of_batch, fixed };

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

/// sums[c] = sum over rows of f(row * channels + c, c). Rows are cut into pieces whose number depends on their number
/// alone; the pieces' sums are added in order.
template <class T, class F>
void sum_rows(std::int64_t rows, std::int64_t channels, T* sums, F&& f) {
  const std::int64_t pieces = std::clamp<std::int64_t>(rows / 256, 1, 64);
  Tensor<T> partial(Shape{pieces, channels});
  parallel_for(0, pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t piece = first; piece < last; ++piece) {
      T* sum = partial.data() + piece * channels;
      for (std::int64_t row = rows * piece / pieces; row < rows * (piece + 1) / pieces; ++row)
        for (std::int64_t c = 0; c < channels; ++c) sum[c] += f(row * channels + c, c);
    }
  });
  std::fill_n(sums, channels, T(0));
  for (std::int64_t piece = 0; piece < pieces; ++piece)
    for (std::int64_t c = 0; c < channels; ++c) sums[c] += partial[piece * channels + c];
}

/// Calls f(i, c) for every element number i, of channel c.
template <class F>
void for_each_row(std::int64_t rows, std::int64_t channels, F&& f) {
  parallel_for(0, rows, 256, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t c = 0; c < channels; ++c) f(row * channels + c, c);
  });
}

/// \return channels \throw ShapeError unless x is [N, ..., C] with C > 0
inline std::int64_t batch_norm_channels(const Shape& x) {
  if (x.rank() < 2 || x.back() < 1) throw ShapeError("batch_norm: expected [N, ..., C], got " + x.to_string());
  return x.back();
}

}  // namespace detail

/// Mean and variance (biased) of every channel over the whole batch.
/// \param x             [N, H, W, C] or [N, ..., C], of at least one row
/// \param[out] mean,var [C]
/// \throw ShapeError where shapes do not fit
template <class T>
void batch_norm_statistics(TensorView<const T> x, TensorView<std::type_identity_t<T>> mean,
                           TensorView<std::type_identity_t<T>> var) {
  const std::int64_t channels = detail::batch_norm_channels(x.shape());
  expect_shape("batch_norm mean", Shape{channels}, mean.shape());
  expect_shape("batch_norm variance", Shape{channels}, var.shape());
  const std::int64_t rows = x.size() / channels;
  if (rows < 1) throw ShapeError("batch_norm: an empty batch has no statistics: " + x.shape().to_string());
  const T count = static_cast<T>(rows);
  const T* in = x.data();
  detail::sum_rows(rows, channels, mean.data(), [in](std::int64_t i, std::int64_t) { return in[i]; });
  for (T& m : mean) m /= count;
  const T* centre = mean.data();
  detail::sum_rows(rows, channels, var.data(), [in, centre](std::int64_t i, std::int64_t c) {
    const T centred = in[i] - centre[c];
    return centred * centred;
  });
  for (T& v : var) v /= count;
}

/// Batch normalisation \cite ioffe_2015_batchnorm with statistics that are given: y = (x - mean) rstd gamma + beta.
/// \param x                    [N, ..., C]
/// \param gamma,beta,mean,rstd [C]; rstd = 1 / sqrt(variance + epsilon)
/// \param[out] y               the shape of x
/// \throw ShapeError where shapes do not fit
template <class T>
void batch_norm_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                        TensorView<const std::type_identity_t<T>> beta, TensorView<const std::type_identity_t<T>> mean,
                        TensorView<const std::type_identity_t<T>> rstd, TensorView<std::type_identity_t<T>> y) {
  const std::int64_t channels = detail::batch_norm_channels(x.shape());
  for (const auto& [name, shape] : {std::pair{"gamma", gamma.shape()}, std::pair{"beta", beta.shape()},
                                    std::pair{"mean", mean.shape()}, std::pair{"rstd", rstd.shape()}})
    expect_shape(std::string("batch_norm ") + name, Shape{channels}, shape);
  expect_shape("batch_norm output", x.shape(), y.shape());
  detail::for_each_row(x.size() / channels, channels, [&](std::int64_t i, std::int64_t c) {
    y.data()[i] = (x.data()[i] - mean.data()[c]) * (rstd.data()[c] * gamma.data()[c]) + beta.data()[c];
  });
}

/// With x_hat = (x - mean) rstd and averages over the batch's rows: dx = gamma rstd (dy - mean(dy) - x_hat mean(dy
/// x_hat)) for statistics of the batch, gamma rstd dy for fixed ones.
/// \param x,gamma,mean,rstd     as in forward
/// \param dy                    the shape of x
/// \param[out] dx               the shape of x, written; may be dy itself; empty to leave it out
/// \param[out] dgamma,dbeta     [C], added to; empty to leave them out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void batch_norm_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                         TensorView<const std::type_identity_t<T>> mean, TensorView<const std::type_identity_t<T>> rstd,
                         TensorView<const std::type_identity_t<T>> dy, BatchStatistics statistics,
                         TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dgamma,
                         TensorView<std::type_identity_t<T>> dbeta) {
  const std::int64_t channels = detail::batch_norm_channels(x.shape());
  expect_shape("batch_norm gamma", Shape{channels}, gamma.shape());
  expect_shape("batch_norm mean", Shape{channels}, mean.shape());
  expect_shape("batch_norm rstd", Shape{channels}, rstd.shape());
  expect_shape("batch_norm output gradient", x.shape(), dy.shape());
  const std::int64_t rows = x.size() / channels;
  Tensor<T> sums = Tensor<T>::uninitialized(Shape{2, channels});  // of dy, and of dy x_hat
  T* sum_dy = sums.data();
  T* sum_dy_xhat = sums.data() + channels;
  if (statistics == BatchStatistics::of_batch || dgamma || dbeta) {
    detail::sum_rows(rows, channels, sum_dy, [&](std::int64_t i, std::int64_t) { return dy.data()[i]; });
    detail::sum_rows(rows, channels, sum_dy_xhat, [&](std::int64_t i, std::int64_t c) {
      return dy.data()[i] * ((x.data()[i] - mean.data()[c]) * rstd.data()[c]);
    });
  } else {
    sums.fill(T(0));
  }
  if (dx) {
    expect_shape("batch_norm input gradient", x.shape(), dx.shape());
    const T share = statistics == BatchStatistics::of_batch ? T(1) / static_cast<T>(rows) : T(0);
    detail::for_each_row(rows, channels, [&](std::int64_t i, std::int64_t c) {
      const T x_hat = (x.data()[i] - mean.data()[c]) * rstd.data()[c];
      dx.data()[i] = gamma.data()[c] * rstd.data()[c] * (dy.data()[i] - share * (sum_dy[c] + x_hat * sum_dy_xhat[c]));
    });
  }
  if (dgamma) {
    expect_shape("batch_norm gamma gradient", Shape{channels}, dgamma.shape());
    for (std::int64_t c = 0; c < channels; ++c) dgamma[c] += sum_dy_xhat[c];
  }
  if (dbeta) {
    expect_shape("batch_norm beta gradient", Shape{channels}, dbeta.shape());
    for (std::int64_t c = 0; c < channels; ++c) dbeta[c] += sum_dy[c];
  }
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(batch_norm_statistics<float>) batch_norm_statistics<float>;
extern template decltype(batch_norm_statistics<double>) batch_norm_statistics<double>;
extern template decltype(batch_norm_forward<float>) batch_norm_forward<float>;
extern template decltype(batch_norm_forward<double>) batch_norm_forward<double>;
extern template decltype(batch_norm_backward<float>) batch_norm_backward<float>;
extern template decltype(batch_norm_backward<double>) batch_norm_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
