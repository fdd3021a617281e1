/// \file
/// The convolutions of VGG16 in five slices: the features that LPIPS compares.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/pooling.hpp"
#include "easy_diffusion/nn/relu.hpp"

namespace easy_diffusion::latent {

struct Vgg16TrunkConfig {
  std::array<std::int64_t, 5> widths{64, 128, 256, 512, 512};  ///< channels of each slice
};

/// VGG16 \cite simonyan_2014_vgg up to its last activation, cut behind relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3,
/// on pictures from -1 to 1 in red, green and blue that a fixed shift and scale brings to what the published weights
/// were trained on. Nothing in it is trained. Names are those of LPIPS: `scaling_layer.shift`, `net.slice1.0.weight`, ...
template <class T>
class Vgg16Trunk {
 public:
  using value_type = T;
  static constexpr std::size_t slices = 5;
  static constexpr std::int64_t smallest_side = 16;

  struct Context {
    std::vector<typename nn::Conv2d<T>::Context> conv;  ///< in the order of the pass
    std::vector<typename nn::ReLU<T>::Context> act;
    std::array<typename nn::MaxPool2d<T>::Context, slices> pool;  ///< the first is not used
  };

  /// Weights are zero until they are loaded (or drawn by `initialize`).
  /// \throw ValueError for a width below 1
  explicit Vgg16Trunk(const Vgg16TrunkConfig& config = {}) : config_(config) {
    shift_.value = Tensor<T>(Shape{1, picture_channels, 1, 1}, {T(-0.030), T(-0.088), T(-0.188)});
    scale_.value = Tensor<T>(Shape{1, picture_channels, 1, 1}, {T(0.458), T(0.448), T(0.450)});
    std::int64_t in = picture_channels;
    for (std::size_t s = 0; s < slices; ++s) {
      const std::int64_t out = config.widths[s];
      if (out < 1) throw ValueError("Vgg16Trunk: expected widths above 0, got " + std::to_string(out));
      for (std::size_t i = 0; i < convolutions[s]; ++i) {
        conv_.emplace_back(in, out, nn::Conv2dConfig{.padding = 1});
        conv_.back().weight.freeze();
        conv_.back().bias.freeze();
        in = out;
      }
    }
  }

  [[nodiscard]] const Vgg16TrunkConfig& config() const noexcept { return config_; }
  /// Channels of each slice's features.
  [[nodiscard]] std::vector<std::int64_t> widths() const { return {config_.widths.begin(), config_.widths.end()}; }

  /// \param x [N, H, W, 3], from -1 to 1, sides at least 16
  /// \return what each slice ends with: [N, H, W, widths[0]], [N, H / 2, W / 2, widths[1]], ..., halves rounded down
  /// \throw ShapeError for another number of channels and for smaller pictures
  std::vector<Tensor<T>> features(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("Vgg16Trunk", 4, "[N, H, W, 3]", x.shape());
    if (x.extent(3) != picture_channels || x.extent(1) < smallest_side || x.extent(2) < smallest_side)
      throw ShapeError("Vgg16Trunk: expected pictures of 3 channels and sides of at least 16, got " +
                       x.shape().to_string());
    if (ctx != nullptr) {
      ctx->conv.resize(conv_.size());
      ctx->act.resize(conv_.size());
    }
    Tensor<T> h = Tensor<T>::uninitialized(x.shape());
    for (std::int64_t i = 0; i < x.size(); ++i)
      h[i] = (x[i] - shift_.value[i % picture_channels]) / scale_.value[i % picture_channels];
    std::vector<Tensor<T>> result;
    std::size_t layer = 0;
    for (std::size_t s = 0; s < slices; ++s) {
      if (s > 0) h = pool().forward(result.back(), ctx ? &ctx->pool[s] : nullptr);
      for (std::size_t i = 0; i < convolutions[s]; ++i, ++layer) {
        h = conv_[layer].forward(h, ctx ? &ctx->conv[layer] : nullptr);
        h = nn::ReLU<T>().forward(h, ctx ? &ctx->act[layer] : nullptr);
      }
      result.push_back(std::move(h));
    }
    return result;
  }

  /// \param dfeatures of each slice \return dx, [N, H, W, 3]
  /// \throw ShapeError for another number of slices
  Tensor<T> backward(const std::vector<Tensor<T>>& dfeatures, const Context& ctx) {
    if (dfeatures.size() != slices || ctx.conv.size() != conv_.size())
      throw ShapeError("Vgg16Trunk: backward needs the context of a forward pass and gradients of 5 slices, got " +
                       std::to_string(dfeatures.size()));
    std::size_t layer = conv_.size();
    Tensor<T> dh;
    for (std::size_t s = slices; s-- > 0;) {
      if (s + 1 == slices)
        dh = dfeatures[s];
      else
        for (std::int64_t i = 0; i < dh.size(); ++i) dh[i] += dfeatures[s][i];
      for (std::size_t i = convolutions[s]; i-- > 0;) {
        --layer;
        dh = conv_[layer].backward(nn::ReLU<T>().backward(dh, ctx.act[layer]), ctx.conv[layer]);
      }
      if (s > 0) dh = pool().backward(dh, ctx.pool[s]);
    }
    for (std::int64_t i = 0; i < dh.size(); ++i) dh[i] /= scale_.value[i % picture_channels];
    return dh;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    const auto frozen = [&](const nn::Name& name, auto& parameter, nn::Entry entry) {
      entry.kind = nn::Kind::frozen;
      v(name, parameter, entry);
    };
    frozen(prefix + "scaling_layer.shift", self.shift_, {.initial = nn::Initial::constant(0)});
    frozen(prefix + "scaling_layer.scale", self.scale_, {.initial = nn::Initial::constant(1)});
    std::size_t layer = 0;
    std::size_t index = 0;  // torchvision's: a convolution, its activation, and a pooling between slices
    for (std::size_t s = 0; s < slices; ++s) {
      if (s > 0) ++index;
      for (std::size_t i = 0; i < convolutions[s]; ++i, ++layer, index += 2)
        nn::Conv2d<T>::visit(self.conv_[layer], frozen,
                             prefix + "net.slice" + std::to_string(s + 1) + "." + std::to_string(index) + ".");
    }
  }

 private:
  static constexpr std::int64_t picture_channels = 3;
  static constexpr std::array<std::size_t, slices> convolutions{2, 2, 3, 3, 3};

  static nn::MaxPool2d<T> pool() { return nn::MaxPool2d<T>({.kernel = 2}); }

  Vgg16TrunkConfig config_;
  nn::Parameter<T> shift_, scale_;  ///< [1, 3, 1, 1]
  std::vector<nn::Conv2d<T>> conv_;
};

}  // namespace easy_diffusion::latent
