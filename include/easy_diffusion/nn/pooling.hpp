/// \file
/// Average and maximum pooling layers.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/pooling.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.AvgPool2d`, and `AdaptiveAvgPool2d` with `ops::Pool2dOptions::adaptive(h, w)`, over channels-last pictures.
template <class T>
class AvgPool2d {
 public:
  using value_type = T;

  struct Context {
    Shape x;
  };

  explicit AvgPool2d(const ops::Pool2dOptions& options = {}) : options_(options) {}

  /// \param x [N, H, W, C] \return [N, OH, OW, C]
  /// \throw ShapeError where nothing is left, ValueError for options out of range
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(ops::pool2d_output_shape(x.shape(), options_));
    ops::avg_pool2d_forward(x.view(), options_, y.view());
    if (ctx != nullptr) ctx->x = x.shape();
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("AvgPool2d", ctx.x.rank() == 4);
    Tensor<T> dx = Tensor<T>::uninitialized(ctx.x);
    ops::avg_pool2d_backward(dy.view(), options_, dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

 private:
  ops::Pool2dOptions options_;
};

/// `torch.nn.MaxPool2d`, and `AdaptiveMaxPool2d` with `ops::Pool2dOptions::adaptive(h, w)`, over channels-last pictures.
template <class T>
class MaxPool2d {
 public:
  using value_type = T;

  struct Context {
    Shape x;
    Tensor<std::int32_t> place;  ///< where each maximum stood
  };

  explicit MaxPool2d(const ops::Pool2dOptions& options = {}) : options_(options) {}

  /// \param x [N, H, W, C] \return [N, OH, OW, C]
  /// \throw ShapeError where nothing is left, ValueError for options out of range
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(ops::pool2d_output_shape(x.shape(), options_));
    Tensor<std::int32_t> place;
    if (ctx != nullptr) place = Tensor<std::int32_t>::uninitialized(y.shape());
    ops::max_pool2d_forward(x.view(), options_, y.view(), place.view());
    if (ctx != nullptr) {
      ctx->x = x.shape();
      ctx->place = std::move(place);
    }
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("MaxPool2d", ctx.x.rank() == 4);
    Tensor<T> dx = Tensor<T>::uninitialized(ctx.x);
    ops::max_pool2d_backward(dy.view(), ctx.place.view(), dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

 private:
  ops::Pool2dOptions options_;
};

}  // namespace easy_diffusion::nn
