/// \file
/// SiLU layer: no parameters, only what backward needs.
#pragma once


#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/silu.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.SiLU`, x sigmoid(x).
template <class T>
class SiLU {
 public:
  using value_type = T;

  struct Context {
    SharedTensor<T> x;
  };

  /// \param x any shape \return the same shape
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::silu_forward(x.view(), y.view());
    if (ctx != nullptr) ctx->x = x.shared();
    return y;
  }

  /// \param dy the shape of x \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("SiLU", !ctx.x.empty());
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::silu_backward(ctx.x.view(), dy.view(), dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}
};

}  // namespace easy_diffusion::nn
