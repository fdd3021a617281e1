/// \file
/// The autoencoder whose latent pictures are normally distributed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/latent/diagonal_gaussian.hpp"
#include "easy_diffusion/latent/layer_chain.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::latent {

/// What attends in an autoencoder: `AttnBlock`, `LinAttnBlock`, or nothing.
enum class AttentionKind { vanilla, linear, none };

struct AutoEncoderKLConfig {
  std::int64_t picture_channels = 3;              ///< of what is read
  std::int64_t out_channels = 3;                  ///< of what is written
  std::int64_t channels = 128;                    ///< of the first convolution
  std::vector<std::int64_t> factors{1, 2, 4, 4};  ///< one a level: how many times `channels` it has
  std::int64_t blocks = 2;                        ///< residual blocks a level of the encoder, one more in the decoder
  std::int64_t resolution = 256;                  ///< size of the pictures that `attention_resolutions` speaks of
  std::vector<std::int64_t> attention_resolutions{};  ///< sizes of the picture where blocks are followed by attention
  AttentionKind attention = AttentionKind::vanilla;   ///< there, and in the middle
  std::int64_t latent_channels = 4;                   ///< between the coders and their 1x1 convolutions
  std::int64_t embed_dim = 4;                         ///< of the latent pictures themselves
  double dropout = 0;
  std::int64_t groups = 32;        ///< of every GroupNorm
  bool resample_convolved = true;  ///< halving and doubling by convolution, not by means and repeated pixels
  nn::DownsamplePadding halving = nn::DownsamplePadding::around;  ///< of the convolutions that halve; corner: Stable Diffusion's
  bool checkpoint = false;  ///< keep each layer's input alone and compute the rest again in backward: less memory
};

/// A residual encoder, which halves the picture after every level but the last, to the moments of a normal distribution;
/// a decoder that mirrors it \cite kingma_2013_vae \cite rombach_2021_latent. The original's `AutoEncoderKL`.
template <class T>
class AutoEncoderKL {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;         ///< false: backward returns an empty tensor and saves the work
    nn::Mode mode;                      ///< whether dropout is on, and where its noise lives
    std::optional<NoiseAddress> noise;  ///< of the latent picture; none: the most likely one
    typename LayerChain<T>::Context encoder, decoder;
    typename nn::Conv2d<T>::Context quant, post_quant;
    DiagonalGaussian<T> posterior;  ///< set by encode
  };

  /// Parameters start at zero (gains at one); call `initialize` or load them.
  /// \throw ValueError for settings out of range, ShapeError for channels that the groups do not divide
  explicit AutoEncoderKL(AutoEncoderKLConfig config) : config_(std::move(config)) {
    check_config();
    build_encoder();
    build_decoder();
    quant_ = nn::Conv2d<T>(2 * config_.latent_channels, 2 * config_.embed_dim, {.kernel = 1});
    post_quant_ = nn::Conv2d<T>(config_.embed_dim, config_.latent_channels, {.kernel = 1});
  }

  [[nodiscard]] const AutoEncoderKLConfig& config() const noexcept { return config_; }
  /// How many times smaller latent pictures are.
  [[nodiscard]] std::int64_t scale() const noexcept { return std::int64_t{1} << (config_.factors.size() - 1); }

  /// \param x [N, H, W, C], H and W multiples of `scale()`
  /// \return the distribution of [N, H / scale, W / scale, embed_dim]
  /// \throw ShapeError where x does not fit
  DiagonalGaussian<T> encode(const Tensor<T>& x, Context* ctx = nullptr) const {
    check(x.shape());
    if (ctx != nullptr) prepare(*ctx);
    const Tensor<T> h = encoder_.forward(x, ctx ? &ctx->encoder : nullptr);
    const DiagonalGaussian<T> posterior(quant_.forward(h, ctx ? &ctx->quant : nullptr));
    if (ctx != nullptr) ctx->posterior = DiagonalGaussian<T>(posterior.moments());
    return DiagonalGaussian<T>(posterior.moments());
  }

  /// \param z [N, h, w, embed_dim] \return [N, h scale, w scale, out_channels]
  /// \throw ShapeError where z does not fit
  Tensor<T> decode(const Tensor<T>& z, Context* ctx = nullptr) const {
    expect_rank("AutoEncoderKL latent", 4, "[N, h, w, C]", z.shape());
    if (ctx != nullptr) prepare(*ctx);
    return decoder_.forward(post_quant_.forward(z, ctx ? &ctx->post_quant : nullptr), ctx ? &ctx->decoder : nullptr);
  }

  /// Decodes the most likely latent picture or, where the context has noise, a drawn one.
  /// \param x [N, H, W, C] \return [N, H, W, out_channels]
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    const DiagonalGaussian<T> posterior = encode(x, ctx);
    return decode(ctx != nullptr && ctx->noise ? posterior.sample(*ctx->noise) : posterior.mode(), ctx);
  }

  /// \param dy [N, h scale, w scale, out_channels] \return dz, [N, h, w, embed_dim]
  Tensor<T> decode_backward(const Tensor<T>& dy, const Context& ctx) {
    return post_quant_.backward(decoder_.backward(dy, ctx.decoder), ctx.post_quant);
  }

  /// Gradient of `decoder.conv_out.weight` alone, as the adaptive weight of a discriminator asks for; parameters keep theirs.
  /// \param dy [N, h scale, w scale, out_channels] \return [3, 3, channels, out_channels]
  [[nodiscard]] Tensor<T> last_gradient(const Tensor<T>& dy, const Context& ctx) const {
    return decoder_.last_gradient(dy, ctx.decoder);
  }

  /// \param dmoments [N, h, w, 2 embed_dim] \return dx, [N, H, W, C]
  Tensor<T> encode_backward(const Tensor<T>& dmoments, const Context& ctx) {
    return encoder_.backward(quant_.backward(dmoments, ctx.quant), ctx.encoder);
  }

  /// \param dy       [N, H, W, out_channels]
  /// \param dmoments what else acts on the moments (`DiagonalGaussian::kl_backward`); empty for nothing
  /// \return dx, [N, H, W, C]
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx, Tensor<T> dmoments = {}) {
    const Tensor<T> dz = decode_backward(dy, ctx);
    nn::accumulate(dmoments,
                   ctx.noise ? ctx.posterior.sample_backward(dz, *ctx.noise) : ctx.posterior.mode_backward(dz));
    return encode_backward(dmoments, ctx);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    LayerChain<T>::visit(self.encoder_, v, prefix + "encoder.");
    LayerChain<T>::visit(self.decoder_, v, prefix + "decoder.");
    nn::Conv2d<T>::visit(self.quant_, v, prefix + "quant_conv.");
    nn::Conv2d<T>::visit(self.post_quant_, v, prefix + "post_quant_conv.");
  }

 private:
  using Layer = typename LayerChain<T>::Layer;

  void check_config() const {
    const auto reject = [](const std::string& what) { throw ValueError("AutoEncoderKL: " + what); };
    const auto levels = config_.factors.size();
    if (levels < 1 || levels > 20) reject("expected 1 to 20 levels, got " + std::to_string(levels));
    if (config_.blocks < 1) reject("expected at least one block a level, got " + std::to_string(config_.blocks));
    for (const std::int64_t number : {config_.picture_channels, config_.out_channels, config_.channels,
                                      config_.latent_channels, config_.embed_dim, config_.resolution})
      if (number < 1) reject("expected channels and a resolution above 0, got " + std::to_string(number));
    if (config_.halving == nn::DownsamplePadding::corner && !config_.resample_convolved)
      reject("zeros in the corner are of a halving by convolution");
    for (const std::int64_t factor : config_.factors)
      if (factor < 1) reject("expected factors above 0, got " + std::to_string(factor));
  }

  Layer block(std::int64_t in, std::int64_t out) const {
    return nn::ResBlock2<T>({.in = in, .out = out, .dropout = config_.dropout, .groups = config_.groups});
  }
  /// Attention over that many channels, if there is any.
  void add_attention(LayerChain<T>& chain, const std::string& name, std::size_t place, std::int64_t channels) const {
    if (config_.attention == AttentionKind::vanilla)
      chain.add(name, place, nn::AttnBlock<T>(channels, config_.groups));
    else if (config_.attention == AttentionKind::linear)
      chain.add(name, place, nn::LinearAttention<T>(channels, 1, channels));
  }
  void add_middle(LayerChain<T>& chain, std::size_t place, std::int64_t channels) const {
    chain.add("mid.block_1", place, block(channels, channels));
    add_attention(chain, "mid.attn_1", place, channels);
    chain.add("mid.block_2", place, block(channels, channels));
  }
  /// Residual blocks of a level, each followed by attention where the settings say so.
  void add_level(LayerChain<T>& chain, const std::string& name, std::size_t place, std::int64_t blocks, std::int64_t in,
                 std::int64_t out, std::int64_t resolution) const {
    const bool attends =
        std::ranges::find(config_.attention_resolutions, resolution) != config_.attention_resolutions.end();
    for (std::int64_t i = 0; i < blocks; ++i) {
      chain.add(name + ".block." + std::to_string(i), place, block(i == 0 ? in : out, out));
      if (attends) add_attention(chain, name + ".attn." + std::to_string(i), place + 1, out);
    }
  }
  void add_end(LayerChain<T>& chain, std::size_t place, std::int64_t in, std::int64_t out) const {
    chain.add("norm_out", place, nn::GroupNormSiLU<T>(config_.groups, in, 1e-6));
    chain.add("conv_out", place, nn::Conv2d<T>(in, out, {.padding = 1}));
  }

  // Places in the visit: the first convolution 0, level i from 10 (i + 1) on, the middle before or behind the levels.
  static constexpr std::size_t level_places = 10, behind = 1000;

  void build_encoder() {
    const std::size_t levels = config_.factors.size();
    encoder_.add("conv_in", 0, nn::Conv2d<T>(config_.picture_channels, config_.channels, {.padding = 1}));
    std::int64_t channels = config_.channels;
    for (std::size_t level = 0; level < levels; ++level) {
      const std::string name = "down." + std::to_string(level);
      const std::size_t place = level_places * (level + 1);
      const std::int64_t out = config_.channels * config_.factors[level];
      add_level(encoder_, name, place, config_.blocks, channels, out, config_.resolution >> level);
      channels = out;
      if (level + 1 < levels)
        encoder_.add(name + ".downsample", place + 2, nn::Downsample<T>(channels, config_.resample_convolved, config_.halving));
    }
    add_middle(encoder_, behind, channels);
    add_end(encoder_, behind + 1, channels, 2 * config_.latent_channels);
  }

  void build_decoder() {
    const std::size_t levels = config_.factors.size();
    std::int64_t channels = config_.channels * config_.factors.back();
    decoder_.add("conv_in", 0, nn::Conv2d<T>(config_.latent_channels, channels, {.padding = 1}));
    add_middle(decoder_, 1, channels);
    for (std::size_t level = levels; level-- > 0;) {
      const std::string name = "up." + std::to_string(level);
      const std::size_t place = level_places * (level + 1);
      const std::int64_t out = config_.channels * config_.factors[level];
      // As the original counts: halved on the way down, rounded, and doubled from there.
      const std::int64_t resolution = (config_.resolution >> (levels - 1)) << (levels - 1 - level);
      add_level(decoder_, name, place, config_.blocks + 1, channels, out, resolution);
      channels = out;
      if (level > 0) decoder_.add(name + ".upsample", place + 2, nn::Upsample<T>(channels, config_.resample_convolved));
    }
    add_end(decoder_, behind, channels, config_.out_channels);
  }

  void check(const Shape& x) const {
    expect_rank("AutoEncoderKL", 4, "[N, H, W, C]", x);
    if (x[3] != config_.picture_channels)
      throw ShapeError("AutoEncoderKL: expected pictures of " + std::to_string(config_.picture_channels) +
                       " channels, got " + x.to_string());
    if (x[1] < 1 || x[2] < 1 || x[1] % scale() != 0 || x[2] % scale() != 0)
      throw ShapeError("AutoEncoderKL: " + std::to_string(config_.factors.size() - 1) +
                       " halvings need pictures whose height and width are multiples of " + std::to_string(scale()) +
                       ", got " + x.to_string());
  }

  void prepare(Context& ctx) const {
    ctx.encoder.input_gradient = ctx.input_gradient;
    ctx.encoder.checkpoint = ctx.decoder.checkpoint = config_.checkpoint;
    ctx.encoder.mode = ctx.decoder.mode = ctx.mode;
    ctx.decoder.first_dropout = static_cast<std::uint32_t>(encoder_.size());
  }

  AutoEncoderKLConfig config_;
  LayerChain<T> encoder_, decoder_;
  nn::Conv2d<T> quant_, post_quant_;
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class AutoEncoderKL<float>;
extern template class AutoEncoderKL<double>;
#endif

}  // namespace easy_diffusion::latent
