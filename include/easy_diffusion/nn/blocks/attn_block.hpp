/// \file
/// Attention of a picture's pixels to each other, as autoencoders have it.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/attention.hpp"

namespace easy_diffusion::nn {

/// `AttnBlock`: GroupNorm, then one head of attention between 1x1 convolutions, added to the picture.
template <class T>
class AttnBlock {
 public:
  using value_type = T;

  struct Context {
    typename GroupNorm<T>::Context norm;
    typename Conv2d<T>::Context query, key, value, output;
    Tensor<T> q, k, v, lse;
  };

  AttnBlock() = default;
  /// \throw ShapeError unless `groups` divides `channels`
  explicit AttnBlock(std::int64_t channels, std::int64_t groups = 32)
      : norm(groups, channels, 1e-6),
        query(channels, channels, {.kernel = 1}),
        key(channels, channels, {.kernel = 1}),
        value(channels, channels, {.kernel = 1}),
        output(channels, channels, {.kernel = 1}) {}

  /// \param x [N, H, W, C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("AttnBlock input", 4, "[N, H, W, C]", x.shape());
    const Tensor<T> h = norm.forward(x, ctx ? &ctx->norm : nullptr);
    Tensor<T> q = query.forward(h, ctx ? &ctx->query : nullptr);
    Tensor<T> k = key.forward(h, ctx ? &ctx->key : nullptr);
    Tensor<T> v = value.forward(h, ctx ? &ctx->value : nullptr);
    Tensor<T> out = Tensor<T>::uninitialized(x.shape());
    const Shape tokens = tokens_of(x.shape());
    Tensor<T> lse;
    if (ctx != nullptr) lse = Tensor<T>::uninitialized(Shape{tokens[0], 1, tokens[1]});
    ops::attention_forward(std::as_const(q).view().reshaped(tokens), k.view().reshaped(tokens),
                           v.view().reshaped(tokens), 1, scale(), out.view().reshaped(tokens), lse.view());
    Trace::note("attention", query.weight.value.data(), tokens, tokens,
                4.0 * static_cast<double>(tokens.numel()) * static_cast<double>(tokens[1]));
    if (ctx != nullptr) {
      ctx->q = std::move(q);
      ctx->k = std::move(k);
      ctx->v = std::move(v);
      ctx->lse = std::move(lse);
    }
    Tensor<T> y = output.forward(out, ctx ? &ctx->output : nullptr);
    ops::add_to(y.view(), x.view());
    return y;
  }

  /// \param dy [N, H, W, C] \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    const Tensor<T> dout = output.backward(dy, ctx.output);
    const Shape tokens = tokens_of(dy.shape());
    Tensor<T> dq = Tensor<T>::uninitialized(dy.shape());
    Tensor<T> dk = Tensor<T>::uninitialized(dy.shape());
    Tensor<T> dv = Tensor<T>::uninitialized(dy.shape());
    ops::attention_backward(ctx.q.view().reshaped(tokens), ctx.k.view().reshaped(tokens), ctx.v.view().reshaped(tokens),
                            ctx.output.x.view().reshaped(tokens), ctx.lse.view(), dout.view().reshaped(tokens), 1,
                            scale(), dq.view().reshaped(tokens), dk.view().reshaped(tokens),
                            dv.view().reshaped(tokens));
    Tensor<T> dh = query.backward(dq, ctx.query);
    for (const Tensor<T>& part : {key.backward(dk, ctx.key), value.backward(dv, ctx.value)})
      ops::add_to(dh.view(), part.view());
    Tensor<T> dx = norm.backward(dh, ctx.norm);
    ops::add_to(dx.view(), dy.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    GroupNorm<T>::visit(self.norm, v, prefix + "norm.");
    Conv2d<T>::visit(self.query, v, prefix + "q.");
    Conv2d<T>::visit(self.key, v, prefix + "k.");
    Conv2d<T>::visit(self.value, v, prefix + "v.");
    Conv2d<T>::visit(self.output, v, prefix + "proj_out.");
  }

  GroupNorm<T> norm;
  Conv2d<T> query, key, value, output;

 private:
  [[nodiscard]] T scale() const { return static_cast<T>(1 / std::sqrt(double(norm.weight.value.size()))); }
  static Shape tokens_of(const Shape& picture) { return {picture[0], picture[1] * picture[2], picture[3]}; }
};

}  // namespace easy_diffusion::nn
