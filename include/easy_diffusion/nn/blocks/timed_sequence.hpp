/// \file
/// Layers one after another, each told what it listens to: the time, the condition, or neither.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/blocks/res_block.hpp"
#include "easy_diffusion/nn/blocks/res_block2.hpp"
#include "easy_diffusion/nn/blocks/spatial_transformer.hpp"
#include "easy_diffusion/nn/concat.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/layer_variant.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/upsample.hpp"

namespace easy_diffusion::nn {

/// The original's `TimestepEmbedSequential`, one step of a large U-Net. A step of the way up first joins its input to
/// what the way down saw. As a checkpoint its context keeps the inputs alone, and backward computes the rest again.
template <class T>
class TimedSequence {
 public:
  using value_type = T;
  using Kinds = LayerVariant<Conv2d<T>, ResBlock<T>, ResBlock2<T>, SpatialTransformer<T>, Downsample<T>, Upsample<T>>;
  using Layer = typename Kinds::Layer;

  /// What every step is told.
  struct Signals {
    Tensor<T> embedding;  ///< [N, E], the time embedding after its SiLU
    Tensor<T> condition;  ///< [N, L, D], empty where there is none
  };

  struct Context {
    bool input_gradient = true;  ///< false: backward of a first convolution leaves dx empty and saves the work
    bool checkpoint = false;
    Mode mode;
    std::uint32_t number = 0;  ///< of this step in its model, so that no two draw the same dropout
    std::vector<typename Kinds::Context, CachedMemory<typename Kinds::Context>> layers;
    typename Concat<T>::Context concat;
    SharedTensor<T> x, skip, embedding, condition;  ///< kept by a checkpoint
  };

  struct Gradients {
    Tensor<T> dx;
    Tensor<T> dskip;  ///< empty where there was no skip
    Signals signals;  ///< empty where no layer listens
  };

  TimedSequence() = default;
  explicit TimedSequence(std::vector<Layer> layers) : layers_(std::move(layers)) {}

  /// \param x    [N, H, W, C]
  /// \param skip [N, H, W, C_skip], joined behind x's channels; empty for none
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& skip, const Signals& signals, Context* ctx = nullptr) const {
    Tensor<T> y = run(x, skip, signals.embedding, signals.condition, ctx);
    if (ctx != nullptr && ctx->checkpoint) {
      for (auto& kept : ctx->layers) Kinds::clear(kept);
      ctx->x = x.shared();
      ctx->skip = skip.shared();
      ctx->embedding = signals.embedding.shared();
      ctx->condition = signals.condition.shared();
    }
    return y;
  }

  /// \param dy the shape of the result
  Gradients backward(const Tensor<T>& dy, const Context& ctx) {
    if (!ctx.checkpoint) return run_backward(dy, ctx);
    Context again;
    again.input_gradient = ctx.input_gradient;
    again.mode = ctx.mode;
    again.number = ctx.number;
    static_cast<void>(run(*ctx.x, *ctx.skip, *ctx.embedding, *ctx.condition, &again));
    return run_backward(dy, again);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    for (std::size_t i = 0; i < self.layers_.size(); ++i)
      std::visit(
          [&](auto& layer) { std::remove_cvref_t<decltype(layer)>::visit(layer, v, prefix + std::to_string(i) + "."); },
          self.layers_[i]);
  }

 private:
  /// Number of the dropout of layer i: no two of a model share theirs. The first eight of a step stand in the low 16 bits,
  /// whatever follows them further up. \throw ValueError where they have no room
  static std::uint32_t dropout_number(std::uint32_t step, std::size_t i) {
    constexpr std::uint32_t row = 8, most_steps = 8192, most_rows = 256;
    const auto layer = static_cast<std::uint32_t>(i);
    if (step >= most_steps || layer / row >= most_rows)
      throw ValueError("TimedSequence: expected fewer than 8192 steps of fewer than 2048 layers, got step " +
                       std::to_string(step) + ", layer " + std::to_string(i));
    return step * row + layer % row + (layer / row) * (row * most_steps);
  }

  template <class L>
  static constexpr bool hears_time = std::is_same_v<L, ResBlock<T>> || std::is_same_v<L, ResBlock2<T>>;
  template <class L>
  static constexpr bool hears_condition = std::is_same_v<L, SpatialTransformer<T>>;

  Tensor<T> run(const Tensor<T>& x, const Tensor<T>& skip, const Tensor<T>& embedding, const Tensor<T>& condition,
                Context* ctx) const {
    if (ctx != nullptr) {
      ctx->layers.resize(layers_.size());
      ctx->concat = {};  // of a pass before, which may have had a skip
    }
    SharedTensor<T> h = skip.empty() ? x.shared() : Concat<T>().forward(x, skip, ctx ? &ctx->concat : nullptr);
    for (std::size_t i = 0; i < layers_.size(); ++i)
      h = std::visit(
          [&]<class L>(const L& layer) {
            auto* kept = Kinds::template context_of<L>(ctx ? &ctx->layers[i] : nullptr);
            if (ctx != nullptr) {
              if constexpr (std::is_same_v<L, Conv2d<T>>) kept->input_gradient = ctx->input_gradient;
              if constexpr (hears_time<L>) {
                kept->dropout.mode = ctx->mode;
                kept->dropout.layer = dropout_number(ctx->number, i);
              }
            }
            if constexpr (hears_time<L>)
              return layer.forward(*h, embedding, kept);
            else if constexpr (hears_condition<L>)
              return layer.forward(*h, condition, kept);
            else
              return layer.forward(*h, kept);
          },
          layers_[i]);
    return std::move(h).owned();
  }

  Gradients run_backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("TimedSequence", ctx.layers.size() == layers_.size());
    Gradients gradients;
    SharedTensor<T> dh = dy.shared();
    for (std::size_t i = layers_.size(); i-- > 0;)
      std::visit(
          [&]<class L>(L& layer) {
            const auto& kept = Kinds::template kept_of<L>("TimedSequence", ctx.layers[i]);
            if constexpr (hears_time<L>) {
              auto from = layer.backward(*dh, kept);
              dh = std::move(from.dx);
              accumulate(gradients.signals.embedding, std::move(from.dembedding));
            } else if constexpr (hears_condition<L>) {
              auto from = layer.backward(*dh, kept);
              dh = std::move(from.dx);
              accumulate(gradients.signals.condition, std::move(from.dcontext));
            } else {
              dh = layer.backward(*dh, kept);
            }
          },
          layers_[i]);
    if (ctx.concat.a.rank() == 0) {
      gradients.dx = std::move(dh).owned();
    } else {
      auto parts = Concat<T>().backward(*dh, ctx.concat);
      gradients.dx = std::move(parts.da);
      gradients.dskip = std::move(parts.db);
    }
    return gradients;
  }

  std::vector<Layer> layers_;
};

}  // namespace easy_diffusion::nn
