/// \file
/// Sigmoid layer: no parameters, only what backward needs.
#pragma once

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/sigmoid.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.Sigmoid`, 1 / (1 + exp(-x)).
template <class T>
class Sigmoid {
 public:
  using value_type = T;

  struct Context {
    Tensor<T> y;  ///< a copy: the result is the caller's
  };

  /// \param x any shape \return the same shape
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::sigmoid_forward(x.view(), y.view());
    if (ctx != nullptr) ctx->y = y;
    return y;
  }

  /// \param dy the shape of y \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Sigmoid", !ctx.y.empty());
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::sigmoid_backward(ctx.y.view(), dy.view(), dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}
};

}  // namespace easy_diffusion::nn
