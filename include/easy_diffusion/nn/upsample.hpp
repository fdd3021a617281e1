/// \file
/// Twice as many rows and columns, by repeating pixels, and a convolution.
#pragma once

#include <cstdint>
#include <optional>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/resample.hpp"

namespace easy_diffusion::nn {

/// The original's `Upsample`: nearest neighbours, then a padded 3x3 convolution named `conv` where there is one.
template <class T>
class Upsample {
 public:
  using value_type = T;

  struct Context {
    typename Conv2d<T>::Context conv;
    typename Resample2d<T>::Context twice;
  };

  Upsample() = default;
  /// \param convolve without it the channels stay as they are
  explicit Upsample(std::int64_t channels, bool convolve = true) {
    if (convolve) conv_.emplace(channels, channels, Conv2dConfig{.padding = 1});
  }

  /// \param x [N, H, W, C] \return [N, 2 H, 2 W, C]
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> y = twice_.forward(x, ctx ? &ctx->twice : nullptr);
    if (!conv_) return y;
    return conv_->forward(y, ctx ? &ctx->conv : nullptr);
  }

  /// \param dy the shape of the result \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    if (!conv_) return twice_.backward(dy, ctx.twice);
    return twice_.backward(conv_->backward(dy, ctx.conv), ctx.twice);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    if (self.conv_) Conv2d<T>::visit(*self.conv_, v, prefix + "conv.");
  }

 private:
  Resample2d<T> twice_;
  std::optional<Conv2d<T>> conv_;
};

}  // namespace easy_diffusion::nn
