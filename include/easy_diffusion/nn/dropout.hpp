/// \file
/// Dropout layer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/dropout.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.Dropout`: in training, zeroes elements with probability p and divides the others by 1 - p. Which ones is a
/// pure function of the context's noise address and layer number, so that a step done again drops the same.
template <class T>
class Dropout {
 public:
  using value_type = T;

  struct Context {
    Mode mode;
    std::uint32_t layer =
        0;  ///< tells a model's dropout layers apart: each has 2^40 deviates of the address; below 2^24
  };

  /// \throw ValueError unless 0 <= p <= 1
  explicit Dropout(double p = 0.5) : p_(p) {
    if (!(p >= 0 && p <= 1)) throw ValueError("Dropout: expected 0 <= p <= 1, got " + number_text(p));
  }

  [[nodiscard]] double p() const noexcept { return p_; }

  /// \param x any shape; given as an rvalue that nobody shares, its memory becomes the result where nothing is dropped
  /// \return the same shape
  /// \throw ValueError for a layer number out of range
  Tensor<T> forward(Tensor<T> x, Context* ctx = nullptr) const {
    if (ctx == nullptr || !active(*ctx)) return SharedTensor<T>(std::move(x)).owned();
    expect_room(*ctx);
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::dropout_forward(std::as_const(x).view(), p_, ctx->mode.noise, first(*ctx), y.view());
    return y;
  }

  /// \param dy the shape of y; given as an rvalue that nobody shares, its memory becomes the result where nothing was dropped
  /// \return dx, the same shape
  Tensor<T> backward(Tensor<T> dy, const Context& ctx) {
    if (!active(ctx)) return SharedTensor<T>(std::move(dy)).owned();
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::dropout_backward(std::as_const(dy).view(), p_, ctx.mode.noise, first(ctx), dx.view());
    return dx;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}

  /// Whether a pass with that context drops anything; else it is the identity both ways.
  [[nodiscard]] bool active(const Context& ctx) const noexcept { return ctx.mode.training && p_ > 0; }

 private:
  static void expect_room(const Context& ctx) {
    if (ctx.layer >> 24 != 0)
      throw ValueError("Dropout: expected a layer number below 2^24, got " + std::to_string(ctx.layer));
  }
  static std::uint64_t first(const Context& ctx) noexcept { return std::uint64_t{ctx.layer} << 40; }

  double p_;
};

}  // namespace easy_diffusion::nn
