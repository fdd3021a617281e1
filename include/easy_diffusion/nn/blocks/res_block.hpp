/// \file
/// The residual block of the large U-Nets: one convolution, told the time, beside a skip.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/dropout.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/upsample.hpp"

namespace easy_diffusion::nn {

/// What a residual block does to the picture's size.
enum class Resample { none, up, down };

struct ResBlockConfig {
  std::int64_t in = 32;
  std::int64_t out = 32;
  std::int64_t embed_dim = 256;  ///< width of the time embedding
  double dropout = 0;
  Resample resample = Resample::none;
  std::int64_t groups = 32;
};

/// The original's `ResBlock`: GroupNorm, SiLU, (resampling,) 3x3 convolution, plus a linear map of the time embedding,
/// GroupNorm, SiLU, dropout, plus the input, (resampled,) through a 1x1 convolution where the channels change.
template <class T>
class ResBlock {
 public:
  using value_type = T;

  struct Context {
    typename GroupNormSiLU<T>::Context in_norm;
    typename Conv2d<T>::Context in_conv;
    typename Linear<T>::Context time;
    typename GroupNormSiLU<T>::EmbeddedContext out_norm;
    typename Dropout<T>::Context dropout;
    typename Conv2d<T>::Context skip;
    typename Upsample<T>::Context h_up, x_up;
    typename Downsample<T>::Context h_down, x_down;
  };

  struct Gradients {
    Tensor<T> dx;          ///< the shape of x
    Tensor<T> dembedding;  ///< [N, E]
  };

  ResBlock() = default;
  /// \throw ShapeError for channels that the groups do not divide, ValueError for a dropout outside [0, 1]
  explicit ResBlock(const ResBlockConfig& config)
      : in_norm(config.groups, config.in),
        in_conv(config.in, config.out, {.padding = 1}),
        time(config.embed_dim, config.out),
        out_norm(config.groups, config.out),
        dropout(config.dropout),
        resample_(config.resample) {
    if (config.in != config.out) skip.emplace(config.in, config.out, Conv2dConfig{.kernel = 1});
    if (resample_ == Resample::up) h_up = x_up = Upsample<T>(config.in);
    if (resample_ == Resample::down) h_down = x_down = Downsample<T>(config.in);
    if (resample_ == Resample::none) {
      // Never used: the original makes them and files have them.
      unused_weight.value = Tensor<T>(Shape{3, 3, config.in, config.out});
      unused_bias.value = Tensor<T>(Shape{config.out});
    }
  }

  /// \param x         [N, H, W, C_in]
  /// \param embedding [N, E], the time embedding after its SiLU
  /// \return [N, OH, OW, C_out]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, Context* ctx = nullptr) const {
    Tensor<T> h = in_norm.forward(x, ctx ? &ctx->in_norm : nullptr);
    SharedTensor<T> beside = x.shared();
    if (resample_ == Resample::up) {
      h = h_up.forward(h, ctx ? &ctx->h_up : nullptr);
      beside = x_up.forward(x, ctx ? &ctx->x_up : nullptr);
    } else if (resample_ == Resample::down) {
      h = h_down.forward(h, ctx ? &ctx->h_down : nullptr);
      beside = x_down.forward(x, ctx ? &ctx->x_down : nullptr);
    }
    h = in_conv.forward(h, ctx ? &ctx->in_conv : nullptr);
    h = out_norm.forward(std::move(h), time.forward(embedding, ctx ? &ctx->time : nullptr),
                         ctx ? &ctx->out_norm : nullptr);
    h = dropout.forward(std::move(h), ctx ? &ctx->dropout : nullptr);
    if (skip) beside = skip->forward(*beside, ctx ? &ctx->skip : nullptr);
    accumulate(h, std::move(beside));
    return h;
  }

  /// \param dy the shape of the result
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    auto inner = dropout.active(ctx.dropout) ? out_norm.backward(dropout.backward(dy, ctx.dropout), ctx.out_norm)
                                             : out_norm.backward(dy, ctx.out_norm);
    Tensor<T> dh = in_conv.backward(inner.dx, ctx.in_conv);
    SharedTensor<T> beside = skip ? skip->backward(dy, ctx.skip) : dy.shared();
    if (resample_ == Resample::up) {
      dh = h_up.backward(dh, ctx.h_up);
      beside = x_up.backward(*beside, ctx.x_up);
    } else if (resample_ == Resample::down) {
      dh = h_down.backward(dh, ctx.h_down);
      beside = x_down.backward(*beside, ctx.x_down);
    }
    Tensor<T> dx = in_norm.backward(std::move(dh), ctx.in_norm);
    accumulate(dx, std::move(beside));
    return {std::move(dx), time.backward(inner.dembedding, ctx.time)};
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    visit_resampling(self, v, prefix + "h_func.", self.h_up, self.h_down);
    visit_resampling(self, v, prefix + "x_func.", self.x_up, self.x_down);
    GroupNormSiLU<T>::visit(self.in_norm, v, prefix + "in_layers.0.");
    Conv2d<T>::visit(self.in_conv, v, prefix + "in_layers.2.");
    Linear<T>::visit(self.time, v, prefix + "time_embe.1.");
    GroupNormSiLU<T>::visit(self.out_norm, v, prefix + "out_layers.0.");
    if (self.skip) Conv2d<T>::visit(*self.skip, v, prefix + "skip_connection.");
  }

  GroupNormSiLU<T> in_norm;
  Conv2d<T> in_conv;
  Linear<T> time;
  GroupNormSiLU<T> out_norm;
  Dropout<T> dropout;
  std::optional<Conv2d<T>> skip;
  Upsample<T> h_up, x_up;
  Downsample<T> h_down, x_down;
  Parameter<T> unused_weight, unused_bias;  ///< of a convolution that no pass uses; the original gives it two names

 private:
  template <class Self, class V, class Up, class Down>
  static void visit_resampling(Self& self, V& v, const Name& prefix, Up& up, Down& down) {
    switch (self.resample_) {
      case Resample::up: Upsample<T>::visit(up, v, prefix); break;
      case Resample::down: Downsample<T>::visit(down, v, prefix); break;
      case Resample::none:
        v(prefix + "weight", self.unused_weight, Entry{Kind::unused, Layout::convolution, Initial::constant(0)});
        v(prefix + "bias", self.unused_bias, Entry{Kind::unused, Layout::plain, Initial::constant(0)});
        break;
    }
  }

  Resample resample_ = Resample::none;
};

}  // namespace easy_diffusion::nn
