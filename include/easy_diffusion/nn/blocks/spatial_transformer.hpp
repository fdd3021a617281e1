/// \file
/// A transformer block over the pixels of a picture.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/blocks/transformer_block.hpp"
#include "easy_diffusion/ops/add.hpp"

namespace easy_diffusion::nn {

/// The pixels are the tokens (channels last: the same memory), and the picture is added once more at the end:
/// y = x + block(x, context). `SpatialTransformer` and `SpatialTransformerV2` of the original, by configuration.
template <class T>
class SpatialTransformer {
 public:
  using value_type = T;

  struct Context : TransformerBlock<T>::Context {};

  struct Gradients {
    Tensor<T> dx;        ///< [N, H, W, C]
    Tensor<T> dcontext;  ///< the shape of the context; empty where left out, or where the tokens took its place
  };

  SpatialTransformer() = default;
  explicit SpatialTransformer(const TransformerConfig& config) : transformer(config) {}

  /// \param x       [N, H, W, C]
  /// \param context [N, M, context_dim]; empty: the tokens take its place
  /// \return [N, H, W, C]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& context, Context* ctx = nullptr) const {
    expect_rank("SpatialTransformer input", 4, "[N, H, W, C]", x.shape());
    const SharedTensor<T> seen = tokens(x);
    Tensor<T> y = transformer.forward(*seen, context, ctx).reshaped(x.shape());
    ops::add_to(y.view(), x.view());
    return y;
  }

  /// \param dy [N, H, W, C]
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    expect_rank("SpatialTransformer output gradient", 4, "[N, H, W, C]", dy.shape());
    const SharedTensor<T> given = tokens(dy);
    auto inner = transformer.backward(*given, ctx);
    Gradients gradients{std::move(inner.dx).reshaped(dy.shape()), std::move(inner.dcontext)};
    ops::add_to(gradients.dx.view(), dy.view());
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    TransformerBlock<T>::visit(self.transformer, v, prefix + "transformer.");
  }

  TransformerBlock<T> transformer;

 private:
  static SharedTensor<T> tokens(const Tensor<T>& picture) {
    const Shape& s = picture.shape();
    return picture.shared().reshaped(Shape{s[0], s[1] * s[2], s[3]});
  }
};

}  // namespace easy_diffusion::nn
