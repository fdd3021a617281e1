/// \file
/// Half as many rows and columns, by a convolution or by averages.
#pragma once

#include <cstdint>
#include <optional>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/pooling.hpp"

namespace easy_diffusion::nn {

/// The original's `Downsample`: a padded 3x3 convolution of stride 2 named `op`, or the mean of every 2x2 pixels.
template <class T>
class Downsample {
 public:
  using value_type = T;

  struct Context {
    typename Conv2d<T>::Context conv;
    typename AvgPool2d<T>::Context mean;
  };

  Downsample() = default;
  explicit Downsample(std::int64_t channels, bool convolve = true) {
    if (convolve) conv_.emplace(channels, channels, Conv2dConfig{.stride = 2, .padding = 1});
  }

  /// \param x [N, H, W, C]
  /// \return [N, OH, OW, C], OH = H / 2 rounded up by the convolution and down by the mean, likewise OW
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("Downsample", 4, "[N, H, W, C]", x.shape());
    if (conv_) return conv_->forward(x, ctx ? &ctx->conv : nullptr);
    return mean_.forward(x, ctx ? &ctx->mean : nullptr);
  }

  /// \param dy the shape of the result \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    if (conv_) return conv_->backward(dy, ctx.conv);
    return mean_.backward(dy, ctx.mean);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    if (self.conv_) Conv2d<T>::visit(*self.conv_, v, prefix + "op.");
  }

 private:
  std::optional<Conv2d<T>> conv_;
  AvgPool2d<T> mean_;  ///< where there is no convolution
};

}  // namespace easy_diffusion::nn
