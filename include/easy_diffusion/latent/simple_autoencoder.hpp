/// \file
/// The small autoencoder.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/batch_norm2d.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/sigmoid.hpp"
#include "easy_diffusion/nn/silu.hpp"

namespace easy_diffusion::latent {

struct SimpleAutoEncoderConfig {
  std::int64_t picture_channels = 1;
  std::array<std::int64_t, 3> channels{4, 8, 32};
};

/// Three unpadded 3x3 convolutions of strides 1, 2 and 1, mirrored by transposed ones, with BatchNorm and SiLU between
/// and a sigmoid at the end: pixels from 0 to 1. The original's `SimpleAutoEncoder`.
template <class T>
class SimpleAutoEncoder {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    nn::Mode mode;               ///< in training BatchNorm goes by the batch's own statistics, see `commit`
    std::array<typename nn::Conv2d<T>::Context, 3> conv;
    std::array<typename nn::ConvTranspose2d<T>::Context, 3> transposed;
    std::array<typename nn::BatchNorm2d<T>::Context, 5> norm;  ///< three of the encoder, two of the decoder
    std::array<typename nn::SiLU<T>::Context, 4> act;          ///< two of each
    typename nn::Sigmoid<T>::Context sigmoid;
  };

  explicit SimpleAutoEncoder(const SimpleAutoEncoderConfig& config = {}) : config_(config) {
    const auto& c = config.channels;
    conv_ = {nn::Conv2d<T>(config.picture_channels, c[0]), nn::Conv2d<T>(c[0], c[1], {.stride = 2}),
             nn::Conv2d<T>(c[1], c[2])};
    transposed_ = {nn::ConvTranspose2d<T>(c[2], c[1]),
                   nn::ConvTranspose2d<T>(c[1], c[0], {.stride = 2, .output_padding = 1}),
                   nn::ConvTranspose2d<T>(c[0], config.picture_channels)};
    const std::array<std::int64_t, 5> normed{c[0], c[1], c[2], c[1], c[0]};
    for (std::size_t i = 0; i < 5; ++i) norm_[i] = nn::BatchNorm2d<T>(normed[i]);
  }

  [[nodiscard]] const SimpleAutoEncoderConfig& config() const noexcept { return config_; }

  /// \param x [N, H, W, C], H and W even and at least 10 \return [N, H / 2 - 4, W / 2 - 4, channels[2]]
  /// \throw ShapeError for pictures of another size, which the decoder would not give back
  Tensor<T> encode(const Tensor<T>& x, Context* ctx = nullptr) const {
    check(x.shape());
    if (ctx != nullptr) prepare(*ctx);
    SharedTensor<T> h = x.shared();
    for (std::size_t i = 0; i < 3; ++i) {
      h = norm_[i].forward(conv_[i].forward(*h, ctx ? &ctx->conv[i] : nullptr), ctx ? &ctx->norm[i] : nullptr);
      if (i < 2) h = nn::SiLU<T>().forward(*h, ctx ? &ctx->act[i] : nullptr);
    }
    return std::move(h).owned();
  }

  /// \param z [N, h, w, channels[2]] \return [N, 2 h + 8, 2 w + 8, C], from 0 to 1
  /// \throw ShapeError where z does not fit
  Tensor<T> decode(const Tensor<T>& z, Context* ctx = nullptr) const {
    if (ctx != nullptr) prepare(*ctx);
    SharedTensor<T> h = z.shared();
    for (std::size_t i = 0; i < 3; ++i) {
      h = transposed_[i].forward(*h, ctx ? &ctx->transposed[i] : nullptr);
      if (i == 2) break;
      h = norm_[3 + i].forward(*h, ctx ? &ctx->norm[3 + i] : nullptr);
      h = nn::SiLU<T>().forward(*h, ctx ? &ctx->act[2 + i] : nullptr);
    }
    return nn::Sigmoid<T>().forward(*h, ctx ? &ctx->sigmoid : nullptr);
  }

  /// \param x [N, H, W, C] \return the same shape, from 0 to 1
  /// \throw ShapeError for pictures of another size
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const { return decode(encode(x, ctx), ctx); }

  /// \param dy [N, H, W, C] \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    Tensor<T> dh = nn::Sigmoid<T>().backward(dy, ctx.sigmoid);
    for (std::size_t i = 3; i-- > 0;) {
      if (i < 2) dh = norm_[3 + i].backward(nn::SiLU<T>().backward(dh, ctx.act[2 + i]), ctx.norm[3 + i]);
      dh = transposed_[i].backward(dh, ctx.transposed[i]);
    }
    for (std::size_t i = 3; i-- > 0;) {
      if (i < 2) dh = nn::SiLU<T>().backward(dh, ctx.act[i]);
      dh = conv_[i].backward(norm_[i].backward(dh, ctx.norm[i]), ctx.conv[i]);
    }
    return dh;
  }

  /// Gradient of the last weight (`decoder.6.weight`) alone, as the adaptive weight of a discriminator asks for; parameters keep
  /// theirs. \param dy [N, H, W, C] \return the shape of the weight
  [[nodiscard]] Tensor<T> last_gradient(const Tensor<T>& dy, const Context& ctx) const {
    nn::ConvTranspose2d<T> probe = transposed_[2];
    probe.weight.unfreeze();
    probe.weight.grad.fill(0);
    probe.bias.freeze();
    static_cast<void>(probe.backward(nn::Sigmoid<T>().backward(dy, ctx.sigmoid), ctx.transposed[2]));
    return std::move(probe.weight.grad);
  }

  /// Takes a training pass's statistics into the running ones.
  void commit(const Context& ctx) {
    for (std::size_t i = 0; i < 5; ++i) norm_[i].commit(ctx.norm[i]);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    const auto name = [&](const char* part, std::size_t i) { return prefix + part + std::to_string(i) + "."; };
    for (std::size_t i = 0; i < 3; ++i) {
      nn::Conv2d<T>::visit(self.conv_[i], v, name("encoder.", 3 * i));
      nn::BatchNorm2d<T>::visit(self.norm_[i], v, name("encoder.", 3 * i + 1));
    }
    for (std::size_t i = 0; i < 3; ++i) {
      nn::ConvTranspose2d<T>::visit(self.transposed_[i], v, name("decoder.", 3 * i));
      if (i < 2) nn::BatchNorm2d<T>::visit(self.norm_[3 + i], v, name("decoder.", 3 * i + 1));
    }
  }

 private:
  void check(const Shape& x) const {
    expect_rank("SimpleAutoEncoder", 4, "[N, H, W, C]", x);
    if (x[3] != config_.picture_channels)
      throw ShapeError("SimpleAutoEncoder: expected pictures of " + std::to_string(config_.picture_channels) +
                       " channels, got " + x.to_string());
    if (std::min(x[1], x[2]) < 10 || x[1] % 2 != 0 || x[2] % 2 != 0)
      throw ShapeError("SimpleAutoEncoder: expected an even height and width of at least 10, got " + x.to_string());
  }

  void prepare(Context& ctx) const {
    ctx.conv[0].input_gradient = ctx.input_gradient;
    for (auto& norm : ctx.norm) norm.mode = ctx.mode;
  }

  SimpleAutoEncoderConfig config_;
  std::array<nn::Conv2d<T>, 3> conv_;
  std::array<nn::ConvTranspose2d<T>, 3> transposed_;
  std::array<nn::BatchNorm2d<T>, 5> norm_;
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class SimpleAutoEncoder<float>;
extern template class SimpleAutoEncoder<double>;
#endif

}  // namespace easy_diffusion::latent
