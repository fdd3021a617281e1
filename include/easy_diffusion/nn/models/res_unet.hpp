/// \file
/// The large U-Net of residual blocks and spatial transformers; the original's four classes are settings of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/tensor_list.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/blocks/time_map.hpp"
#include "easy_diffusion/nn/blocks/timed_sequence.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/models/res_unet_config.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/ops/scale_samples.hpp"

namespace easy_diffusion::nn {

/// A 3x3 convolution; on each level down residual blocks, spatial transformers and a halving; a block, a transformer and
/// a block in the middle; the way up mirrors the way down, and each of its steps takes in what the way down saw there;
/// GroupNorm, SiLU and a 3x3 convolution at the end.
template <class T>
class ResUNet {
 public:
  using value_type = T;
  using Step = TimedSequence<T>;

  struct Context {
    bool input_gradient = true;      ///< false: backward returns an empty tensor and saves the work
    bool condition_gradient = true;  ///< false: the same for the condition's sequence
    Mode mode;                       ///< whether dropout is on, and where its noise lives
    typename TimeMap<T>::Context time;
    typename ConditionEmbedding<T>::Context condition;
    std::vector<typename Step::Context> steps;  ///< down, middle, up
    typename GroupNormSiLU<T>::Context norm;
    typename Conv2d<T>::Context out;
    Tensor<T> scale;  ///< [N], one over the marginal standard deviation
    Shape output;
  };

  /// Parameters start at zero (gains at one); call `initialize` or load them.
  /// \throw ValueError for settings out of range, ShapeError for channels that groups or heads do not divide
  explicit ResUNet(ResUNetConfig config) : config_(std::move(config)) {
    check_config();
    time_ = TimeMap<T>(config_.time, config_.embed_dim, config_.fourier_scale);
    condition_ = ConditionEmbedding<T>(config_.condition);
    build_down_and_middle();
    build_up();
    norm_ = GroupNormSiLU<T>(config_.groups, config_.channels[0]);
    out_ = Conv2d<T>(config_.model_channels, config_.result_channels(), {.padding = 1, .bias = false});
  }

  [[nodiscard]] const ResUNetConfig& config() const noexcept { return config_; }

  /// \param x         [N, H, W, C] pictures, H and W multiples of two to the number of halvings
  /// \param t         [N] times
  /// \param condition class numbers or embedding sequences, as the settings say; empty: no sample has one
  /// \return [N, H, W, C], or as many channels as the settings ask for
  /// \throw ShapeError where something does not fit, ValueError for another kind of condition or a class out of range
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, const Condition<T>& condition,
                    Context* ctx = nullptr) const {
    check(x.shape(), t.shape());
    if (ctx != nullptr) prepare(*ctx);
    typename Step::Signals signals;
    signals.embedding = time_.forward(t, ctx ? &ctx->time : nullptr);
    signals.condition = condition_.forward(condition, x.extent(0), ctx ? &ctx->condition : nullptr);

    std::size_t step = 0;
    const auto next = [&] { return ctx ? &ctx->steps[step++] : nullptr; };
    TensorList<T> seen;  // what each step of the way down made
    seen.reserve(down_.size());
    for (const Step& down : down_)
      seen.push_back(down.forward(seen.empty() ? x : seen.back(), Tensor<T>(), signals, next()));
    Tensor<T> h = middle_.forward(seen.back(), Tensor<T>(), signals, next());
    for (const Step& up : up_) {
      h = up.forward(h, seen.back(), signals, next());
      seen.pop_back();
    }
    h = out_.forward(norm_.forward(h, ctx ? &ctx->norm : nullptr), ctx ? &ctx->out : nullptr);

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

  /// \param dy              [N, H, W, C]
  /// \param[out] dcondition where asked for: the gradient of the condition's sequence, [N, L, D]; empty where there is
  ///                        none, or the context leaves it out
  /// \return dx, [N, H, W, C]; the times get no gradient
  /// \throw ShapeError unless dy has the shape of the result
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx, Tensor<T>* dcondition = nullptr) {
    expect_context("ResUNet", ctx.steps.size() == down_.size() + 1 + up_.size());
    expect_shape("ResUNet output gradient", ctx.output, dy.shape());
    SharedTensor<T> scaled = dy.shared();
    if (config_.marginal_std) {
      Tensor<T> divided = Tensor<T>::uninitialized(dy.shape());
      ops::scale_samples(dy.view(), ctx.scale, divided);
      scaled = std::move(divided);
    }
    Tensor<T> dh = norm_.backward(out_.backward(*scaled, ctx.out), ctx.norm);

    typename Step::Signals signals;
    std::size_t step = ctx.steps.size();
    const auto back = [&](Step& through) {
      auto gradients = through.backward(dh, ctx.steps[--step]);
      dh = std::move(gradients.dx);
      accumulate(signals.embedding, std::move(gradients.signals.embedding));
      accumulate(signals.condition, std::move(gradients.signals.condition));
      return std::move(gradients.dskip);
    };
    TensorList<T> dskip(down_.size());
    const std::size_t unused = down_.size() - up_.size();  // the first step's result, where the last level is halved
    for (std::size_t i = up_.size(); i-- > 0;) dskip[unused + up_.size() - 1 - i] = back(up_[i]);
    back(middle_);
    for (std::size_t i = down_.size(); i-- > 0;) {
      accumulate(dh, std::move(dskip[i]));
      back(down_[i]);
    }
    time_.backward(signals.embedding, ctx.time);
    Tensor<T> dsequence = condition_.backward(signals.condition, ctx.condition);
    if (dcondition != nullptr) *dcondition = std::move(dsequence);
    return dh;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    TimeMap<T>::visit(self.time_, v, prefix);
    const auto visit_list = [&](auto& steps, const char* name) {
      for (std::size_t i = 0; i < steps.size(); ++i)
        Step::visit(steps[i], v, prefix + name + "." + std::to_string(i) + ".");
    };
    visit_list(self.down_, "first_block");
    Step::visit(self.middle_, v, prefix + "middle_block.");
    visit_list(self.up_, self.config_.halve_last ? "last_block" : "output_blocks");
    GroupNormSiLU<T>::visit(self.norm_, v, prefix + "out.0.");
    Conv2d<T>::visit(self.out_, v, prefix + "out.2.");
    ConditionEmbedding<T>::visit(self.condition_, v, prefix + "cond_embed.");
  }

 private:
  using Layers = std::vector<typename Step::Layer>;

  void check_config() const {
    const auto reject = [](const std::string& what) { throw ValueError("ResUNet: " + what); };
    if (config_.channels.empty()) reject("expected at least one level, got none");
    if (config_.blocks < 1) reject("expected at least one block a level, got " + std::to_string(config_.blocks));
    if (config_.channels[0] != config_.model_channels)
      reject("expected as many channels on the first level as model_channels, " +
             std::to_string(config_.model_channels) + ", got " + std::to_string(config_.channels[0]));
    if (config_.channels.size() > 20)
      reject("expected at most 20 levels, got " + std::to_string(config_.channels.size()));
  }

  /// A residual block.
  typename Step::Layer block(std::int64_t in, std::int64_t out, Resample resample = Resample::none) const {
    if (config_.block == BlockKind::two_convolutions && resample == Resample::none)
      return ResBlock2<T>(
          {.in = in, .out = out, .embed_dim = config_.embed_dim, .dropout = config_.dropout, .groups = config_.groups});
    return ResBlock<T>({.in = in,
                        .out = out,
                        .embed_dim = config_.embed_dim,
                        .dropout = config_.dropout,
                        .resample = resample,
                        .groups = config_.groups});
  }
  typename Step::Layer transformer(std::int64_t channels) const {
    const std::int64_t context = config_.condition.kind == ConditionKind::none ? 0 : config_.condition.width;
    return SpatialTransformer<T>({.channels = channels, .context_dim = context, .heads = config_.heads});
  }
  typename Step::Layer halve(std::int64_t channels) const {
    if (config_.resample_blocks) return block(channels, channels, Resample::down);
    return Downsample<T>(channels, config_.resample_convolved);
  }
  typename Step::Layer grow(std::int64_t channels) const {
    if (config_.resample_blocks) return block(channels, channels, Resample::up);
    return Upsample<T>(channels, config_.resample_convolved);
  }

  void build_down_and_middle() {
    const auto add = [&](Layers layers, std::int64_t channels) {
      down_.push_back(Step(std::move(layers)));
      seen_channels_.push_back(channels);
    };
    std::int64_t channels = config_.model_channels;
    add({Conv2d<T>(config_.picture_channels, channels, {.padding = 1})}, channels);
    for (std::size_t level = 0; level < config_.channels.size(); ++level) {
      for (std::int64_t i = 0; i < config_.blocks; ++i) {
        Layers layers{block(channels, config_.channels[level])};
        channels = config_.channels[level];
        if (config_.attends(level)) layers.push_back(transformer(channels));
        add(std::move(layers), channels);
      }
      if (level < config_.halvings()) add({halve(channels)}, channels);
    }
    middle_ = Step({block(channels, channels), transformer(channels), block(channels, channels)});
  }

  void build_up() {
    std::int64_t channels = config_.channels.back();
    std::size_t skip = seen_channels_.size();
    for (std::size_t level = config_.channels.size(); level-- > 0;)
      for (std::int64_t i = 0; i <= config_.blocks; ++i) {
        Layers layers{block(channels + seen_channels_[--skip], config_.channels[level])};
        channels = config_.channels[level];
        if (config_.attends(level)) layers.push_back(transformer(channels));
        if (config_.halve_last ? i == 0 : level > 0 && i == config_.blocks) layers.push_back(grow(channels));
        up_.push_back(Step(std::move(layers)));
      }
  }

  void check(const Shape& x, const Shape& t) const {
    expect_rank("ResUNet", 4, "[N, H, W, C]", x);
    if (x[3] != config_.picture_channels)
      throw ShapeError("ResUNet: expected pictures of " + std::to_string(config_.picture_channels) + " channels, got " +
                       x.to_string());
    expect_shape("ResUNet times", Shape{x[0]}, t);
    const std::int64_t multiple = std::int64_t{1} << config_.halvings();
    if (x[1] < 1 || x[2] < 1 || x[1] % multiple != 0 || x[2] % multiple != 0)
      throw ShapeError("ResUNet: " + std::to_string(config_.halvings()) +
                       " halvings need pictures whose height and width are multiples of " + std::to_string(multiple) +
                       ", got " + x.to_string());
  }

  void prepare(Context& ctx) const {
    ctx.steps.resize(down_.size() + 1 + up_.size());
    for (std::size_t i = 0; i < ctx.steps.size(); ++i) {
      ctx.steps[i].checkpoint = config_.checkpoint;
      ctx.steps[i].mode = ctx.mode;
      ctx.steps[i].number = static_cast<std::uint32_t>(i);
    }
    ctx.steps[0].input_gradient = ctx.input_gradient;
    ctx.condition.input_gradient = ctx.condition_gradient;
  }

  ResUNetConfig config_;
  TimeMap<T> time_;
  ConditionEmbedding<T> condition_;
  std::vector<Step> down_;                   ///< first_block
  std::vector<std::int64_t> seen_channels_;  ///< of each step's result on the way down
  Step middle_;
  std::vector<Step> up_;  ///< last_block or output_blocks
  GroupNormSiLU<T> norm_;
  Conv2d<T> out_;
};

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class ResUNet<float>;
extern template class ResUNet<double>;
#endif

}  // namespace easy_diffusion::nn
