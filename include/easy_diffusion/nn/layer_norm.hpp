/// \file
/// Layer normalisation layer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/layer_norm.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.LayerNorm` over the last axis.
template <class T>
class LayerNorm {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    SharedTensor<T> x;
    Tensor<T> mean, rstd;
  };

  LayerNorm() = default;
  explicit LayerNorm(std::int64_t channels, double epsilon = 1e-5)
      : weight(Shape{channels}), bias(Shape{channels}), epsilon_(epsilon) {
    weight.value.fill(T(1));
  }

  /// \param x [..., C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    Tensor<T> mean = Tensor<T>::uninitialized(ops::layer_norm_statistics_shape(x.shape()));
    Tensor<T> rstd = Tensor<T>::uninitialized(mean.shape());
    ops::layer_norm_forward(x.view(), weight.value.view(), bias.value.view(), static_cast<T>(epsilon_), y.view(),
                            mean.view(), rstd.view());
    Trace::note("LayerNorm", weight.value.data(), x.shape(), y.shape(), 0);
    if (ctx != nullptr) {
      ctx->x = x.shared();
      ctx->mean = std::move(mean);
      ctx->rstd = std::move(rstd);
    }
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("LayerNorm", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    ops::layer_norm_backward(ctx.x.view(), weight.value.view(), ctx.mean.view(), ctx.rstd.view(), dy.view(), dx.view(),
                             weight.grad.view(), bias.grad.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::plain, Initial::constant(1)});
    v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, Initial::constant(0)});
  }

  Parameter<T> weight;  ///< [C], gamma
  Parameter<T> bias;    ///< [C], beta

 private:
  double epsilon_ = 1e-5;
};

}  // namespace easy_diffusion::nn
