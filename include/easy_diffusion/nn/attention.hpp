/// \file
/// Multi-head attention: of tokens to each other, or to a context.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/attention.hpp"
#include "easy_diffusion/ops/embedding_add.hpp"

namespace easy_diffusion::nn {

/// What the four projections are called in a state_dict.
struct AttentionNames {
  const char *query, *key, *value, *output;
};

/// Extents and names of a `MultiHeadAttention`; the original's two classes are presets.
struct AttentionConfig {
  std::int64_t query_dim = 0;    ///< channels of the tokens
  std::int64_t context_dim = 0;  ///< channels of the context; 0: tokens attend to each other, whatever context is given
  std::int64_t heads = 1;
  std::int64_t key_width = 0;    ///< channels of queries and keys, all heads together
  std::int64_t value_width = 0;  ///< channels of values, all heads together
  bool output_bias = false;
  AttentionNames names{"query", "key", "value", "cancat"};

  /// `MultiCrossAttention`: the heads share out the channels of the tokens.
  static AttentionConfig shared(std::int64_t channels, std::int64_t context_dim = 0, std::int64_t heads = 1) {
    return {channels, context_dim, heads, channels, channels, false, {"query", "key", "value", "cancat"}};
  }

  /// `MultiCrossAttentionV2`: heads and the width of one head are free; a context_dim of 0 means that of the tokens.
  static AttentionConfig separate(std::int64_t channels, std::int64_t context_dim, std::int64_t heads,
                                  std::int64_t head_width) {
    const std::int64_t inner = heads * head_width;
    return {channels, context_dim > 0 ? context_dim : channels, heads, inner, inner,
            true,     {"to_q", "to_k", "to_v", "to_out.0"}};
  }
};

/// softmax(Q K^T / sqrt(width of a head)) V, projected back to the tokens' channels \cite vaswani_2017_attention.
template <class T>
class MultiHeadAttention {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;    ///< false: backward leaves dx out and saves the work
    bool context_gradient = true;  ///< false: backward leaves dcontext out and saves the work
    bool to_itself = true;         ///< set by forward: queries, keys and values come from the same tokens
    Shape x;
    typename Linear<T>::Context query, key, value, output;
    Tensor<T> q, k, v, lse;
  };

  struct Gradients {
    Tensor<T> dx;        ///< the shape of x, or empty
    Tensor<T> dcontext;  ///< the shape of the context, or empty; empty too where tokens attended to each other
  };

  MultiHeadAttention() = default;
  /// \throw ShapeError unless there is at least one head and the heads divide both widths
  explicit MultiHeadAttention(const AttentionConfig& config)
      : query(config.query_dim, config.key_width, false),
        key(config.context_dim > 0 ? config.context_dim : config.query_dim, config.key_width, false),
        value(config.context_dim > 0 ? config.context_dim : config.query_dim, config.value_width, false),
        output(config.value_width, config.query_dim, config.output_bias),
        config_(config) {
    if (config.heads < 1 || config.key_width % config.heads != 0 || config.value_width % config.heads != 0)
      throw ShapeError("MultiHeadAttention: " + std::to_string(config.heads) + " heads do not divide widths of " +
                       std::to_string(config.key_width) + " and " + std::to_string(config.value_width));
  }

  /// \param x       [N, L, query_dim]
  /// \param context [N, M, context_dim]; empty: the tokens attend to each other
  /// \return [N, L, query_dim]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& context, Context* ctx = nullptr) const {
    expect_rank("MultiHeadAttention tokens", 3, "[N, L, C]", x.shape());
    const bool to_itself = attends_to_itself(context);
    const Tensor<T>& source = to_itself ? x : context;
    check_source(x, source);
    if (ctx != nullptr) {
      ctx->to_itself = to_itself;
      ctx->x = x.shape();
      ctx->query.input_gradient = ctx->input_gradient;
      ctx->key.input_gradient = ctx->value.input_gradient = to_itself ? ctx->input_gradient : ctx->context_gradient;
    }
    if (source.extent(1) == 1) {
      Tensor<T> y(x.shape());
      ops::embedding_add_forward(std::as_const(y).view().reshaped(as_picture(x.shape())),
                                 forward_one(source, ctx).view(), y.view().reshaped(as_picture(x.shape())));
      return y;
    }
    Tensor<T> q = query.forward(x, ctx ? &ctx->query : nullptr);
    Tensor<T> k = key.forward(source, ctx ? &ctx->key : nullptr);
    Tensor<T> v = value.forward(source, ctx ? &ctx->value : nullptr);
    Tensor<T> out = Tensor<T>::uninitialized(Shape{x.extent(0), x.extent(1), config_.value_width});
    Tensor<T> lse;
    if (ctx != nullptr) lse = Tensor<T>::uninitialized(Shape{x.extent(0), config_.heads, x.extent(1)});
    ops::attention_forward(std::as_const(q).view(), k.view(), v.view(), config_.heads, scale(), out.view(), lse.view());
    Trace::note("attention", query.weight.value.data(), x.shape(), out.shape(),
                2.0 * static_cast<double>(x.extent(0) * x.extent(1) * source.extent(1)) *
                    static_cast<double>(config_.key_width + config_.value_width));
    if (ctx != nullptr) {
      ctx->q = std::move(q);
      ctx->k = std::move(k);
      ctx->v = std::move(v);
      ctx->lse = std::move(lse);
    }
    return output.forward(out, ctx ? &ctx->output : nullptr);
  }

  /// \param dy [N, L, query_dim]
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("MultiHeadAttention", ctx.x.rank() == 3);
    expect_shape("MultiHeadAttention output gradient", ctx.x, dy.shape());
    Gradients gradients;
    if (ctx.value.x.extent(1) == 1) {
      Tensor<T> sum = Tensor<T>::uninitialized(Shape{ctx.x[0], ctx.x[2]});
      ops::embedding_add_backward(dy.view().reshaped(as_picture(ctx.x)), sum.view());
      Tensor<T> dsource = backward_one(sum, ctx);
      // The softmax of one score is 1, whatever the score: nothing reaches the queries.
      if (ctx.to_itself)
        gradients.dx = std::move(dsource);
      else if (ctx.input_gradient)
        gradients.dx = Tensor<T>(ctx.x);
      if (!ctx.to_itself) gradients.dcontext = std::move(dsource);
      return gradients;
    }
    const Tensor<T> dout = output.backward(dy, ctx.output);
    const auto wanted = [](const Linear<T>& layer, const typename Linear<T>::Context& of_layer) {
      return of_layer.input_gradient || !layer.weight.frozen();
    };
    Tensor<T> dq, dk, dv;
    if (wanted(query, ctx.query)) dq = Tensor<T>::uninitialized(ctx.q.shape());
    if (wanted(key, ctx.key)) dk = Tensor<T>::uninitialized(ctx.k.shape());
    if (wanted(value, ctx.value)) dv = Tensor<T>::uninitialized(ctx.v.shape());
    ops::attention_backward(ctx.q.view(), ctx.k.view(), ctx.v.view(), ctx.output.x.view(), ctx.lse.view(), dout.view(),
                            config_.heads, scale(), dq.view(), dk.view(), dv.view());
    if (!dq.empty()) gradients.dx = query.backward(dq, ctx.query);
    Tensor<T>& dsource = ctx.to_itself ? gradients.dx : gradients.dcontext;
    if (!dk.empty()) join(dsource, key.backward(dk, ctx.key));
    if (!dv.empty()) join(dsource, value.backward(dv, ctx.value));
    return gradients;
  }

  /// Whether `forward` with that context attends to the tokens themselves.
  [[nodiscard]] bool attends_to_itself(const Tensor<T>& context) const {
    return config_.context_dim == 0 || context.empty();
  }

  /// What every token of a sample gets where there is one token to attend to, whose softmax is 1: no queries needed.
  /// \param context [N, 1, context_dim] \return [N, query_dim]
  Tensor<T> forward_one(const Tensor<T>& context, Context* ctx = nullptr) const {
    const Tensor<T> v = value.forward(context, ctx ? &ctx->value : nullptr);
    return output.forward(v, ctx ? &ctx->output : nullptr).reshaped(Shape{v.extent(0), config_.query_dim});
  }

  /// \param dy [N, query_dim], summed over the tokens \return the gradient of the context, or empty
  Tensor<T> backward_one(const Tensor<T>& dy, const Context& ctx) {
    const SharedTensor<T> of_token = dy.shared().reshaped(Shape{dy.extent(0), 1, dy.extent(1)});
    return value.backward(output.backward(*of_token, ctx.output), ctx.value);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    const AttentionNames& names = self.config_.names;
    Linear<T>::visit(self.query, v, prefix + names.query + ".");
    Linear<T>::visit(self.output, v, prefix + names.output + ".");
    Linear<T>::visit(self.key, v, prefix + names.key + ".");
    Linear<T>::visit(self.value, v, prefix + names.value + ".");
  }

  Linear<T> query, key, value, output;

 private:
  [[nodiscard]] T scale() const { return static_cast<T>(1 / std::sqrt(double(config_.key_width / config_.heads))); }

  static Shape as_picture(const Shape& tokens) { return {tokens[0], 1, tokens[1], tokens[2]}; }

  void check_source(const Tensor<T>& x, const Tensor<T>& source) const {
    const std::int64_t width = key.weight.value.extent(0);
    if (x.extent(2) != config_.query_dim || source.shape().rank() != 3 || source.extent(0) != x.extent(0) ||
        source.extent(2) != width)
      throw ShapeError("MultiHeadAttention: expected tokens [N, L, " + std::to_string(config_.query_dim) +
                       "] that attend to [N, M, " + std::to_string(width) + "], got " + x.shape().to_string() +
                       " and " + source.shape().to_string());
  }

  /// What is left out adds nothing.
  static void join(Tensor<T>& sum, Tensor<T> part) {
    if (sum.empty())
      sum = std::move(part);
    else if (!part.empty())
      ops::add_to(sum.view(), std::as_const(part).view());
  }

  AttentionConfig config_;
};

}  // namespace easy_diffusion::nn
