/// \file
/// The discriminator that judges a picture patch by patch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/batch_norm2d.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/leaky_relu.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::latent {

struct PatchDiscriminatorConfig {
  std::int64_t picture_channels = 3;
  std::int64_t channels = 64;  ///< of the first convolution; they double from layer to layer, up to eight times
  std::int64_t layers = 3;     ///< convolutions that halve
};

/// PatchGAN \cite isola_2016_pix2pix: 4x4 convolutions, BatchNorm and LeakyReLU, and a logit for every patch. Three
/// layers see patches of 70 x 70 pixels. Names are those of `taming-transformers`: `main.0.weight`, ...
///
/// In training a batch is normalised by its own statistics; running ones take them in by `commit`, which a pass that
/// only asks for the gradient of its pictures leaves out.
template <class T>
class PatchDiscriminator {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    nn::Mode mode;               ///< in training BatchNorm goes by the batch's own statistics, see `commit`
    std::vector<typename nn::Conv2d<T>::Context> conv;
    std::vector<typename nn::BatchNorm2d<T>::Context> norm;
    std::vector<typename nn::LeakyReLU<T>::Context> act;
  };

  /// \throw ValueError for settings out of range
  explicit PatchDiscriminator(const PatchDiscriminatorConfig& config = {}) : config_(config) {
    if (config.picture_channels < 1 || config.channels < 1 || config.layers < 1 || config.layers > 16)
      throw ValueError("PatchDiscriminator: expected channels above 0 and 1 to 16 layers, got " +
                       std::to_string(config.picture_channels) + " and " + std::to_string(config.channels) +
                       " channels and " + std::to_string(config.layers) + " layers");
    std::int64_t in = config.channels;
    conv_.emplace_back(config.picture_channels, in, nn::Conv2dConfig{.kernel = 4, .stride = 2, .padding = 1});
    for (std::int64_t n = 1; n <= config.layers; ++n) {
      const std::int64_t out = config.channels * std::min<std::int64_t>(std::int64_t{1} << n, 8);
      const std::int64_t stride = n < config.layers ? 2 : 1;
      conv_.emplace_back(in, out, nn::Conv2dConfig{.kernel = 4, .stride = stride, .padding = 1, .bias = false});
      norm_.emplace_back(out);
      in = out;
    }
    conv_.emplace_back(in, 1, nn::Conv2dConfig{.kernel = 4, .padding = 1});
  }

  [[nodiscard]] const PatchDiscriminatorConfig& config() const noexcept { return config_; }

  /// \param x [N, H, W, C] \return logits, [N, h, w, 1]: 30 x 30 for 256 x 256 pixels
  /// \throw ShapeError where x does not fit or is so small that no patch is left
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    if (ctx != nullptr) prepare(*ctx);
    Tensor<T> h = conv_[0].forward(x, ctx ? &ctx->conv[0] : nullptr);
    for (std::size_t i = 0; i < norm_.size(); ++i) {
      h = act().forward(h, ctx ? &ctx->act[i] : nullptr);
      h = conv_[i + 1].forward(h, ctx ? &ctx->conv[i + 1] : nullptr);
      h = norm_[i].forward(h, ctx ? &ctx->norm[i] : nullptr);
    }
    h = act().forward(h, ctx ? &ctx->act.back() : nullptr);
    return conv_.back().forward(h, ctx ? &ctx->conv.back() : nullptr);
  }

  /// \param dy [N, h, w, 1] \return dx, [N, H, W, C]
  /// \throw ShapeError for a context without a forward pass
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    if (ctx.conv.size() != conv_.size())
      throw ShapeError("PatchDiscriminator: backward needs the context of a forward pass");
    Tensor<T> dh = conv_.back().backward(dy, ctx.conv.back());
    for (std::size_t i = norm_.size(); i-- > 0;) {
      dh = norm_[i].backward(act().backward(dh, ctx.act[i + 1]), ctx.norm[i]);
      dh = conv_[i + 1].backward(dh, ctx.conv[i + 1]);
    }
    return conv_[0].backward(act().backward(dh, ctx.act[0]), ctx.conv[0]);
  }

  /// Takes a training pass's statistics into the running ones.
  void commit(const Context& ctx) {
    for (std::size_t i = 0; i < ctx.norm.size(); ++i) norm_[i].commit(ctx.norm[i]);
  }

  /// Initial values are pix2pix's: weights of convolutions N(0, 0.02), gains N(1, 0.02), the rest PyTorch's.
  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    const auto drawn = [&](const nn::Name& name, auto& parameter, nn::Entry entry) {
      if (entry.layout == nn::Layout::convolution) entry.initial = nn::Initial::normal(0.02);
      v(name, parameter, entry);
    };
    const auto gains = [&](const nn::Name& name, auto& parameter, nn::Entry entry) {
      if (std::string_view(name).ends_with(".weight")) entry.initial = nn::Initial::normal(0.02, 1);
      v(name, parameter, entry);
    };
    const auto at = [&](std::size_t index) { return prefix + "main." + std::to_string(index) + "."; };
    nn::Conv2d<T>::visit(self.conv_[0], drawn, at(0));
    for (std::size_t i = 0; i < self.norm_.size(); ++i) {
      nn::Conv2d<T>::visit(self.conv_[i + 1], drawn, at(3 * i + 2));
      nn::BatchNorm2d<T>::visit(self.norm_[i], gains, at(3 * i + 3));
    }
    nn::Conv2d<T>::visit(self.conv_.back(), drawn, at(3 * self.norm_.size() + 2));
  }

 private:
  static nn::LeakyReLU<T> act() { return nn::LeakyReLU<T>(0.2); }

  void prepare(Context& ctx) const {
    ctx.conv.resize(conv_.size());
    ctx.norm.resize(norm_.size());
    ctx.act.resize(norm_.size() + 1);
    ctx.conv[0].input_gradient = ctx.input_gradient;
    for (auto& norm : ctx.norm) norm.mode = ctx.mode;
  }

  PatchDiscriminatorConfig config_;
  std::vector<nn::Conv2d<T>> conv_;
  std::vector<nn::BatchNorm2d<T>> norm_;  ///< behind every convolution but the first and the last
};

}  // namespace easy_diffusion::latent
