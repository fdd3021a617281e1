/// \file
/// The small time-dependent U-Net of the score-model programs: the original's `UNet` and `UNet_res`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/blocks/conv_stage.hpp"
#include "easy_diffusion/nn/concat.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/fourier_embedding.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/silu.hpp"
#include "easy_diffusion/ops/add.hpp"

namespace easy_diffusion::nn {

/// How the way up takes in what the way down saw.
enum class Skip { concatenate, add };

struct UNetConfig {
  std::vector<std::int64_t> channels{32, 64, 128, 256};  ///< one a level, at least two levels
  std::int64_t embed_dim = 256;                          ///< width of the time embedding, even
  std::int64_t picture_channels = 1;
  Skip skip = Skip::concatenate;
  std::int64_t first_groups = 4;  ///< groups of the first level's GroupNorm
  std::int64_t groups = 32;       ///< groups of all the others
  double fourier_scale = 30;      ///< standard deviation of the embedding's frequencies

  /// The output is divided by this function of the time (the noise's standard deviation, so that the network's own
  /// output stays near unit size). Empty: not divided.
  std::function<double(double)> marginal_std{};

  /// The original's class `UNet`. \param marginal_std as above
  static UNetConfig unet(std::function<double(double)> marginal_std = {}) {
    UNetConfig config;
    config.marginal_std = std::move(marginal_std);
    return config;
  }
  /// The original's class `UNet_res`: skips are added. \param marginal_std as above
  static UNetConfig unet_res(std::function<double(double)> marginal_std = {}) {
    UNetConfig config = unet(std::move(marginal_std));
    config.skip = Skip::add;
    return config;
  }
};

/// Unpadded 3x3 convolutions, the first of stride 1 and the others of stride 2, mirrored by transposed ones; every
/// stage is told the time. Any picture size that leaves a pixel at the lowest level (17x17 for four levels).
template <class T>
class UNet {
 public:
  using value_type = T;
  using Down = ConvStage<Conv2d<T>>;
  using Up = ConvStage<ConvTranspose2d<T>>;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    typename FourierEmbedding<T>::Context fourier;
    typename Linear<T>::Context time;
    typename SiLU<T>::Context time_act;
    std::vector<typename Down::Context> down;
    std::vector<typename Up::Context> up;
    std::vector<typename Concat<T>::Context> concat;
    typename ConvTranspose2d<T>::Context out;
    Tensor<T> scale;  ///< [N], one over the marginal standard deviation
    Shape output;
  };

  /// Parameters start at zero (GroupNorm's gains at one); call `initialize` or load them.
  /// \throw ValueError for fewer than two levels, ShapeError for channels that the groups do not divide
  explicit UNet(UNetConfig config) : config_(std::move(config)) {
    const auto& channels = config_.channels;
    const std::size_t levels = channels.size();
    if (levels < 2) throw ValueError("UNet: expected at least two levels, got " + std::to_string(levels));
    fourier_ = FourierEmbedding<T>(config_.embed_dim, config_.fourier_scale);
    time_ = Linear<T>(config_.embed_dim, config_.embed_dim);
    for (std::size_t i = 0; i < levels; ++i) {
      const std::int64_t in = i == 0 ? config_.picture_channels : channels[i - 1];
      down_.push_back(Down(Conv2d<T>(in, channels[i], {.stride = i == 0 ? 1 : 2, .bias = false}), config_.embed_dim,
                           channels[i], i == 0 ? config_.first_groups : config_.groups));
    }
    for (std::size_t i = levels - 1; i > 0; --i)
      up_.push_back(Up(ConvTranspose2d<T>(i + 1 == levels ? channels[i] : joined(channels[i]), channels[i - 1],
                                          {.stride = 2, .bias = false}),
                       config_.embed_dim, channels[i - 1], config_.groups));
    out_ = ConvTranspose2d<T>(joined(channels[0]), config_.picture_channels, {.stride = 1});
  }

  [[nodiscard]] const UNetConfig& config() const noexcept { return config_; }

  /// \param x [N, H, W, C] pictures
  /// \param t [N] times
  /// \return [N, H, W, C]
  /// \throw ShapeError where x and t do not fit, or the pictures are too small
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, Context* ctx = nullptr) const {
    check(x.shape(), t.shape());
    if (ctx != nullptr) prepare(*ctx);
    const Tensor<T> embedding = embed(t, ctx);

    std::vector<Tensor<T>> seen;  // what each level of the way down made
    for (std::size_t i = 0; i < down_.size(); ++i)
      seen.push_back(down_[i].forward(i == 0 ? x : seen.back(), embedding, ctx ? &ctx->down[i] : nullptr));

    Tensor<T> h = seen.back().shared();
    for (std::size_t i = 0; i < up_.size(); ++i) {
      const Tensor<T>& skip = seen[seen.size() - 2 - i];
      h = up_[i].forward(h, embedding, ctx ? &ctx->up[i] : nullptr,
                         typename ConvTranspose2d<T>::OutputSize{skip.extent(1), skip.extent(2)});
      h = merge(std::move(h), skip, ctx ? &ctx->concat[i] : nullptr);
    }
    h = out_.forward(h, ctx ? &ctx->out : nullptr);

    if (ctx != nullptr) ctx->output = h.shape();
    if (config_.marginal_std) {
      Tensor<T> scale = Tensor<T>::uninitialized(t.shape());
      for (std::int64_t n = 0; n < t.size(); ++n)
        scale[n] = static_cast<T>(1.0 / config_.marginal_std(static_cast<double>(t[n])));
      scale_samples(h, scale);
      if (ctx != nullptr) ctx->scale = std::move(scale);
    }
    return h;
  }

  /// \param dy [N, H, W, C] \return dx, [N, H, W, C]; the times get no gradient
  /// \throw ShapeError unless dy has the shape of the result
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_shape("UNet output gradient", ctx.output, dy.shape());
    Tensor<T> scaled = dy;
    if (config_.marginal_std) scale_samples(scaled, ctx.scale);
    Tensor<T> dh = out_.backward(scaled, ctx.out);

    Tensor<T> dembedding;
    std::vector<Tensor<T>> dskip(down_.size());
    for (std::size_t i = up_.size(); i-- > 0;) {
      auto [through, skipped] = unmerge(std::move(dh), ctx.concat[i]);
      dskip[up_.size() - 1 - i] = std::move(skipped);
      auto gradients = up_[i].backward(std::move(through), ctx.up[i]);
      accumulate(dembedding, std::move(gradients.dembedding));
      dh = std::move(gradients.dx);
    }
    for (std::size_t i = down_.size(); i-- > 0;) {
      if (!dskip[i].empty()) accumulate(dh, std::move(dskip[i]));
      auto gradients = down_[i].backward(std::move(dh), ctx.down[i]);
      accumulate(dembedding, std::move(gradients.dembedding));
      dh = std::move(gradients.dx);
    }
    time_.backward(SiLU<T>().backward(dembedding, ctx.time_act), ctx.time);
    return dh;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    FourierEmbedding<T>::visit(self.fourier_, v, prefix + "time_embed.0.");
    Linear<T>::visit(self.time_, v, prefix + "time_embed.1.");
    const std::size_t levels = self.down_.size();
    for (std::size_t i = 0; i < levels; ++i) {
      const std::string number = std::to_string(i + 1);
      visit_stage(self.down_[i], v, prefix, "conv" + number, "dense" + number, "gnorm" + number);
    }
    for (std::size_t i = 0; i < self.up_.size(); ++i) {
      const std::string number = std::to_string(levels - i);
      visit_stage(self.up_[i], v, prefix, "tconv" + number, "dense" + std::to_string(levels + 1 + i),
                  "tgnorm" + number);
    }
    ConvTranspose2d<T>::visit(self.out_, v, prefix + "tconv1.");
  }

 private:
  [[nodiscard]] std::int64_t joined(std::int64_t channels) const {
    return config_.skip == Skip::concatenate ? 2 * channels : channels;
  }

  void check(const Shape& x, const Shape& t) const {
    expect_rank("UNet", 4, "[N, H, W, C]", x);
    if (x[3] != config_.picture_channels)
      throw ShapeError("UNet: expected pictures of " + std::to_string(config_.picture_channels) + " channels, got " +
                       x.to_string());
    expect_shape("UNet times", Shape{x[0]}, t);
    std::int64_t least = 1;
    for (std::size_t i = 1; i < down_.size(); ++i) least = 2 * least + 1;
    least += 2;
    if (std::min(x[1], x[2]) < least)
      throw ShapeError("UNet: " + std::to_string(down_.size()) + " levels need pictures of at least " +
                       std::to_string(least) + "x" + std::to_string(least) + ", got " + x.to_string());
  }

  void prepare(Context& ctx) const {
    ctx.down.resize(down_.size());
    ctx.up.resize(up_.size());
    ctx.concat.resize(up_.size());
    ctx.down[0].conv.input_gradient = ctx.input_gradient;
    ctx.time.input_gradient = false;
  }

  Tensor<T> embed(const Tensor<T>& t, Context* ctx) const {
    const Tensor<T> h = time_.forward(fourier_.forward(t, ctx ? &ctx->fourier : nullptr), ctx ? &ctx->time : nullptr);
    return SiLU<T>().forward(h, ctx ? &ctx->time_act : nullptr);
  }

  Tensor<T> merge(Tensor<T> h, const Tensor<T>& skip, typename Concat<T>::Context* ctx) const {
    if (config_.skip == Skip::concatenate) return Concat<T>().forward(h, skip, ctx);
    ops::add_to(h.view(), skip.view());
    return h;
  }

  /// Gradients of h and of the skip.
  std::pair<Tensor<T>, Tensor<T>> unmerge(Tensor<T> dh, const typename Concat<T>::Context& ctx) {
    if (config_.skip == Skip::concatenate) {
      auto gradients = Concat<T>().backward(dh, ctx);
      return {std::move(gradients.da), std::move(gradients.db)};
    }
    Tensor<T> both = dh.shared();  // neither is written before both are read
    return {std::move(dh), std::move(both)};
  }

  static void accumulate(Tensor<T>& sum, Tensor<T> term) {
    if (sum.empty()) {
      sum = std::move(term);
      return;
    }
    ops::add_to(sum.view(), std::as_const(term).view());
  }

  static void scale_samples(Tensor<T>& x, const Tensor<T>& scale) {
    const std::int64_t elements = x.extent(1) * x.extent(2) * x.extent(3);
    for (std::int64_t n = 0; n < x.extent(0); ++n)
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i) x[i] *= scale[n];
  }

  template <class Stage, class V>
  static void visit_stage(Stage& stage, V& v, const std::string& prefix, const std::string& conv,
                          const std::string& dense, const std::string& norm) {
    std::remove_reference_t<decltype(stage.conv)>::visit(stage.conv, v, prefix + conv + ".");
    Linear<T>::visit(stage.dense, v, prefix + dense + ".dense.");
    GroupNormSiLU<T>::visit(stage.norm, v, prefix + norm + ".");
  }

  UNetConfig config_;
  FourierEmbedding<T> fourier_;
  Linear<T> time_;
  std::vector<Down> down_;  ///< conv1, conv2, ...
  std::vector<Up> up_;      ///< from the lowest level up: tconv4, tconv3, ...
  ConvTranspose2d<T> out_;  ///< tconv1
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class UNet<float>;
extern template class UNet<double>;
#endif

}  // namespace easy_diffusion::nn
