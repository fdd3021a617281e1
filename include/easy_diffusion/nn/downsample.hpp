/// \file
/// Half as many rows and columns, by a convolution or by averages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/pooling.hpp"

namespace easy_diffusion::nn {

/// Where a convolution that halves sees zeros beside the picture.
enum class DownsamplePadding {
  around,  ///< one on every side: the original's, named `op`
  corner   ///< one row below and one column on the right: Stable Diffusion's autoencoder, named `conv`
};

/// A padded 3x3 convolution of stride 2, or the mean of every 2x2 pixels.
template <class T>
class Downsample {
 public:
  using value_type = T;

  struct Context {
    typename Conv2d<T>::Context conv;
    typename AvgPool2d<T>::Context mean;
  };

  Downsample() = default;
  explicit Downsample(std::int64_t channels, bool convolve = true, DownsamplePadding padding = DownsamplePadding::around)
      : padding_(padding) {
    const std::int64_t around = padding == DownsamplePadding::around ? 1 : 0;
    if (convolve) conv_.emplace(channels, channels, Conv2dConfig{.stride = 2, .padding = around});
  }

  /// \param x [N, H, W, C]
  /// \return [N, OH, OW, C], OH = H / 2 rounded up by the convolution (down with its zeros in the corner) and down by the
  ///         mean, likewise OW
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("Downsample", 4, "[N, H, W, C]", x.shape());
    if (!conv_) return mean_.forward(x, ctx ? &ctx->mean : nullptr);
    typename Conv2d<T>::Context* const kept = ctx ? &ctx->conv : nullptr;
    return padding_ == DownsamplePadding::corner ? conv_->forward(padded(x), kept) : conv_->forward(x, kept);
  }

  /// \param dy the shape of the result \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    if (!conv_) return mean_.backward(dy, ctx.mean);
    Tensor<T> dx = conv_->backward(dy, ctx.conv);
    return padding_ == DownsamplePadding::corner ? cropped(dx) : dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    if (self.conv_)
      Conv2d<T>::visit(*self.conv_, v, prefix + (self.padding_ == DownsamplePadding::corner ? "conv." : "op."));
  }

 private:
  /// [N, H, W, C] to [N, H + 1, W + 1, C], with zeros below and on the right.
  static Tensor<T> padded(const Tensor<T>& x) {
    const std::int64_t h = x.extent(1), row = x.extent(2) * x.extent(3), wide = row + x.extent(3);
    Tensor<T> y = Tensor<T>::uninitialized(Shape{x.extent(0), h + 1, x.extent(2) + 1, x.extent(3)});
    parallel_for(0, x.extent(0) * (h + 1), rows_at_once, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        T* const to = y.data() + r * wide;
        const std::int64_t n = r / (h + 1), from = r % (h + 1);
        if (from < h) std::copy_n(x.data() + (n * h + from) * row, row, to);
        std::fill(to + (from < h ? row : 0), to + wide, T(0));
      }
    });
    return y;
  }

  /// The way back.
  static Tensor<T> cropped(const Tensor<T>& y) {
    const std::int64_t h = y.extent(1) - 1, wide = y.extent(2) * y.extent(3), row = wide - y.extent(3);
    Tensor<T> x = Tensor<T>::uninitialized(Shape{y.extent(0), h, y.extent(2) - 1, y.extent(3)});
    parallel_for(0, y.extent(0) * h, rows_at_once, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r)
        std::copy_n(y.data() + (r / h * (h + 1) + r % h) * wide, row, x.data() + r * row);
    });
    return x;
  }

  static constexpr std::int64_t rows_at_once = 16;

  std::optional<Conv2d<T>> conv_;
  DownsamplePadding padding_ = DownsamplePadding::around;
  AvgPool2d<T> mean_;  ///< where there is no convolution
};

}  // namespace easy_diffusion::nn
