/// \file
/// Transposed convolution layer.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/conv_transpose2d.hpp"

namespace easy_diffusion::nn {

struct ConvTranspose2dConfig {
  std::int64_t kernel = 3;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t output_padding = 0;
  bool bias = true;
};

/// `torch.nn.ConvTranspose2d` over channels-last pictures.
template <class T>
class ConvTranspose2d {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    SharedTensor<T> x;
    ops::ConvTranspose2dOptions options;
  };

  /// Rows and columns of the result; PyTorch's `output_size`. Zero: as the output padding says.
  struct OutputSize {
    std::int64_t h = 0;
    std::int64_t w = 0;
  };

  ConvTranspose2d() = default;
  ConvTranspose2d(std::int64_t in, std::int64_t out, const ConvTranspose2dConfig& config = {})
      : weight(Shape{config.kernel, config.kernel, out, in}),
        options_{config.stride, config.padding, config.output_padding, config.output_padding} {
    if (config.bias) bias = Parameter<T>(Shape{out});
  }

  /// \param x    [N, H, W, C_in]
  /// \param size chooses the output padding, so that the result has that many rows and columns
  /// \return [N, OH, OW, C_out]
  /// \throw ShapeError where x does not fit, ValueError where no output padding gives that size
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr, OutputSize size = {}) const {
    ops::ConvTranspose2dOptions options = options_;
    if (size.h > 0 && size.w > 0) {
      options.output_padding_h = options.output_padding_w = 0;
      const Shape least = ops::conv_transpose2d_output_shape(x.shape(), weight.value.shape(), options);
      options.output_padding_h = size.h - least[1];
      options.output_padding_w = size.w - least[2];
    }
    Tensor<T> y =
        Tensor<T>::uninitialized(ops::conv_transpose2d_output_shape(x.shape(), weight.value.shape(), options));
    ops::conv_transpose2d_forward(x.view(), weight.value.view(), bias.value.view(), options, y.view(), weight.store());
    Trace::note("transposed convolution", weight.value.data(), x.shape(), y.shape(),
                2.0 * static_cast<double>(x.size()) * static_cast<double>(weight.value.size() / x.extent(3)));
    if (ctx != nullptr) {
      ctx->x = x.shared();
      ctx->options = options;
    }
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("ConvTranspose2d", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    ops::conv_transpose2d_backward(ctx.x.view(), weight.value.view(), dy.view(), ctx.options, dx.view(),
                                   weight.grad.view(), bias.grad.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    const Shape& s = self.weight.value.shape();
    // PyTorch takes axis 1 of [in, out, KH, KW] for the inputs.
    const Initial initial = Initial::fan_in(s[0] * s[1] * s[2]);
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::transposed_convolution, initial});
    if (!self.bias.value.empty()) v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, initial});
  }

  Parameter<T> weight;  ///< [KH, KW, C_out, C_in]
  Parameter<T> bias;    ///< [C_out], or empty

 private:
  ops::ConvTranspose2dOptions options_;
};

}  // namespace easy_diffusion::nn
