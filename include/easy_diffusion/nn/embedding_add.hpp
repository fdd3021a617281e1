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
    Tensor<T> dx;          ///< [N, H, W, C]: dy itself, shared
    Tensor<T> dembedding;  ///< [N, C]
  };

  /// \param x         [N, H, W, C]; given as an rvalue, its memory becomes the result
  /// \param embedding [N, C]
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(Tensor<T> x, const Tensor<T>& embedding, Context* = nullptr) const {
    ops::embedding_add_forward(std::as_const(x).view(), embedding.view(), x.view());
    return x;
  }

  /// \param dy [N, H, W, C]
  Gradients backward(const Tensor<T>& dy, const Context&) {
    Gradients gradients{dy.shared(), Tensor<T>::uninitialized(Shape{dy.extent(0), dy.extent(3)})};
    ops::embedding_add_backward(dy.view(), gradients.dembedding.view());
    return gradients;
  }

  template <class Self, class V>
  static void visit(Self&, V&&, const Name&) {}
};

}  // namespace easy_diffusion::nn
