/// \file
/// GELU layer: no parameters, only what backward needs.
#pragma once

#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/ops/gelu.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.GELU`, x Phi(x); by default the exact one.
template <class T>
class GELU {
 public:
  using value_type = T;

  struct Context {
    SharedTensor<T> x;
  };

  explicit GELU(ops::Gelu kind = ops::Gelu::exact) : kind_(kind) {}

  /// \param x any shape \return the same shape
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::gelu_forward(x.view(), kind_, y.view());
    if (ctx != nullptr) ctx->x = x.shared();
    return y;
  }

  /// \param dy the shape of x \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("GELU", !ctx.x.empty());
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::gelu_backward(ctx.x.view(), dy.view(), kind_, dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const std::string&) {}

 private:
  ops::Gelu kind_;
};

}  // namespace easy_diffusion::nn
