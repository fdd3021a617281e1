/// \file
/// Training and measuring a classifier.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/losses/cross_entropy.hpp"

namespace easy_diffusion::train {

/// Softmax cross-entropy of a model whose forward takes pictures and gives [N, classes].
struct Classification {
  static constexpr bool uses_labels = true;

  /// Adds the gradients of one batch and returns the loss in nats.
  /// \param pictures [N, H, W, C] \param labels N numbers in [0, classes)
  /// \throw ShapeError, ValueError as `nn::cross_entropy`
  template <class Model>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures,
                    const std::vector<std::int64_t>& labels, std::uint64_t, std::uint32_t,
                    typename Model::Context& ctx) const {
    ctx.input_gradient = false;
    const auto logits = model.forward(pictures, &ctx);
    const auto loss = nn::cross_entropy(logits, labels);
    model.backward(loss.gradient, ctx);
    return loss.value;
  }
};

/// The class of the largest score, sample by sample. \param pictures [N, H, W, C]
template <class Model>
[[nodiscard]] std::vector<std::int64_t> classify(const Model& model,
                                                 const Tensor<typename Model::value_type>& pictures) {
  const auto logits = model.forward(pictures);
  const std::int64_t classes = logits.extent(1);
  std::vector<std::int64_t> result;
  for (std::int64_t n = 0; n < logits.extent(0); ++n) {
    const auto* row = logits.data() + n * classes;
    result.push_back(std::max_element(row, row + classes) - row);
  }
  return result;
}

}  // namespace easy_diffusion::train
