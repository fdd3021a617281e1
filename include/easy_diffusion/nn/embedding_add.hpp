/// \file
/// Adds a time embedding to a picture.
#pragma once

#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/ops/embedding_add.hpp"

namespace easy_diffusion::nn {

/// y[n, h, w, c] = x[n, h, w, c] + embedding[n, c].
template <class T>
class EmbeddingAdd {
 public:
  using value_type = T;

  struct Context {};  ///< backward needs nothing

  struct Gradients {
    Tensor<T> dx;          ///< [N, H, W, C]
    Tensor<T> dembedding;  ///< [N, C]
  };

  /// \param x         [N, H, W, C]; given as an rvalue that nobody shares, its memory becomes the result
  /// \param embedding [N, C]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(Tensor<T> x, const Tensor<T>& embedding, Context* = nullptr) const {
    Tensor<T> y = SharedTensor<T>(std::move(x)).owned();
    ops::embedding_add_forward(std::as_const(y).view(), embedding.view(), y.view());
    return y;
  }

  /// \param dy [N, H, W, C]; given as an rvalue that nobody shares, its memory becomes dx
  Gradients backward(Tensor<T> dy, const Context&) {
    expect_rank("EmbeddingAdd output gradient", 4, "[N, H, W, C]", dy.shape());
    Gradients gradients{{}, Tensor<T>::uninitialized(Shape{dy.extent(0), dy.extent(3)})};
    ops::embedding_add_backward(std::as_const(dy).view(), gradients.dembedding.view());
    gradients.dx = SharedTensor<T>(std::move(dy)).owned();
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}
};

}  // namespace easy_diffusion::nn
