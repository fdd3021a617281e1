/// \file
/// Gaussian Fourier time embedding.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/fourier.hpp"

namespace easy_diffusion::nn {

/// [sin(2 pi t W), cos(2 pi t W)] with random frequencies W that are never trained \cite tancik_2020_fourier.
template <class T>
class FourierEmbedding {
 public:
  using value_type = T;

  struct Context {
    Tensor<T> y;  ///< a copy: the result is the caller's
  };

  FourierEmbedding() = default;
  /// \param width of the embedding, even \param scale standard deviation of the frequencies
  /// \throw ValueError for an odd width
  explicit FourierEmbedding(std::int64_t width, double scale = 30) : scale_(scale) {
    if (width < 2 || width % 2 != 0)
      throw ValueError("FourierEmbedding: expected an even width above 0, got " + std::to_string(width));
    frequencies.value = Tensor<T>(Shape{width / 2});
  }

  /// \param t [N] \return [N, width]
  Tensor<T> forward(const Tensor<T>& t, Context* ctx = nullptr) const {
    expect_rank("FourierEmbedding", 1, "[N]", t.shape());
    Tensor<T> y = Tensor<T>::uninitialized(Shape{t.extent(0), 2 * frequencies.value.size()});
    ops::fourier_features_forward(t.view(), frequencies.value.view(), y.view());
    Trace::note("Fourier features", frequencies.value.data(), t.shape(), y.shape(), 0);
    if (ctx != nullptr) ctx->y = y;
    return y;
  }

  /// \param dy [N, width] \return dt, [N]
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("FourierEmbedding", !ctx.y.empty());
    Tensor<T> dt = Tensor<T>::uninitialized(Shape{dy.extent(0)});
    ops::fourier_features_backward(ctx.y.view(), frequencies.value.view(), dy.view(), dt.view());
    return dt;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    v(prefix + "W", self.frequencies, Entry{Kind::frozen, Layout::plain, Initial::normal(self.scale_)});
  }

  Parameter<T> frequencies;  ///< [width / 2], frozen

 private:
  double scale_ = 30;
};

}  // namespace easy_diffusion::nn
