/// \file
/// Group normalisation layer.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/group_norm.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.GroupNorm` over channels-last pictures.
template <class T>
class GroupNorm {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    SharedTensor<T> x;
    Tensor<T> mean, rstd;
  };

  GroupNorm() = default;
  /// \throw ShapeError unless `groups` divides `channels`
  GroupNorm(std::int64_t groups, std::int64_t channels, double epsilon = 1e-5)
      : weight(Shape{channels}), bias(Shape{channels}), groups_(groups), epsilon_(epsilon) {
    if (groups < 1 || channels % groups != 0)
      throw ShapeError("GroupNorm: " + std::to_string(groups) + " groups do not divide " + std::to_string(channels) +
                       " channels");
    weight.value.fill(T(1));
  }

  /// \param x [N, H, W, C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    Tensor<T> mean = Tensor<T>::uninitialized(Shape{x.extent(0), groups_});
    Tensor<T> rstd = Tensor<T>::uninitialized(mean.shape());
    ops::group_norm_forward(x.view(), weight.value.view(), bias.value.view(), groups_, static_cast<T>(epsilon_),
                            y.view(), mean.view(), rstd.view());
    Trace::note("GroupNorm", weight.value.data(), x.shape(), y.shape(), 0);
    if (ctx != nullptr) {
      ctx->x = x.shared();
      ctx->mean = std::move(mean);
      ctx->rstd = std::move(rstd);
    }
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("GroupNorm", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    ops::group_norm_backward(ctx.x.view(), weight.value.view(), ctx.mean.view(), ctx.rstd.view(), dy.view(), groups_,
                             dx.view(), weight.grad.view(), bias.grad.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::plain, Initial::constant(1)});
    v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, Initial::constant(0)});
  }

  Parameter<T> weight;  ///< [C], gamma
  Parameter<T> bias;    ///< [C], beta

 private:
  std::int64_t groups_ = 1;
  double epsilon_ = 1e-5;
};

}  // namespace easy_diffusion::nn
