/// \file
/// Resampling layer: pictures to another size.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/resample.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.functional.interpolate` over channels-last pictures, by a whole factor or to a given size.
template <class T>
class Resample2d {
 public:
  using value_type = T;

  struct Context {
    Shape x;
  };

  /// Rows and columns of the result. Zero: the factor times those of the picture.
  struct OutputSize {
    std::int64_t h = 0;
    std::int64_t w = 0;
  };

  explicit Resample2d(ops::Resampling mode = ops::Resampling::nearest, std::int64_t factor = 2)
      : mode_(mode), factor_(factor) {}

  /// \param x [N, H, W, C] \return [N, OH, OW, C]
  /// \throw ShapeError for a picture without pixels
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr, OutputSize size = {}) const {
    expect_rank("Resample2d", 4, "[N, H, W, C]", x.shape());
    if (size.h == 0 && size.w == 0) size = {factor_ * x.extent(1), factor_ * x.extent(2)};
    Tensor<T> y = Tensor<T>::uninitialized(Shape{x.extent(0), size.h, size.w, x.extent(3)});
    ops::resample_forward(x.view(), mode_, y.view());
    if (ctx != nullptr) ctx->x = x.shape();
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Resample2d", ctx.x.rank() == 4);
    Tensor<T> dx = Tensor<T>::uninitialized(ctx.x);
    ops::resample_backward(dy.view(), mode_, dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

 private:
  ops::Resampling mode_;
  std::int64_t factor_;
};

}  // namespace easy_diffusion::nn
