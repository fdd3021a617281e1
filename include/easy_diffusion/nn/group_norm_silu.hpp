/// \file
/// Group normalisation and SiLU as one layer, with or without a time embedding that is added first.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/group_norm_silu.hpp"

namespace easy_diffusion::nn {

/// silu(group_norm(x)) or silu(group_norm(x + embedding)): `torch.nn.GroupNorm` followed by `torch.nn.SiLU`, with
/// GroupNorm's parameters. For backward it keeps x alone. A tensor that is handed over (an rvalue) and has no other owner
/// gives its memory to the result.
template <class T>
class GroupNormSiLU {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty dx and saves the work
    SharedTensor<T> x;
    Tensor<T> mean, rstd;
  };

  /// Of a forward that was given an embedding.
  struct EmbeddedContext : Context {
    SharedTensor<T> embedding;
  };

  struct Gradients {
    Tensor<T> dx;          ///< the shape of x
    Tensor<T> dembedding;  ///< [N, C]
  };

  GroupNormSiLU() = default;
  /// \throw ShapeError unless `groups` divides `channels`
  GroupNormSiLU(std::int64_t groups, std::int64_t channels, double epsilon = 1e-5)
      : groups_(groups), epsilon_(epsilon) {
    GroupNorm<T> norm(groups, channels, epsilon);
    weight = std::move(norm.weight);
    bias = std::move(norm.bias);
  }

  /// \param x [N, H, W, C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const { return run(x.shared(), {}, ctx); }
  Tensor<T> forward(Tensor<T>&& x, Context* ctx = nullptr) const { return run(std::move(x), {}, ctx); }

  /// \param x         [N, H, W, C]
  /// \param embedding [N, C], added to each pixel
  /// \throw ShapeError where x and embedding do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, EmbeddedContext* ctx = nullptr) const {
    return run_embedded(x.shared(), embedding, ctx);
  }
  Tensor<T> forward(Tensor<T>&& x, const Tensor<T>& embedding, EmbeddedContext* ctx = nullptr) const {
    return run_embedded(std::move(x), embedding, ctx);
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) { return run_back(dy.shared(), {}, ctx).dx; }
  Tensor<T> backward(Tensor<T>&& dy, const Context& ctx) { return run_back(std::move(dy), {}, ctx).dx; }
  Gradients backward(const Tensor<T>& dy, const EmbeddedContext& ctx) {
    return run_back(dy.shared(), ctx.embedding.view(), ctx);
  }
  Gradients backward(Tensor<T>&& dy, const EmbeddedContext& ctx) {
    return run_back(std::move(dy), ctx.embedding.view(), ctx);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    GroupNorm<T>::visit(self, v, prefix);
  }

  Parameter<T> weight;  ///< [C], gamma
  Parameter<T> bias;    ///< [C], beta

 private:
  /// Backward needs x; without it, the result lies where x was, if nobody else has it.
  Tensor<T> run(SharedTensor<T> x, TensorView<const T> embedding, Context* ctx) const {
    const TensorView<const T> given = x.view();
    Tensor<T> y = ctx == nullptr && x.is_only_owner() ? std::move(x).owned() : Tensor<T>::uninitialized(given.shape());
    Tensor<T> mean = Tensor<T>::uninitialized(Shape{given.extent(0), groups_});
    Tensor<T> rstd = Tensor<T>::uninitialized(mean.shape());
    ops::group_norm_silu_forward(given, embedding, weight.value.view(), bias.value.view(), groups_,
                                 static_cast<T>(epsilon_), y.view(), mean.view(), rstd.view());
    Trace::note("GroupNorm, SiLU", weight.value.data(), given.shape(), y.shape(), 0);
    if (ctx != nullptr) {
      ctx->x = std::move(x);
      ctx->mean = std::move(mean);
      ctx->rstd = std::move(rstd);
    }
    return y;
  }

  Tensor<T> run_embedded(SharedTensor<T> x, const Tensor<T>& embedding, EmbeddedContext* ctx) const {
    Tensor<T> y = run(std::move(x), embedding.view(), ctx);
    if (ctx != nullptr) ctx->embedding = embedding.shared();
    return y;
  }

  Gradients run_back(SharedTensor<T> dy, TensorView<const T> embedding, const Context& ctx) {
    expect_context("GroupNormSiLU", !ctx.x.empty());
    const TensorView<const T> given = dy.view();
    Gradients gradients;
    if (ctx.input_gradient)
      gradients.dx = dy.is_only_owner() ? std::move(dy).owned() : Tensor<T>::uninitialized(ctx.x.shape());
    if (embedding) gradients.dembedding = Tensor<T>::uninitialized(embedding.shape());
    ops::group_norm_silu_backward(ctx.x.view(), embedding, weight.value.view(), bias.value.view(), ctx.mean.view(),
                                  ctx.rstd.view(), given, groups_, gradients.dx.view(), gradients.dembedding.view(),
                                  weight.grad.view(), bias.grad.view());
    return gradients;
  }

  std::int64_t groups_ = 1;
  double epsilon_ = 1e-5;
};

}  // namespace easy_diffusion::nn
