/// \file
/// One stage of the small U-Nets: convolution, plus a linear map of the time embedding, GroupNorm, SiLU.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/embedding_add.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/silu.hpp"

namespace easy_diffusion::nn {

/// \tparam Convolution `Conv2d<T>` on the way down, `ConvTranspose2d<T>` on the way up
template <class Convolution>
class ConvStage {
 public:
  using value_type = typename Convolution::value_type;
  using T = value_type;

  struct Context {
    typename Convolution::Context conv;
    typename Linear<T>::Context dense;
    typename EmbeddingAdd<T>::Context add;
    typename GroupNorm<T>::Context norm;
    typename SiLU<T>::Context act;
  };

  struct Gradients {
    Tensor<T> dx;          ///< the shape of x, or empty where the convolution's context leaves it out
    Tensor<T> dembedding;  ///< [N, E]
  };

  ConvStage() = default;
  ConvStage(Convolution convolution, std::int64_t embed_dim, std::int64_t channels, std::int64_t groups)
      : conv(std::move(convolution)), dense(embed_dim, channels), norm(groups, channels) {}

  /// \param x         [N, H, W, C_in]
  /// \param embedding [N, E]
  /// \param extra     passed on to the convolution (a transposed one takes the size of its result)
  /// \return [N, OH, OW, C_out]
  template <class... Extra>
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, Context* ctx = nullptr, Extra... extra) const {
    Tensor<T> h = conv.forward(x, ctx ? &ctx->conv : nullptr, extra...);
    h = EmbeddingAdd<T>().forward(std::move(h), dense.forward(embedding, ctx ? &ctx->dense : nullptr));
    h = norm.forward(h, ctx ? &ctx->norm : nullptr);
    return SiLU<T>().forward(h, ctx ? &ctx->act : nullptr);
  }

  /// \param dy the shape of the result
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    const Tensor<T> dh = norm.backward(SiLU<T>().backward(dy, ctx.act), ctx.norm);
    auto added = EmbeddingAdd<T>().backward(dh, ctx.add);
    return {conv.backward(added.dx, ctx.conv), dense.backward(added.dembedding, ctx.dense)};
  }

  Convolution conv;
  Linear<T> dense;
  GroupNorm<T> norm;
};

}  // namespace easy_diffusion::nn
