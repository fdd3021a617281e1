/// \file
/// From a time to what the residual blocks are told: features of the time and one or two linear layers.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/fourier_embedding.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/silu.hpp"
#include "easy_diffusion/nn/sinusoidal_embedding.hpp"

namespace easy_diffusion::nn {

/// Features of the time: random frequencies and one linear layer after them, or fixed frequencies and two.
enum class TimeFeatures { fourier, sinusoidal };

/// SiLU(linear(fourier(t))), names `time_embed.*`, or SiLU(linear(SiLU(linear(sinusoidal(t))))), names `temb.dense.*`.
template <class T>
class TimeMap {
 public:
  using value_type = T;

  struct Context {
    typename Linear<T>::Context first, second;
    typename SiLU<T>::Context between, after;
  };

  TimeMap() = default;
  /// \param fourier_scale standard deviation of random frequencies
  /// \throw ValueError for an odd width of random features, or fewer than four fixed ones
  TimeMap(TimeFeatures features, std::int64_t width, double fourier_scale = 30)
      : features_(features), first_(width, width) {
    if (features == TimeFeatures::fourier) {
      fourier_ = FourierEmbedding<T>(width, fourier_scale);
    } else {
      sinusoidal_ = SinusoidalEmbedding<T>(width);
      second_ = Linear<T>(width, width);
    }
  }

  /// \param t [N] \return [N, width]
  Tensor<T> forward(const Tensor<T>& t, Context* ctx = nullptr) const {
    if (ctx != nullptr) ctx->first.input_gradient = false;
    Tensor<T> h = features_ == TimeFeatures::fourier ? fourier_.forward(t) : sinusoidal_.forward(t);
    h = first_.forward(h, ctx ? &ctx->first : nullptr);
    if (features_ == TimeFeatures::sinusoidal) {
      h = SiLU<T>().forward(h, ctx ? &ctx->between : nullptr);
      h = second_.forward(h, ctx ? &ctx->second : nullptr);
    }
    return SiLU<T>().forward(h, ctx ? &ctx->after : nullptr);
  }

  /// \param dy [N, width]; the times get no gradient
  void backward(const Tensor<T>& dy, const Context& ctx) {
    Tensor<T> dh = SiLU<T>().backward(dy, ctx.after);
    if (features_ == TimeFeatures::sinusoidal) dh = SiLU<T>().backward(second_.backward(dh, ctx.second), ctx.between);
    first_.backward(dh, ctx.first);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    if (self.features_ == TimeFeatures::fourier) {
      FourierEmbedding<T>::visit(self.fourier_, v, prefix + "time_embed.0.");
      Linear<T>::visit(self.first_, v, prefix + "time_embed.1.");
    } else {
      Linear<T>::visit(self.first_, v, prefix + "temb.dense.0.");
      Linear<T>::visit(self.second_, v, prefix + "temb.dense.1.");
    }
  }

 private:
  TimeFeatures features_ = TimeFeatures::fourier;
  FourierEmbedding<T> fourier_;
  SinusoidalEmbedding<T> sinusoidal_;
  Linear<T> first_, second_;
};

}  // namespace easy_diffusion::nn
