/// \file
/// Batch normalisation layer.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/ops/batch_norm.hpp"

namespace easy_diffusion::nn {

/// `torch.nn.BatchNorm2d` over channels-last pictures. In training, channels are normalised by the batch's own mean and
/// (biased) variance, and the running statistics take in the batch's mean and unbiased variance once `commit` is called:
/// forward stays const. In evaluation the running statistics normalise.
template <class T>
class BatchNorm2d {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    Mode mode;
    SharedTensor<T> x;
    Tensor<T> mean, rstd;
    Tensor<T> unbiased_variance;  ///< [C] in training, waits for `commit`; empty otherwise
  };

  BatchNorm2d() = default;
  explicit BatchNorm2d(std::int64_t channels, double epsilon = 1e-5, double momentum = 0.1)
      : weight(Shape{channels}),
        bias(Shape{channels}),
        running_mean(buffer(Shape{channels}, 0)),
        running_var(buffer(Shape{channels}, 1)),
        num_batches_tracked(buffer(Shape{}, 0)),
        epsilon_(epsilon),
        momentum_(momentum) {
    weight.value.fill(T(1));
  }

  /// \param x [N, H, W, C] or [N, ..., C] \return the same shape
  /// \throw ShapeError where x does not fit, or in training has a single value a channel
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    const bool training = ctx != nullptr && ctx->mode.training;
    const Shape channels = weight.value.shape();
    Tensor<T> mean, variance;
    if (training) {
      const std::int64_t count = channels.numel() > 0 ? x.size() / channels.numel() : 0;
      if (count < 2)
        throw ShapeError("BatchNorm2d: training needs more than one value a channel, got " + x.shape().to_string());
      mean = Tensor<T>::uninitialized(channels);
      variance = Tensor<T>::uninitialized(channels);
      ops::batch_norm_statistics(x.view(), mean.view(), variance.view());
    }
    const TensorView<const T> of_mean = (training ? std::as_const(mean) : running_mean.value).view();
    const TensorView<const T> of_variance = (training ? std::as_const(variance) : running_var.value).view();
    Tensor<T> rstd = Tensor<T>::uninitialized(channels);
    for (std::int64_t c = 0; c < rstd.size(); ++c)
      rstd[c] = T(1) / std::sqrt(of_variance[c] + static_cast<T>(epsilon_));
    Tensor<T> y = Tensor<T>::uninitialized(x.shape());
    ops::batch_norm_forward(x.view(), weight.value.view(), bias.value.view(), of_mean, std::as_const(rstd).view(),
                            y.view());
    Trace::note("BatchNorm", weight.value.data(), x.shape(), y.shape(), 0);
    if (ctx != nullptr) {
      ctx->x = x.shared();
      ctx->mean = training ? std::move(mean) : running_mean.value;  // a copy: `commit` changes the original
      ctx->rstd = std::move(rstd);
      ctx->unbiased_variance = Tensor<T>();
      if (training) {
        const double count = static_cast<double>(x.size() / channels.numel());
        for (T& v : variance) v *= static_cast<T>(count / (count - 1));
        ctx->unbiased_variance = std::move(variance);
      }
    }
    return y;
  }

  /// \param dy the shape of y \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("BatchNorm2d", !ctx.x.empty());
    Tensor<T> dx;
    if (ctx.input_gradient) dx = Tensor<T>::uninitialized(ctx.x.shape());
    const auto statistics =
        ctx.unbiased_variance.empty() ? ops::BatchStatistics::fixed : ops::BatchStatistics::of_batch;
    ops::batch_norm_backward(ctx.x.view(), weight.value.view(), ctx.mean.view(), ctx.rstd.view(), dy.view(), statistics,
                             dx.view(), weight.grad.view(), bias.grad.view());
    return dx;
  }

  /// Takes a training pass's statistics into the running ones, with weight `momentum`; nothing after an evaluation.
  void commit(const Context& ctx) {
    if (ctx.unbiased_variance.empty()) return;
    const T take = static_cast<T>(momentum_);
    for (std::int64_t c = 0; c < ctx.mean.size(); ++c) {
      running_mean.value[c] += take * (ctx.mean[c] - running_mean.value[c]);
      running_var.value[c] += take * (ctx.unbiased_variance[c] - running_var.value[c]);
    }
    num_batches_tracked.value[0] += T(1);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    v(prefix + "weight", self.weight, Entry{Kind::parameter, Layout::plain, Initial::constant(1)});
    v(prefix + "bias", self.bias, Entry{Kind::parameter, Layout::plain, Initial::constant(0)});
    v(prefix + "running_mean", self.running_mean, Entry{Kind::buffer, Layout::plain, Initial::constant(0)});
    v(prefix + "running_var", self.running_var, Entry{Kind::buffer, Layout::plain, Initial::constant(1)});
    v(prefix + "num_batches_tracked", self.num_batches_tracked,
      Entry{Kind::buffer, Layout::plain, Initial::constant(0)});
  }

  Parameter<T> weight;               ///< [C], gamma
  Parameter<T> bias;                 ///< [C], beta
  Parameter<T> running_mean;         ///< [C], without a gradient
  Parameter<T> running_var;          ///< [C], without a gradient
  Parameter<T> num_batches_tracked;  ///< one whole number, shape []; PyTorch's files hold it as I64

 private:
  static Parameter<T> buffer(const Shape& shape, T value) {
    Parameter<T> result;
    result.value = Tensor<T>(shape, value);
    return result;
  }

  double epsilon_ = 1e-5;
  double momentum_ = 0.1;
};

}  // namespace easy_diffusion::nn
