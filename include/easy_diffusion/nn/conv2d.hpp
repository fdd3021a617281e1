/// \file
/// Convolution layer.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/conv2d.hpp"

namespace easy_diffusion::nn {

struct Conv2dConfig {
  std::int64_t kernel = 3;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  bool bias = true;
};

/// `torch.nn.Conv2d` over channels-last pictures.
template <class T>
class Conv2d {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    SharedTensor<T> x;
  };

  Conv2d() = default;
  Conv2d(std::int64_t in, std::int64_t out, const Conv2dConfig& config = {})
      : weight(Shape{config.kernel, config.kernel, in, out}), options_{config.stride, config.padding} {
    if (config.bias) bias = Parameter<T>(Shape{out});
  }

  /// \param x [N, H, W, C_in] \return [N, OH, OW, C_out]
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(ops::conv2d_output_shape(x.shape(), weight.value.shape(), options_));
    ops::conv2d_forward(x.view(), weight.value.view(), bias.value.view(), options_, y.view(), weight.store());
    Trace::note("convolution", weight.value.data(), x.shape(), y.shape(),
                2.0 * static_cast<double>(y.size()) * static_cast<double>(weight.value.size() / y.extent(3)));
    if (ctx != nullptr) ctx->x = x.shared();
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Conv2d", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    ops::conv2d_backward(ctx.x.view(), weight.value.view(), dy.view(), options_, dx.view(), weight.grad.view(),
                         bias.grad.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    const Shape& s = self.weight.value.shape();
    const Initial initial = Initial::fan_in(s[0] * s[1] * s[2]);
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::convolution, initial});
    if (!self.bias.value.empty()) v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, initial});
  }

  Parameter<T> weight;  ///< [KH, KW, C_in, C_out]
  Parameter<T> bias;    ///< [C_out], or empty

 private:
  ops::Conv2dOptions options_;
};

}  // namespace easy_diffusion::nn
