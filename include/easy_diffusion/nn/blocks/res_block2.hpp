/// \file
/// The residual block of two convolutions, of the autoencoder and of one of the large U-Nets.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/dropout.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

struct ResBlock2Config {
  std::int64_t in = 32;
  std::int64_t out = 32;
  std::int64_t embed_dim = 0;  ///< width of the time embedding; 0: the block is not told the time
  double dropout = 0;
  bool wide_shortcut = false;  ///< where channels change, the input goes through a 3x3 convolution, not a 1x1 one
  std::int64_t groups = 32;
};

/// The original's `ResBlock2`: GroupNorm, SiLU, 3x3 convolution, plus a linear map of the time embedding, GroupNorm,
/// SiLU, dropout, 3x3 convolution, plus the input, through a convolution where the channels change.
template <class T>
class ResBlock2 {
 public:
  using value_type = T;

  struct Context {
    typename GroupNormSiLU<T>::Context norm1;
    typename GroupNormSiLU<T>::EmbeddedContext norm2;
    typename Conv2d<T>::Context conv1, conv2, shortcut;
    typename Linear<T>::Context time;
    typename Dropout<T>::Context dropout;
  };

  struct Gradients {
    Tensor<T> dx;          ///< the shape of x
    Tensor<T> dembedding;  ///< [N, E], or empty where the block is not told the time
  };

  ResBlock2() = default;
  /// \throw ShapeError for channels that the groups do not divide, ValueError for a dropout outside [0, 1]
  explicit ResBlock2(const ResBlock2Config& config)
      : norm1(config.groups, config.in, epsilon),
        conv1(config.in, config.out, {.padding = 1}),
        norm2(config.groups, config.out, epsilon),
        dropout(config.dropout),
        conv2(config.out, config.out, {.padding = 1}),
        wide_shortcut_(config.wide_shortcut) {
    if (config.embed_dim > 0) time.emplace(config.embed_dim, config.out);
    if (config.in != config.out)
      shortcut.emplace(config.in, config.out, wide_shortcut_ ? Conv2dConfig{.padding = 1} : Conv2dConfig{.kernel = 1});
  }

  /// \param x         [N, H, W, C_in]
  /// \param embedding [N, E], the time embedding after its SiLU; empty for a block that is not told the time
  /// \return [N, H, W, C_out]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, Context* ctx = nullptr) const {
    Tensor<T> h = conv1.forward(norm1.forward(x, ctx ? &ctx->norm1 : nullptr), ctx ? &ctx->conv1 : nullptr);
    if (time) {
      const Tensor<T> told = time->forward(embedding, ctx ? &ctx->time : nullptr);
      h = norm2.forward(std::move(h), told, ctx ? &ctx->norm2 : nullptr);
    } else {
      h = norm2.forward(std::move(h), ctx ? &ctx->norm2 : nullptr);
    }
    h = conv2.forward(dropout.forward(std::move(h), ctx ? &ctx->dropout : nullptr), ctx ? &ctx->conv2 : nullptr);
    SharedTensor<T> beside = shortcut ? shortcut->forward(x, ctx ? &ctx->shortcut : nullptr) : x.shared();
    accumulate(h, std::move(beside));
    return h;
  }
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const { return forward(x, Tensor<T>(), ctx); }

  /// \param dy the shape of the result
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    Tensor<T> dh = dropout.backward(conv2.backward(dy, ctx.conv2), ctx.dropout);
    Gradients gradients;
    if (time) {
      auto inner = norm2.backward(std::move(dh), ctx.norm2);
      gradients.dembedding = time->backward(inner.dembedding, ctx.time);
      dh = std::move(inner.dx);
    } else {
      const typename GroupNormSiLU<T>::Context& untold = ctx.norm2;
      dh = norm2.backward(std::move(dh), untold);
    }
    gradients.dx = norm1.backward(conv1.backward(dh, ctx.conv1), ctx.norm1);
    SharedTensor<T> beside = shortcut ? shortcut->backward(dy, ctx.shortcut) : dy.shared();
    accumulate(gradients.dx, std::move(beside));
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    GroupNormSiLU<T>::visit(self.norm1, v, prefix + "norm1.");
    Conv2d<T>::visit(self.conv1, v, prefix + "conv1.");
    if (self.time) Linear<T>::visit(*self.time, v, prefix + "temb_proj.");
    GroupNormSiLU<T>::visit(self.norm2, v, prefix + "norm2.");
    Conv2d<T>::visit(self.conv2, v, prefix + "conv2.");
    if (self.shortcut)
      Conv2d<T>::visit(*self.shortcut, v, prefix + (self.wide_shortcut_ ? "conv_shortcut." : "nin_shortcut."));
  }

  GroupNormSiLU<T> norm1;
  Conv2d<T> conv1;
  std::optional<Linear<T>> time;
  GroupNormSiLU<T> norm2;
  Dropout<T> dropout;
  Conv2d<T> conv2;
  std::optional<Conv2d<T>> shortcut;

 private:
  static constexpr double epsilon = 1e-6;
  bool wide_shortcut_ = false;
};

}  // namespace easy_diffusion::nn
