/// \file
/// Linear layer.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/linear.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.Linear`: a linear map of the last axis.
template <class T>
class Linear {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    SharedTensor<T> x;
  };

  Linear() = default;
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true) : weight(Shape{in, out}) {
    if (with_bias) bias = Parameter<T>(Shape{out});
  }

  /// \param x [..., C_in] \return [..., C_out]
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = Tensor<T>::uninitialized(ops::linear_output_shape(x.shape(), weight.value.shape()));
    ops::linear_forward(x.view(), weight.value.view(), bias.value.view(), y.view(), weight.store());
    Trace::note("linear", weight.value.data(), x.shape(), y.shape(),
                2.0 * static_cast<double>(y.size()) * static_cast<double>(x.shape().back()));
    if (ctx != nullptr) ctx->x = x.shared();
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Linear", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    ops::linear_backward(ctx.x.view(), weight.value.view(), dy.view(), dx.view(), weight.grad.view(), bias.grad.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    const Initial initial = Initial::fan_in(self.weight.value.extent(0));
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::linear, initial});
    if (!self.bias.value.empty()) v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, initial});
  }

  Parameter<T> weight;  ///< [C_in, C_out]
  Parameter<T> bias;    ///< [C_out], or empty
};

}  // namespace easy_diffusion::nn
