/// \file
/// The block of a transformer: attention to each other, to a context, and a feed-forward network.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/attention.hpp"
#include "easy_diffusion/nn/gelu.hpp"
#include "easy_diffusion/nn/layer_norm.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/embedding_add.hpp"

namespace easy_diffusion::nn {

struct TransformerConfig {
  std::int64_t channels = 0;     ///< of the tokens
  std::int64_t context_dim = 0;  ///< channels of the context; 0: the tokens take its place
  std::int64_t heads = 1;
  std::int64_t head_width = 0;  ///< 0: the heads share out the channels (`TransformerBlock`); else `TransformerBlockV2`
};

/// h = x + attention(norm(x)); h += attention(norm(h), context); y = h + feed_forward(norm(h)), the normalisation before
/// each part \cite rombach_2021_latent. The feed-forward network is three times as wide, with exact GELU.
template <class T>
class TransformerBlock {
 public:
  using value_type = T;

  struct Context {
    bool context_gradient = true;  ///< false: backward leaves dcontext out and saves the work
    bool one_token = false;        ///< set by forward: the context has one token, so queries do not matter
    typename MultiHeadAttention<T>::Context attn_self, attn_cross;
    typename LayerNorm<T>::Context norm1, norm2, norm3;
    typename Linear<T>::Context widen, narrow;
    typename GELU<T>::Context act;
  };

  struct Gradients {
    Tensor<T> dx;        ///< [N, L, C]
    Tensor<T> dcontext;  ///< the shape of the context; empty where left out, or where the tokens took its place
  };

  TransformerBlock() = default;
  /// \throw ShapeError where heads do not divide the channels
  explicit TransformerBlock(const TransformerConfig& config)
      : attn_self(attention(config, 0)),
        attn_cross(attention(config, config.context_dim)),
        norm1(config.channels),
        norm2(config.channels),
        norm3(config.channels),
        widen(config.channels, 3 * config.channels),
        narrow(3 * config.channels, config.channels) {}

  /// \param x       [N, L, C]
  /// \param context [N, M, context_dim]; empty: the tokens take its place
  /// \return [N, L, C]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& context, Context* ctx = nullptr) const {
    Tensor<T> h = attn_self.forward(norm1.forward(x, ctx ? &ctx->norm1 : nullptr), {}, ctx ? &ctx->attn_self : nullptr);
    ops::add_to(h.view(), x.view());

    const bool one_token =
        !attn_cross.attends_to_itself(context) && context.shape().rank() == 3 && context.extent(1) == 1;
    if (ctx != nullptr) {
      ctx->one_token = one_token;
      ctx->attn_cross.context_gradient = ctx->context_gradient;
      ctx->attn_cross.value.input_gradient = ctx->context_gradient;
    }
    if (one_token) {
      const Tensor<T> e = attn_cross.forward_one(context, ctx ? &ctx->attn_cross : nullptr);
      ops::embedding_add_forward(std::as_const(h).view().reshaped(as_picture(h.shape())), e.view(),
                                 h.view().reshaped(as_picture(h.shape())));
    } else {
      Tensor<T> crossed =
          attn_cross.forward(norm2.forward(h, ctx ? &ctx->norm2 : nullptr), context, ctx ? &ctx->attn_cross : nullptr);
      ops::add_to(crossed.view(), std::as_const(h).view());
      h = std::move(crossed);
    }

    Tensor<T> wide = widen.forward(norm3.forward(h, ctx ? &ctx->norm3 : nullptr), ctx ? &ctx->widen : nullptr);
    Tensor<T> y = narrow.forward(GELU<T>().forward(wide, ctx ? &ctx->act : nullptr), ctx ? &ctx->narrow : nullptr);
    ops::add_to(y.view(), std::as_const(h).view());
    return y;
  }

  /// \param dy [N, L, C]
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    Tensor<T> dwide = GELU<T>().backward(narrow.backward(dy, ctx.narrow), ctx.act);
    Tensor<T> dh = norm3.backward(widen.backward(dwide, ctx.widen), ctx.norm3);
    ops::add_to(dh.view(), dy.view());

    Gradients gradients;
    if (ctx.one_token) {
      Tensor<T> sum = Tensor<T>::uninitialized(Shape{dh.extent(0), dh.extent(2)});
      ops::embedding_add_backward(std::as_const(dh).view().reshaped(as_picture(dh.shape())), sum.view());
      gradients.dcontext = attn_cross.backward_one(sum, ctx.attn_cross);
    } else {
      auto crossed = attn_cross.backward(dh, ctx.attn_cross);
      const Tensor<T> dcrossed = norm2.backward(crossed.dx, ctx.norm2);
      ops::add_to(dh.view(), dcrossed.view());
      gradients.dcontext = std::move(crossed.dcontext);
    }

    gradients.dx = norm1.backward(attn_self.backward(dh, ctx.attn_self).dx, ctx.norm1);
    ops::add_to(gradients.dx.view(), std::as_const(dh).view());
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    MultiHeadAttention<T>::visit(self.attn_self, v, prefix + "attn_self.");
    MultiHeadAttention<T>::visit(self.attn_cross, v, prefix + "attn_cross.");
    LayerNorm<T>::visit(self.norm1, v, prefix + "norm1.");
    LayerNorm<T>::visit(self.norm2, v, prefix + "norm2.");
    LayerNorm<T>::visit(self.norm3, v, prefix + "norm3.");
    Linear<T>::visit(self.widen, v, prefix + "ffn.0.");
    Linear<T>::visit(self.narrow, v, prefix + "ffn.2.");
  }

  MultiHeadAttention<T> attn_self, attn_cross;
  LayerNorm<T> norm1, norm2, norm3;
  Linear<T> widen, narrow;  ///< the feed-forward network

 private:
  static AttentionConfig attention(const TransformerConfig& config, std::int64_t context_dim) {
    if (config.head_width > 0)
      return AttentionConfig::separate(config.channels, context_dim, config.heads, config.head_width);
    return AttentionConfig::shared(config.channels, context_dim, config.heads);
  }

  static Shape as_picture(const Shape& tokens) { return {tokens[0], 1, tokens[1], tokens[2]}; }
};

}  // namespace easy_diffusion::nn
