/// \file
/// Sinusoidal time embedding.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/sinusoidal.hpp"

namespace easy_diffusion::nn {

/// [sin(t w), cos(t w)] with frequencies w from 1 to 1 / 10 000, evenly spaced in the logarithm
/// \cite vaswani_2017_attention. The last column of an odd width is zero.
template <class T>
class SinusoidalEmbedding {
 public:
  using value_type = T;

  struct Context {
    Tensor<T> y;  ///< a copy: the result is the caller's
  };

  SinusoidalEmbedding() = default;
  /// \throw ValueError for a width below 4
  explicit SinusoidalEmbedding(std::int64_t width) : width_(width) {
    if (width < 4)
      throw ValueError("SinusoidalEmbedding: expected a width of at least 4, got " + std::to_string(width));
  }

  /// \param t [N] \return [N, width]
  Tensor<T> forward(const Tensor<T>& t, Context* ctx = nullptr) const {
    expect_rank("SinusoidalEmbedding", 1, "[N]", t.shape());
    Tensor<T> y = Tensor<T>::uninitialized(Shape{t.extent(0), width_});
    ops::sinusoidal_features_forward(t.view(), y.view());
    if (ctx != nullptr) ctx->y = y;
    return y;
  }

  /// \param dy [N, width] \return dt, [N]
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("SinusoidalEmbedding", !ctx.y.empty());
    Tensor<T> dt = Tensor<T>::uninitialized(Shape{dy.extent(0)});
    ops::sinusoidal_features_backward(ctx.y.view(), dy.view(), dt.view());
    return dt;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

 private:
  std::int64_t width_ = 4;
};

}  // namespace easy_diffusion::nn
