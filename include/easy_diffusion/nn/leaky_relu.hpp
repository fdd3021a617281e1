/// \file
/// Leaky ReLU layer.
#pragma once

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/relu.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.LeakyReLU`: x above zero, slope x elsewhere \cite maas_2013_rectifier.
template <class T>
class LeakyReLU {
 public:
  using value_type = T;

  struct Context {
    SharedTensor<T> x;
  };

  explicit LeakyReLU(double slope = 0.01) : slope_(slope) {}

  /// \param x any shape \return the same shape
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::leaky_relu_forward(x.view(), static_cast<T>(slope_), y.view());
    if (ctx != nullptr) ctx->x = x.shared();
    return y;
  }

  /// \param dy the shape of x \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("LeakyReLU", !ctx.x.empty());
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::leaky_relu_backward(ctx.x.view(), dy.view(), static_cast<T>(slope_), dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

 private:
  double slope_;
};

}  // namespace easy_diffusion::nn
