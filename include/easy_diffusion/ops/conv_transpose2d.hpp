/// \file
/// Two-dimensional transposed convolution over channels-last pictures.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/convolution.hpp"

namespace easy_diffusion::ops {

struct ConvTranspose2dOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;           ///< cut from each side of the result
  std::int64_t output_padding_h = 0;  ///< rows added at the bottom, < stride
  std::int64_t output_padding_w = 0;  ///< columns added at the right, < stride
};

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// Shape of the result: (H - 1) stride - 2 padding + KH + output_padding_h, likewise W.
/// \param x      [N, H, W, C_in]
/// \param weight [KH, KW, C_out, C_in]: the layout of the convolution of which this is the transpose
/// \throw ShapeError where channels differ, the weight is empty or nothing is left of the result
/// \throw ValueError for options out of range
[[nodiscard]] inline Shape conv_transpose2d_output_shape(const Shape& x, const Shape& weight,
                                                         const ConvTranspose2dOptions& options) {
  expect_rank("conv_transpose2d input", 4, "[N, H, W, C]", x);
  expect_rank("conv_transpose2d weight", 4, "[KH, KW, C_out, C_in]", weight);
  const auto fits = [&](std::int64_t padding) { return padding >= 0 && padding < options.stride; };
  if (options.stride < 1 || options.padding < 0 || !fits(options.output_padding_h) || !fits(options.output_padding_w))
    throw ValueError("conv_transpose2d: expected stride >= 1, padding >= 0, 0 <= output padding < stride, got " +
                     std::to_string(options.stride) + ", " + std::to_string(options.padding) + ", " +
                     std::to_string(options.output_padding_h) + " and " + std::to_string(options.output_padding_w));
  if (weight.numel() < 1) throw ShapeError("conv_transpose2d: the weight is empty: " + weight.to_string());
  if (x[3] != weight[3])
    throw ShapeError("conv_transpose2d: weight " + weight.to_string() + " expects " + std::to_string(weight[3]) +
                     " input channels, got " + x.to_string());
  const std::int64_t h = (x[1] - 1) * options.stride - 2 * options.padding + weight[0] + options.output_padding_h;
  const std::int64_t w = (x[2] - 1) * options.stride - 2 * options.padding + weight[1] + options.output_padding_w;
  if (x[1] < 1 || x[2] < 1 || h < 1 || w < 1)
    throw ShapeError("conv_transpose2d: nothing is left of input " + x.to_string() + " with weight " +
                     weight.to_string());
  return {x[0], h, w, weight[2]};
}

namespace detail {
inline ConvolutionGeometry conv_transpose2d_geometry(const Shape& x, const Shape& weight, const Shape& y,
                                                     const ConvTranspose2dOptions& options) {
  return {x[0], y[1], y[2], y[3], x[1], x[2], x[3], weight[0], weight[1], options.stride, options.padding};
}
}  // namespace detail

/// \param x      [N, H, W, C_in]
/// \param weight [KH, KW, C_out, C_in]
/// \param bias   [C_out], or empty for none
/// \param[out] y [N, OH, OW, C_out], see `conv_transpose2d_output_shape`; every element is written
/// \param store   keeps the weight's layouts from call to call, as long as it does not change; may be left out
/// \throw ShapeError, ValueError as `conv_transpose2d_output_shape`, or where bias or y have another shape
template <class T>
void conv_transpose2d_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                              TensorView<const std::type_identity_t<T>> bias, const ConvTranspose2dOptions& options,
                              TensorView<std::type_identity_t<T>> y,
                              WeightStore<std::type_identity_t<T>>* store = nullptr) {
  const Shape out = conv_transpose2d_output_shape(x.shape(), weight.shape(), options);
  expect_shape("conv_transpose2d output", out, y.shape());
  if (bias) expect_shape("conv_transpose2d bias", Shape{out[3]}, bias.shape());
  detail::convolve_small_to_large(detail::conv_transpose2d_geometry(x.shape(), weight.shape(), out, options), x.data(),
                                  detail::StoredWeight<T>(weight.data(), store), detail::Epilogue<T>{.bias = bias.data()}, y.data());
}

/// \param x,weight as given to forward
/// \param dy       [N, OH, OW, C_out]
/// \param[out] dx      [N, H, W, C_in], written; empty to leave it out
/// \param[out] dweight [KH, KW, C_out, C_in], added to; empty to leave it out
/// \param[out] dbias   [C_out], added to; empty to leave it out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void conv_transpose2d_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                               TensorView<const std::type_identity_t<T>> dy, const ConvTranspose2dOptions& options,
                               TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dweight,
                               TensorView<std::type_identity_t<T>> dbias) {
  const Shape out = conv_transpose2d_output_shape(x.shape(), weight.shape(), options);
  expect_shape("conv_transpose2d output gradient", out, dy.shape());
  const auto geometry = detail::conv_transpose2d_geometry(x.shape(), weight.shape(), out, options);
  if (dweight) {
    expect_shape("conv_transpose2d weight gradient", weight.shape(), dweight.shape());
    detail::add_convolution_weight_gradient(geometry, dy.data(), x.data(), dweight.data());
  }
  if (dbias) {
    expect_shape("conv_transpose2d bias gradient", Shape{out[3]}, dbias.shape());
    detail::add_column_sums(dy.data(), dy.size() / out[3], out[3], dbias.data());
  }
  if (dx) {
    expect_shape("conv_transpose2d input gradient", x.shape(), dx.shape());
    detail::convolve_large_to_small(geometry, dy.data(), weight.data(), detail::Epilogue<T>{}, dx.data());
  }
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(conv_transpose2d_forward<float>) conv_transpose2d_forward<float>;
extern template decltype(conv_transpose2d_forward<double>) conv_transpose2d_forward<double>;
extern template decltype(conv_transpose2d_backward<float>) conv_transpose2d_backward<float>;
extern template decltype(conv_transpose2d_backward<double>) conv_transpose2d_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
