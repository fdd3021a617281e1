/// \file
/// Named layers one after another: the encoder and the decoder of an autoencoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/blocks/attn_block.hpp"
#include "easy_diffusion/nn/blocks/linear_attention.hpp"
#include "easy_diffusion/nn/blocks/res_block2.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/layer_variant.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/upsample.hpp"

namespace easy_diffusion::latent {

/// A checkpointed chain keeps each layer's input alone, and backward computes the layer again.
template <class T>
class LayerChain {
 public:
  using value_type = T;
  using Kinds = nn::LayerVariant<nn::Conv2d<T>, nn::ResBlock2<T>, nn::AttnBlock<T>, nn::LinearAttention<T>,
                                 nn::Downsample<T>, nn::Upsample<T>, nn::GroupNormSiLU<T>>;
  using Layer = typename Kinds::Layer;

  struct Context {
    bool input_gradient = true;  ///< false: backward of a first convolution returns an empty tensor and saves the work
    bool checkpoint = false;
    nn::Mode mode;
    std::uint32_t first_dropout = 0;  ///< number of the first layer's dropout, see `nn::Dropout`
    std::vector<typename Kinds::Context> layers;
    std::vector<SharedTensor<T>> inputs;  ///< of each layer, for checkpoints
  };

  /// Adds a layer to the end. Layers are visited in the order of `place`.
  void add(std::string name, std::size_t place, Layer layer) {
    order_.insert(order_.begin() + static_cast<std::ptrdiff_t>(rank(place)), items_.size());
    items_.push_back({std::move(name), place, std::move(layer)});
  }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

  /// \param x [N, H, W, C] \return [N, OH, OW, C_out]
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    if (ctx != nullptr) {
      ctx->layers.resize(items_.size());
      ctx->inputs.resize(items_.size());
    }
    SharedTensor<T> h = x.shared();
    for (std::size_t i = 0; i < items_.size(); ++i) {
      Tensor<T> y = run(i, *h, ctx, ctx ? &ctx->layers[i] : nullptr);
      if (ctx != nullptr && ctx->checkpoint) {
        Kinds::clear(ctx->layers[i]);
        ctx->inputs[i] = h;
      }
      h = std::move(y);
    }
    return std::move(h).owned();
  }

  /// \param dy the shape of the result \return dx, the shape of x
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    nn::expect_context("LayerChain", ctx.layers.size() == items_.size() && ctx.inputs.size() == items_.size());
    SharedTensor<T> dh = dy.shared();
    for (std::size_t i = items_.size(); i-- > 0;) {
      typename Kinds::Context again;
      if (ctx.checkpoint) static_cast<void>(run(i, *ctx.inputs[i], &ctx, &again));
      dh = std::visit(
          [&]<class L>(L& layer) {
            const auto& kept = Kinds::template kept_of<L>("LayerChain", ctx.checkpoint ? again : ctx.layers[i]);
            if constexpr (std::is_same_v<L, nn::ResBlock2<T>>)
              return layer.backward(*dh, kept).dx;
            else
              return layer.backward(*dh, kept);
          },
          items_[i].layer);
    }
    return std::move(dh).owned();
  }

  /// Gradient of the last layer's weight alone, where that is a convolution; nothing is added to anything.
  /// \param dy the shape of the result \return the shape of the weight
  /// \throw ValueError for another layer, and for a context of no forward pass
  [[nodiscard]] Tensor<T> last_gradient(const Tensor<T>& dy, const Context& ctx) const {
    nn::expect_context("LayerChain", ctx.layers.size() == items_.size() && ctx.inputs.size() == items_.size());
    const auto* last = items_.empty() ? nullptr : std::get_if<nn::Conv2d<T>>(&items_.back().layer);
    if (last == nullptr) throw ValueError("LayerChain: expected a convolution at its end");
    typename Kinds::Context again;
    if (ctx.checkpoint) static_cast<void>(run(items_.size() - 1, *ctx.inputs.back(), &ctx, &again));
    auto kept = Kinds::template kept_of<nn::Conv2d<T>>("LayerChain", ctx.checkpoint ? again : ctx.layers.back());
    kept.input_gradient = false;
    nn::Conv2d<T> probe = *last;
    probe.weight.unfreeze();
    probe.weight.grad.fill(0);
    probe.bias.freeze();
    static_cast<void>(probe.backward(dy, kept));
    return std::move(probe.weight.grad);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    for (const std::size_t i : self.order_)
      std::visit(
          [&](auto& layer) {
            std::remove_cvref_t<decltype(layer)>::visit(layer, v, prefix + self.items_[i].name + ".");
          },
          self.items_[i].layer);
  }

 private:
  struct Item {
    std::string name;
    std::size_t place;
    Layer layer;
  };

  [[nodiscard]] std::size_t rank(std::size_t place) const {
    std::size_t before = 0;
    while (before < order_.size() && items_[order_[before]].place <= place) ++before;
    return before;
  }

  Tensor<T> run(std::size_t i, const Tensor<T>& x, const Context* ctx, typename Kinds::Context* kept) const {
    return std::visit(
        [&]<class L>(const L& layer) {
          auto* context = Kinds::template context_of<L>(kept);
          if (context != nullptr) {
            if constexpr (std::is_same_v<L, nn::Conv2d<T>>) context->input_gradient = i > 0 || ctx->input_gradient;
            if constexpr (std::is_same_v<L, nn::ResBlock2<T>>) {
              context->dropout.mode = ctx->mode;
              context->dropout.layer = ctx->first_dropout + static_cast<std::uint32_t>(i);
            }
          }
          return layer.forward(x, context);
        },
        items_[i].layer);
  }

  std::vector<Item> items_;         // in the order of the pass
  std::vector<std::size_t> order_;  // of the visit
};

}  // namespace easy_diffusion::latent
