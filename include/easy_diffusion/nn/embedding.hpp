/// \file
/// Embedding layer: class numbers to vectors.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/embedding.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.Embedding`: one learned vector for each of `count` numbers.
template <class T>
class Embedding {
 public:
  using value_type = T;

  struct Context {
    SharedTensor<std::int64_t> numbers;
  };

  Embedding() = default;
  Embedding(std::int64_t count, std::int64_t width) : weight(Shape{count, width}) {}

  /// \param numbers [...], each from 0 to count - 1 \return [..., width]
  /// \throw ValueError for a number out of range, naming it and the range
  Tensor<T> forward(const Tensor<std::int64_t>& numbers, Context* ctx = nullptr) const {
    Shape shape = numbers.shape();
    shape.push_back(weight.value.extent(1));
    Tensor<T> y = Tensor<T>::uninitialized(shape);
    ops::embedding_forward(numbers.view(), weight.value.view(), y.view());
    Trace::note("embedding", weight.value.data(), numbers.shape(), shape, 0);
    if (ctx != nullptr) ctx->numbers = numbers.shared();
    return y;
  }

  /// \param dy the shape of y; numbers get no gradient
  void backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Embedding", !ctx.numbers.empty());
    if (!weight.frozen()) ops::embedding_backward(ctx.numbers.view(), dy.view(), weight.grad.view());
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::plain, Initial::normal(1)});
  }

  Parameter<T> weight;  ///< [count, width]
};

}  // namespace easy_diffusion::nn
