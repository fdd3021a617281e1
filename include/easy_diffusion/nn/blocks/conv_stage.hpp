/// \file
/// One stage of the small U-Nets: convolution, plus a linear map of the time embedding, GroupNorm, SiLU.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"

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
    typename GroupNormSiLU<T>::EmbeddedContext norm;
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
    const Tensor<T> shift = dense.forward(embedding, ctx ? &ctx->dense : nullptr);
    return norm.forward(conv.forward(x, ctx ? &ctx->conv : nullptr, extra...), shift, ctx ? &ctx->norm : nullptr);
  }

  /// \param dy the shape of the result; handed over (an rvalue), its memory is used again
  Gradients backward(const Tensor<T>& dy, const Context& ctx) { return finish(norm.backward(dy, ctx.norm), ctx); }
  Gradients backward(Tensor<T>&& dy, const Context& ctx) { return finish(norm.backward(std::move(dy), ctx.norm), ctx); }

  Convolution conv;
  Linear<T> dense;
  GroupNormSiLU<T> norm;

 private:
  Gradients finish(const typename GroupNormSiLU<T>::Gradients& gradients, const Context& ctx) {
    return {conv.backward(gradients.dx, ctx.conv), dense.backward(gradients.dembedding, ctx.dense)};
  }
};

}  // namespace easy_diffusion::nn
