/// \file
/// A distance of pictures by what a trained network sees in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/latent/vgg16_trunk.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/ops/unit_feature_distance.hpp"

namespace easy_diffusion::latent {

/// The sum over a trunk's stages of the mean over pixels of weighted squared differences of features of length one
/// \cite zhang_2018_lpips. Nothing in it is trained: the gradient goes to the pictures alone.
/// \tparam Trunk `trunk.widths()`: channels of each stage; `trunk.features(x, ctx)`: a vector of feature pictures;
///               `trunk.backward(dfeatures, ctx)`: dx. `Vgg16Trunk` makes LPIPS of it.
template <class Trunk>
class PerceptualDistance {
 public:
  using value_type = typename Trunk::value_type;
  using T = value_type;

  struct Context {
    typename Trunk::Context trunk;
    std::vector<SharedTensor<T>> x, target;  ///< features
  };

  enum class Weights { linear, ones };

  /// \param weights linear: the lin layers of LPIPS, zero until they are loaded; ones: every channel counts the same
  explicit PerceptualDistance(Trunk trunk, Weights weights = Weights::linear) : trunk_(std::move(trunk)) {
    if (weights == Weights::ones) return;
    for (const std::int64_t width : trunk_.widths()) {
      nn::Parameter<T> lin;
      lin.value = Tensor<T>(Shape{1, 1, width, 1});
      lin_.push_back(std::move(lin));
    }
  }

  [[nodiscard]] const Trunk& trunk() const noexcept { return trunk_; }

  /// Only x gets a gradient: the target's features are computed without a context.
  /// \param x,target [N, H, W, C], as the trunk wants them
  /// \param stages   where given, receives each stage's share, [N] each
  /// \return [N]
  /// \throw ShapeError where pictures differ in shape or do not fit the trunk
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& target, Context* ctx = nullptr,
                    std::vector<Tensor<T>>* stages = nullptr) const {
    expect_shape("PerceptualDistance", x.shape(), target.shape());
    std::vector<Tensor<T>> wanted = trunk_.features(target);
    std::vector<Tensor<T>> seen = trunk_.features(x, ctx ? &ctx->trunk : nullptr);
    Tensor<T> distance(Shape{x.extent(0)});
    if (stages != nullptr) stages->clear();
    for (std::size_t s = 0; s < seen.size(); ++s) {
      Tensor<T> stage(Shape{x.extent(0)});
      ops::unit_feature_distance_forward<T>(seen[s].view(), wanted[s].view(), weight(s), stage.view());
      for (std::int64_t n = 0; n < distance.size(); ++n) distance[n] += stage[n];
      if (stages != nullptr) stages->push_back(std::move(stage));
    }
    if (ctx != nullptr) {
      ctx->x.assign(std::make_move_iterator(seen.begin()), std::make_move_iterator(seen.end()));
      ctx->target.assign(std::make_move_iterator(wanted.begin()), std::make_move_iterator(wanted.end()));
    }
    return distance;
  }

  /// \param ddistance [N] \return dx, the shape of x; where all features of a pixel are zero they pass nothing on
  /// \throw ShapeError for a context without a forward pass
  Tensor<T> backward(const Tensor<T>& ddistance, const Context& ctx) {
    if (ctx.x.empty()) throw ShapeError("PerceptualDistance: backward needs the context of a forward pass");
    std::vector<Tensor<T>> dfeatures;
    for (std::size_t s = 0; s < ctx.x.size(); ++s) {
      dfeatures.push_back(Tensor<T>::uninitialized(ctx.x[s].shape()));
      ops::unit_feature_distance_backward<T>(ctx.x[s].view(), ctx.target[s].view(), weight(s), ddistance.view(),
                                             dfeatures.back().view());
    }
    return trunk_.backward(dfeatures, ctx.trunk);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    Trunk::visit(self.trunk_, v, prefix);
    for (std::size_t s = 0; s < self.lin_.size(); ++s)
      v(prefix + "lin" + std::to_string(s) + ".model.1.weight", self.lin_[s],
        nn::Entry{nn::Kind::frozen, nn::Layout::convolution, nn::Initial::constant(0)});
  }

 private:
  [[nodiscard]] TensorView<const T> weight(std::size_t stage) const {
    if (lin_.empty()) return {};
    const Tensor<T>& value = lin_[stage].value;
    return {value.data(), Shape{value.size()}};
  }

  Trunk trunk_;
  std::vector<nn::Parameter<T>> lin_;  ///< [1, 1, C, 1] each; none: ones
};

/// LPIPS on VGG16, as the original's autoencoder is trained with. 0 for equal pictures, and symmetric.
template <class T>
using Lpips = PerceptualDistance<Vgg16Trunk<T>>;

}  // namespace easy_diffusion::latent
