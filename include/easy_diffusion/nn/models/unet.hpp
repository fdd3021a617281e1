/// \file
/// The small time-dependent U-Net of the score-model programs: the original's `UNet`, `UNet_res`, `UNet_Tranformer`,
/// `UNet_Tranformer_Arch` and `UNet_Tranformer_Arch_Embeding`, by configuration.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/tensor_list.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/blocks/unet_level.hpp"
#include "easy_diffusion/nn/concat.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/fourier_embedding.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/models/unet_config.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/silu.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/scale_samples.hpp"

namespace easy_diffusion::nn {

/// 3x3 convolutions, the first of stride 1 and the others of stride 2, mirrored by transposed ones; every level is told
/// the time. Any picture size that leaves a pixel at the lowest level: unpadded, 17x17 for four levels; padded, any.
///
/// With transformers and a condition, each sample has its own: a sample without one is shown a token of zeros, which
/// adds nothing to the picture and needs no parameter. Leaving the condition out for some samples of a training batch is
/// what classifier-free guidance asks for \cite ho_2022_guidance.
template <class T>
class UNet {
 public:
  using value_type = T;
  using Down = UNetLevel<Conv2d<T>>;
  using Up = UNetLevel<ConvTranspose2d<T>>;

  struct Context {
    bool input_gradient = true;      ///< false: backward returns an empty tensor and saves the work
    bool condition_gradient = true;  ///< false: the same for the condition's sequence
    typename FourierEmbedding<T>::Context fourier;
    typename Linear<T>::Context time;
    typename SiLU<T>::Context time_act;
    typename ConditionEmbedding<T>::Context condition;
    std::vector<typename Down::Context> down;
    std::vector<typename Up::Context> up;
    std::vector<typename Concat<T>::Context> concat;
    typename ConvTranspose2d<T>::Context out;
    typename Conv2d<T>::Context padded_out;
    Tensor<T> scale;  ///< [N], one over the marginal standard deviation
    Shape output;
  };

  /// Parameters start at zero (gains at one); call `initialize` or load them.
  /// \throw ValueError for fewer than two levels or settings out of range
  /// \throw ShapeError for channels that groups or heads do not divide
  explicit UNet(UNetConfig config) : config_(std::move(config)) {
    check_config();
    const auto& channels = config_.channels;
    const std::size_t levels = channels.size();
    const std::int64_t padding = config_.padded ? 1 : 0;
    fourier_ = FourierEmbedding<T>(config_.embed_dim, config_.fourier_scale);
    time_ = Linear<T>(config_.embed_dim, config_.embed_dim);
    condition_ = ConditionEmbedding<T>(config_.condition);
    for (std::size_t i = 0; i < levels; ++i) {
      const std::int64_t in = i == 0 ? config_.picture_channels : channels[i - 1];
      Down level;
      level.stage = {Conv2d<T>(in, channels[i], {.stride = i == 0 ? 1 : 2, .padding = padding, .bias = false}),
                     config_.embed_dim, channels[i], i == 0 ? config_.first_groups : config_.groups};
      if (!config_.pool_sizes.empty()) level.pyramid = pyramid(channels[i]);
      if (i + config_.transformer_levels >= levels)
        level.transformer.emplace(
            TransformerConfig{.channels = channels[i], .context_dim = config_.condition.width, .heads = config_.heads});
      down_.push_back(std::move(level));
    }
    for (std::size_t i = levels - 1; i > 0; --i) {
      const std::int64_t in = i + 1 == levels ? channels[i] : joined(channels[i]);
      Up level;
      level.stage = {ConvTranspose2d<T>(in, channels[i - 1], {.stride = 2, .padding = padding, .bias = false}),
                     config_.embed_dim, channels[i - 1], config_.groups};
      if (!config_.pool_sizes.empty()) level.pyramid = pyramid(channels[i - 1]);
      up_.push_back(std::move(level));
    }
    if (config_.padded)
      padded_out_ = Conv2d<T>(joined(channels[0]), config_.result_channels(), {.padding = 1});
    else
      out_ = ConvTranspose2d<T>(joined(channels[0]), config_.result_channels(), {.stride = 1});
  }

  [[nodiscard]] const UNetConfig& config() const noexcept { return config_; }

  /// \param x         [N, H, W, C] pictures
  /// \param t         [N] times
  /// \param condition class numbers or embedding sequences, as the settings say; empty: no sample has one
  /// \return [N, H, W, C], or as many channels as the settings ask for
  /// \throw ShapeError where shapes do not fit, or the pictures are too small
  /// \throw ValueError for another kind of condition than the settings say, or a class number out of range
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, const Condition<T>& condition,
                    Context* ctx = nullptr) const {
    check(x.shape(), t.shape());
    if (ctx != nullptr) prepare(*ctx, !condition.empty());
    const Tensor<T> embedding = embed(t, ctx);
    const Tensor<T> tokens = condition_.forward(condition, x.extent(0), ctx ? &ctx->condition : nullptr);

    TensorList<T> seen;  // what each level of the way down made
    for (std::size_t i = 0; i < down_.size(); ++i)
      seen.push_back(down_[i].forward(i == 0 ? x : seen.back(), embedding, tokens, ctx ? &ctx->down[i] : nullptr));

    SharedTensor<T> below = seen.back().shared();
    for (std::size_t i = 0; i < up_.size(); ++i) {
      const Tensor<T>& skip = seen[seen.size() - 2 - i];
      Tensor<T> grown = up_[i].forward(*below, embedding, tokens, ctx ? &ctx->up[i] : nullptr,
                                       typename ConvTranspose2d<T>::OutputSize{skip.extent(1), skip.extent(2)});
      below = merge(std::move(grown), skip, ctx ? &ctx->concat[i] : nullptr);
    }
    Tensor<T> h = config_.padded ? padded_out_.forward(*below, ctx ? &ctx->padded_out : nullptr)
                                 : out_.forward(*below, ctx ? &ctx->out : nullptr);

    if (ctx != nullptr) ctx->output = h.shape();
    if (config_.marginal_std) {
      Tensor<T> scale = Tensor<T>::uninitialized(t.shape());
      for (std::int64_t n = 0; n < t.size(); ++n)
        scale[n] = static_cast<T>(1.0 / config_.marginal_std(static_cast<double>(t[n])));
      ops::scale_samples(std::as_const(h).view(), scale, h);
      if (ctx != nullptr) ctx->scale = std::move(scale);
    }
    return h;
  }
  /// The same without a condition.
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, Context* ctx = nullptr) const {
    return forward(x, t, Condition<T>(), ctx);
  }

  /// \param dy                [N, H, W, C]
  /// \param[out] dcondition   where asked for: the gradient of the condition's sequence, [N, L, D]; empty where there is
  ///                          none, or the context leaves it out
  /// \return dx, [N, H, W, C]; the times get no gradient
  /// \throw ShapeError unless dy has the shape of the result
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx, Tensor<T>* dcondition = nullptr) {
    expect_context("UNet", ctx.down.size() == down_.size() && ctx.up.size() == up_.size());
    expect_shape("UNet output gradient", ctx.output, dy.shape());
    SharedTensor<T> scaled = dy.shared();
    if (config_.marginal_std) {
      Tensor<T> divided = Tensor<T>::uninitialized(dy.shape());
      ops::scale_samples(dy.view(), ctx.scale, divided);
      scaled = std::move(divided);
    }
    Tensor<T> dh = config_.padded ? padded_out_.backward(*scaled, ctx.padded_out) : out_.backward(*scaled, ctx.out);

    Tensor<T> dembedding;
    Tensor<T> dtokens;
    const auto through = [&](auto& level, const auto& context) {
      auto gradients = level.backward(std::move(dh), context);
      accumulate(dembedding, std::move(gradients.dembedding));
      accumulate(dtokens, std::move(gradients.dtokens));
      dh = std::move(gradients.dx);
    };
    std::vector<SharedTensor<T>, CachedMemory<SharedTensor<T>>> dskip(down_.size());
    for (std::size_t i = up_.size(); i-- > 0;) {
      auto [straight, skipped] = unmerge(std::move(dh), ctx.concat[i]);
      dskip[up_.size() - 1 - i] = std::move(skipped);
      dh = std::move(straight);
      through(up_[i], ctx.up[i]);
    }
    for (std::size_t i = down_.size(); i-- > 0;) {
      accumulate(dh, std::move(dskip[i]));
      through(down_[i], ctx.down[i]);
    }
    time_.backward(SiLU<T>().backward(dembedding, ctx.time_act), ctx.time);
    Tensor<T> dsequence = condition_.backward(dtokens, ctx.condition);
    if (dcondition != nullptr) *dcondition = std::move(dsequence);
    return dh;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    FourierEmbedding<T>::visit(self.fourier_, v, prefix + "time_embed.0.");
    Linear<T>::visit(self.time_, v, prefix + "time_embed.1.");
    const std::size_t levels = self.down_.size();
    const auto name = [&](const char* what, std::size_t number) {
      return prefix + what + std::to_string(number) + ".";
    };
    for (std::size_t i = 0; i < levels; ++i) Down::visit_pyramid(self.down_[i], v, name("psp", i + 1));
    for (std::size_t i = 0; i + 1 < levels; ++i) Up::visit_pyramid(self.up_[i], v, name("tpsp", levels - i));
    for (std::size_t i = 0; i < levels; ++i)
      Down::visit(self.down_[i], v, name("conv", i + 1), name("dense", i + 1), name("gnorm", i + 1),
                  name("attn", i + 1));
    for (std::size_t i = 0; i + 1 < levels; ++i)
      Up::visit(self.up_[i], v, name("tconv", levels - i), name("dense", levels + 1 + i), name("tgnorm", levels - i),
                name("tattn", levels - i));
    if (self.config_.padded)
      Conv2d<T>::visit(self.padded_out_, v, prefix + "tconv1.");
    else
      ConvTranspose2d<T>::visit(self.out_, v, prefix + "tconv1.");
    ConditionEmbedding<T>::visit(self.condition_, v, prefix + "cond_embed.");
  }

 private:
  [[nodiscard]] std::int64_t joined(std::int64_t channels) const {
    return config_.skip == Skip::concatenate ? 2 * channels : channels;
  }

  [[nodiscard]] PSPModule<T> pyramid(std::int64_t channels) const {
    return PSPModule<T>(channels, config_.pool_ratio * channels, config_.pool_sizes);
  }

  void check_config() const {
    const std::size_t levels = config_.channels.size();
    if (levels < 2) throw ValueError("UNet: expected at least two levels, got " + std::to_string(levels));
    if (config_.transformer_levels > levels)
      throw ValueError("UNet: expected at most " + std::to_string(levels) + " levels with transformers, got " +
                       std::to_string(config_.transformer_levels));
    if (config_.transformer_levels == 0 && config_.condition.kind != ConditionKind::none)
      throw ValueError("UNet: a condition needs at least one level with a transformer that attends to it");
    if (config_.pool_ratio < 1)
      throw ValueError("UNet: expected a pool_ratio of at least 1, got " + std::to_string(config_.pool_ratio));
  }

  void check(const Shape& x, const Shape& t) const {
    expect_rank("UNet", 4, "[N, H, W, C]", x);
    if (x[3] != config_.picture_channels)
      throw ShapeError("UNet: expected pictures of " + std::to_string(config_.picture_channels) + " channels, got " +
                       x.to_string());
    expect_shape("UNet times", Shape{x[0]}, t);
    std::int64_t least = 1;
    if (!config_.padded) {
      for (std::size_t i = 1; i < down_.size(); ++i) least = 2 * least + 1;
      least += 2;
    }
    if (std::min(x[1], x[2]) < least)
      throw ShapeError("UNet: " + std::to_string(down_.size()) + " levels need pictures of at least " +
                       std::to_string(least) + "x" + std::to_string(least) + ", got " + x.to_string());
  }

  void prepare(Context& ctx, bool has_condition) const {
    ctx.down.resize(down_.size());
    ctx.up.resize(up_.size());
    ctx.concat.resize(up_.size());
    ctx.down[0].stage.conv.input_gradient = ctx.input_gradient;
    ctx.time.input_gradient = false;
    ctx.condition.input_gradient = ctx.condition_gradient;
    for (auto& level : ctx.down) level.transformer.context_gradient = has_condition;
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
  std::pair<Tensor<T>, SharedTensor<T>> unmerge(Tensor<T> dh, const typename Concat<T>::Context& ctx) {
    if (config_.skip == Skip::concatenate) {
      auto gradients = Concat<T>().backward(dh, ctx);
      return {std::move(gradients.da), std::move(gradients.db)};
    }
    SharedTensor<T> both = dh.shared();  // what is not its only owner's is not written to
    return {std::move(dh), std::move(both)};
  }

  UNetConfig config_;
  FourierEmbedding<T> fourier_;
  Linear<T> time_;
  ConditionEmbedding<T> condition_;
  std::vector<Down> down_;  ///< conv1, conv2, ...
  std::vector<Up> up_;      ///< from the lowest level up: tconv4, tconv3, ...
  ConvTranspose2d<T> out_;  ///< tconv1 of an unpadded network
  Conv2d<T> padded_out_;    ///< tconv1 of a padded one
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class UNet<float>;
extern template class UNet<double>;
#endif

}  // namespace easy_diffusion::nn
