/// \file
/// A small convolutional classifier: the judge of generated pictures.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/silu.hpp"

namespace easy_diffusion::nn {

struct ClassifierConfig {
  std::int64_t height = 28;
  std::int64_t width = 28;
  std::int64_t picture_channels = 1;
  std::int64_t classes = 10;
  std::array<std::int64_t, 3> channels{32, 64, 128};
  std::int64_t groups = 8;
};

/// Three padded 3x3 convolutions (strides 1, 2, 2), each with GroupNorm and SiLU, and a linear layer on what is left.
template <class T>
class Classifier {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    std::array<typename Conv2d<T>::Context, 3> conv;
    std::array<typename GroupNorm<T>::Context, 3> norm;
    std::array<typename SiLU<T>::Context, 3> act;
    typename Linear<T>::Context linear;
    Shape last;
  };

  /// \throw ShapeError for channels that the groups do not divide
  explicit Classifier(const ClassifierConfig& config) : config_(config) {
    std::int64_t in = config.picture_channels;
    for (std::size_t i = 0; i < 3; ++i) {
      conv_[i] = Conv2d<T>(in, config.channels[i], {.stride = i == 0 ? 1 : 2, .padding = 1});
      norm_[i] = GroupNorm<T>(config.groups, config.channels[i]);
      in = config.channels[i];
    }
    const auto halved_twice = [](std::int64_t n) { return ((n + 1) / 2 + 1) / 2; };
    linear_ = Linear<T>(halved_twice(config.height) * halved_twice(config.width) * in, config.classes);
  }

  [[nodiscard]] const ClassifierConfig& config() const noexcept { return config_; }

  /// \param x [N, H, W, C] \return logits, [N, classes]
  /// \throw ShapeError for pictures of another size
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    Tensor<T> h = features(x, ctx);
    if (ctx != nullptr) ctx->last = h.shape();
    h = std::move(h).reshaped(Shape{h.extent(0), h.extent(1) * h.extent(2) * h.extent(3)});
    return linear_.forward(h, ctx ? &ctx->linear : nullptr);
  }

  /// What the linear layer sees. \param x [N, H, W, C] \return [N, ceil(H / 4), ceil(W / 4), channels[2]]
  /// \throw ShapeError for pictures of another size
  Tensor<T> features(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("Classifier", 4, "[N, H, W, C]", x.shape());
    expect_shape("Classifier", Shape{x.extent(0), config_.height, config_.width, config_.picture_channels}, x.shape());
    if (ctx != nullptr) ctx->conv[0].input_gradient = ctx->input_gradient;
    SharedTensor<T> h = x.shared();
    for (std::size_t i = 0; i < 3; ++i) {
      h = conv_[i].forward(*h, ctx ? &ctx->conv[i] : nullptr);
      h = norm_[i].forward(*h, ctx ? &ctx->norm[i] : nullptr);
      h = SiLU<T>().forward(*h, ctx ? &ctx->act[i] : nullptr);
    }
    return std::move(h).owned();
  }

  /// \param dy [N, classes] \return dx, [N, H, W, C]
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("Classifier", ctx.last.rank() == 4);
    Tensor<T> dh = linear_.backward(dy, ctx.linear).reshaped(ctx.last);
    for (std::size_t i = 3; i-- > 0;) {
      dh = norm_[i].backward(SiLU<T>().backward(dh, ctx.act[i]), ctx.norm[i]);
      dh = conv_[i].backward(dh, ctx.conv[i]);
    }
    return dh;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    for (std::size_t i = 0; i < 3; ++i) {
      Conv2d<T>::visit(self.conv_[i], v, prefix + "conv" + std::to_string(i + 1) + ".");
      GroupNorm<T>::visit(self.norm_[i], v, prefix + "norm" + std::to_string(i + 1) + ".");
    }
    Linear<T>::visit(self.linear_, v, prefix + "linear.");
  }

 private:
  ClassifierConfig config_;
  std::array<Conv2d<T>, 3> conv_;
  std::array<GroupNorm<T>, 3> norm_;
  Linear<T> linear_;
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class Classifier<float>;
#endif

}  // namespace easy_diffusion::nn
