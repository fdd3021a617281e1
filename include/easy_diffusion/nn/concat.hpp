/// \file
/// Joins two pictures along their channels.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/concat.hpp"

namespace easy_diffusion::nn {

/// `torch.cat([a, b], dim=channels)`.
template <class T>
class Concat {
 public:
  using value_type = T;

  struct Context {
    Shape a, b;
  };

  struct Gradients {
    Tensor<T> da, db;
  };

  /// \param a,b [..., C_a], [..., C_b] \return [..., C_a + C_b]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& a, const Tensor<T>& b, Context* ctx = nullptr) const {
    if (a.shape().rank() == 0 || b.shape().rank() == 0)
      throw ShapeError("Concat: expected [..., C], got " + a.shape().to_string() + " and " + b.shape().to_string());
    Shape joined(a.shape().begin(), a.shape().end() - 1);
    joined.push_back(a.shape().back() + b.shape().back());
    Tensor<T> y = Tensor<T>::uninitialized(joined);
    ops::concat_forward(a.view(), b.view(), y.view());
    if (ctx != nullptr) *ctx = {a.shape(), b.shape()};
    return y;
  }

  /// \param dy [..., C_a + C_b]
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Concat", ctx.a.rank() > 0);
    Gradients gradients{Tensor<T>::uninitialized(ctx.a), Tensor<T>::uninitialized(ctx.b)};
    ops::concat_backward(dy.view(), gradients.da.view(), gradients.db.view());
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}
};

}  // namespace easy_diffusion::nn
