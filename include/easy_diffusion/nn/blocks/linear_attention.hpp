/// \file
/// Linear attention over the pixels of a picture.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/linear_attention.hpp"

namespace easy_diffusion::nn {

/// `LinearAttention`: \cite shen_2018_efficient between 1x1 convolutions, without a residual; `LinAttnBlock` is the one
/// with one head of the picture's own channels.
template <class T>
class LinearAttention {
 public:
  using value_type = T;

  struct Context {
    typename Conv2d<T>::Context to_qkv, to_out;
    Tensor<T> qkv, memory;
  };

  LinearAttention() = default;
  /// \throw ValueError unless there is at least one head of at least one channel
  explicit LinearAttention(std::int64_t channels, std::int64_t heads = 4, std::int64_t head_width = 32)
      : heads_(heads), head_width_(head_width) {
    if (heads < 1 || head_width < 1)
      throw ValueError("LinearAttention: expected heads and their width above 0, got " + std::to_string(heads) +
                       " and " + std::to_string(head_width));
    to_qkv = Conv2d<T>(channels, 3 * heads * head_width, {.kernel = 1, .bias = false});
    to_out = Conv2d<T>(heads * head_width, channels, {.kernel = 1});
  }

  /// \param x [N, H, W, C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> qkv = to_qkv.forward(x, ctx ? &ctx->to_qkv : nullptr);
    const std::int64_t positions = x.extent(1) * x.extent(2);
    Tensor<T> out = Tensor<T>::uninitialized(Shape{x.extent(0), positions, heads_ * head_width_});
    Tensor<T> memory = Tensor<T>::uninitialized(Shape{x.extent(0), heads_, head_width_, head_width_});
    ops::linear_attention_forward(std::as_const(qkv).view().reshaped(tokens_of(qkv.shape())), heads_, out.view(),
                                  memory.view());
    Trace::note("linear attention", to_qkv.weight.value.data(), x.shape(), out.shape(),
                4.0 * static_cast<double>(out.size() * head_width_));
    if (ctx != nullptr) {
      ctx->qkv = std::move(qkv);
      ctx->memory = std::move(memory);
    }
    return to_out.forward(std::move(out).reshaped(Shape{x.extent(0), x.extent(1), x.extent(2), heads_ * head_width_}),
                          ctx ? &ctx->to_out : nullptr);
  }

  /// \param dy the shape of x \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    const Tensor<T> dout = to_out.backward(dy, ctx.to_out);
    Tensor<T> dqkv = Tensor<T>::uninitialized(ctx.qkv.shape());
    const Shape tokens = tokens_of(dqkv.shape());
    ops::linear_attention_backward(ctx.qkv.view().reshaped(tokens), heads_, ctx.memory.view(),
                                   dout.view().reshaped(tokens_of(dout.shape())), dqkv.view().reshaped(tokens));
    return to_qkv.backward(dqkv, ctx.to_qkv);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    Conv2d<T>::visit(self.to_qkv, v, prefix + "to_qkv.");
    Conv2d<T>::visit(self.to_out, v, prefix + "to_out.");
  }

  Conv2d<T> to_qkv, to_out;

 private:
  static Shape tokens_of(const Shape& picture) { return {picture[0], picture[1] * picture[2], picture[3]}; }

  std::int64_t heads_ = 1;
  std::int64_t head_width_ = 1;
};

}  // namespace easy_diffusion::nn
