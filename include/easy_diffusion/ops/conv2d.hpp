/// \file
/// Two-dimensional convolution (cross-correlation, as in PyTorch) over channels-last pictures.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/convolution.hpp"

namespace easy_diffusion::ops {

/// The same stride and zero padding in both directions.
struct Conv2dOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
};

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// Shape of the result: floor((H + 2 padding - KH) / stride) + 1, likewise W.
/// \param x      [N, H, W, C_in]
/// \param weight [KH, KW, C_in, C_out]
/// \throw ShapeError where channels differ, the weight is empty or the kernel is larger than the padded picture
/// \throw ValueError for stride < 1 or padding < 0
[[nodiscard]] inline Shape conv2d_output_shape(const Shape& x, const Shape& weight, const Conv2dOptions& options) {
  expect_rank("conv2d input", 4, "[N, H, W, C]", x);
  expect_rank("conv2d weight", 4, "[KH, KW, C_in, C_out]", weight);
  if (options.stride < 1 || options.padding < 0)
    throw ValueError("conv2d: expected stride >= 1 and padding >= 0, got " + std::to_string(options.stride) + " and " +
                     std::to_string(options.padding));
  if (weight.numel() < 1) throw ShapeError("conv2d: the weight is empty: " + weight.to_string());
  if (x[3] != weight[2])
    throw ShapeError("conv2d: weight " + weight.to_string() + " expects " + std::to_string(weight[2]) +
                     " input channels, got " + x.to_string());
  const std::int64_t free_h = x[1] + 2 * options.padding - weight[0];
  const std::int64_t free_w = x[2] + 2 * options.padding - weight[1];
  if (free_h < 0 || free_w < 0)
    throw ShapeError("conv2d: kernel " + weight.to_string() + " is larger than the padded input " + x.to_string());
  return {x[0], free_h / options.stride + 1, free_w / options.stride + 1, weight[3]};
}

namespace detail {
inline ConvolutionGeometry conv2d_geometry(const Shape& x, const Shape& weight, const Shape& y,
                                           const Conv2dOptions& options) {
  return {x[0], x[1], x[2], x[3], y[1], y[2], y[3], weight[0], weight[1], options.stride, options.padding};
}
}  // namespace detail

/// \param x      [N, H, W, C_in]
/// \param weight [KH, KW, C_in, C_out]
/// \param bias   [C_out], or empty for none
/// \param[out] y [N, OH, OW, C_out], see `conv2d_output_shape`; every element is written
/// \param store   keeps the weight's layouts from call to call, as long as it does not change; may be left out
/// \throw ShapeError, ValueError as `conv2d_output_shape`, or where bias or y have another shape
template <class T>
void conv2d_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                    TensorView<const std::type_identity_t<T>> bias, const Conv2dOptions& options,
                    TensorView<std::type_identity_t<T>> y,
                    WeightStore<std::type_identity_t<T>>* store = nullptr) {
  const Shape out = conv2d_output_shape(x.shape(), weight.shape(), options);
  expect_shape("conv2d output", out, y.shape());
  if (bias) expect_shape("conv2d bias", Shape{out[3]}, bias.shape());
  detail::convolve_large_to_small(detail::conv2d_geometry(x.shape(), weight.shape(), out, options), x.data(),
                                  detail::StoredWeight<T>(weight.data(), store), detail::Epilogue<T>{.bias = bias.data()}, y.data());
}

/// \param x,weight as given to forward
/// \param dy       [N, OH, OW, C_out]
/// \param[out] dx      [N, H, W, C_in], written; empty to leave it out
/// \param[out] dweight [KH, KW, C_in, C_out], added to; empty to leave it out
/// \param[out] dbias   [C_out], added to; empty to leave it out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void conv2d_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                     TensorView<const std::type_identity_t<T>> dy, const Conv2dOptions& options,
                     TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dweight,
                     TensorView<std::type_identity_t<T>> dbias) {
  const Shape out = conv2d_output_shape(x.shape(), weight.shape(), options);
  expect_shape("conv2d output gradient", out, dy.shape());
  const auto geometry = detail::conv2d_geometry(x.shape(), weight.shape(), out, options);
  if (dweight) {
    expect_shape("conv2d weight gradient", weight.shape(), dweight.shape());
    detail::add_convolution_weight_gradient(geometry, x.data(), dy.data(), dweight.data());
  }
  if (dbias) {
    expect_shape("conv2d bias gradient", Shape{out[3]}, dbias.shape());
    detail::add_column_sums(dy.data(), dy.size() / out[3], out[3], dbias.data());
  }
  if (dx) {
    expect_shape("conv2d input gradient", x.shape(), dx.shape());
    detail::convolve_small_to_large(geometry, dy.data(), weight.data(), detail::Epilogue<T>{}, dx.data());
  }
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(conv2d_forward<float>) conv2d_forward<float>;
extern template decltype(conv2d_forward<double>) conv2d_forward<double>;
extern template decltype(conv2d_backward<float>) conv2d_backward<float>;
extern template decltype(conv2d_backward<double>) conv2d_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
