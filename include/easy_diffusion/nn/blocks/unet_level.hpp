/// \file
/// One level of the small U-Nets: a convolution that is told the time, and what the configuration puts behind it.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/blocks/conv_stage.hpp"
#include "easy_diffusion/nn/blocks/psp_module.hpp"
#include "easy_diffusion/nn/blocks/spatial_transformer.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/name.hpp"

namespace easy_diffusion::nn {

/// Convolution stage, then pyramid pooling and a spatial transformer where there are such.
/// \tparam Convolution `Conv2d<T>` on the way down, `ConvTranspose2d<T>` on the way up
template <class Convolution>
class UNetLevel {
 public:
  using value_type = typename Convolution::value_type;
  using T = value_type;

  struct Context {
    typename ConvStage<Convolution>::Context stage;
    typename PSPModule<T>::Context pyramid;
    typename SpatialTransformer<T>::Context transformer;
  };

  struct Gradients {
    Tensor<T> dx;          ///< the shape of x, or empty where the convolution's context leaves it out
    Tensor<T> dembedding;  ///< [N, E]
    Tensor<T> dtokens;     ///< the shape of the tokens; empty where nobody attends to them, or nobody asks
  };

  /// \param x         [N, H, W, C_in]
  /// \param embedding [N, E], of the time
  /// \param tokens    [N, L, D], what the transformer attends to; empty: the picture itself
  /// \param extra     passed on to the convolution
  /// \return [N, OH, OW, C_out]
  template <class... Extra>
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, const Tensor<T>& tokens, Context* ctx,
                    Extra... extra) const {
    Tensor<T> h = stage.forward(x, embedding, ctx ? &ctx->stage : nullptr, extra...);
    if (pyramid) h = pyramid->forward(h, ctx ? &ctx->pyramid : nullptr);
    if (transformer) h = transformer->forward(h, tokens, ctx ? &ctx->transformer : nullptr);
    return h;
  }

  /// \param dy the shape of the result
  Gradients backward(Tensor<T> dy, const Context& ctx) {
    Gradients gradients;
    if (transformer) {
      auto attended = transformer->backward(dy, ctx.transformer);
      dy = std::move(attended.dx);
      gradients.dtokens = std::move(attended.dcontext);
    }
    if (pyramid) dy = pyramid->backward(dy, ctx.pyramid);
    auto staged = stage.backward(std::move(dy), ctx.stage);
    gradients.dx = std::move(staged.dx);
    gradients.dembedding = std::move(staged.dembedding);
    return gradients;
  }

  /// The stage by its three names (`conv1.`, `dense1.`, `gnorm1.`), and the transformer.
  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& convolution, const Name& dense, const Name& norm,
                    const Name& attention) {
    Convolution::visit(self.stage.conv, v, convolution);
    Linear<T>::visit(self.stage.dense, v, dense + "dense.");
    GroupNormSiLU<T>::visit(self.stage.norm, v, norm);
    if (self.transformer) SpatialTransformer<T>::visit(*self.transformer, v, attention);
  }
  template <class Self, class V>
  static void visit_pyramid(Self& self, V&& v, const Name& prefix) {
    if (self.pyramid) PSPModule<T>::visit(*self.pyramid, v, prefix);
  }

  ConvStage<Convolution> stage;
  std::optional<PSPModule<T>> pyramid;
  std::optional<SpatialTransformer<T>> transformer;
};

}  // namespace easy_diffusion::nn
