/// \file
/// Classifier-free guidance \cite ho_2022_guidance.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::diffusion {

/// A conditional score model as a sampler wants one: s = s_null + scale (s_condition - s_null). A scale of 1 is the
/// condition as it was learned, more of it exaggerates what the condition changes, 0 leaves it out.
/// \tparam Model `forward(x, t, condition)` and `forward(x, t)`, of no condition, are scores
template <class Model, class Condition>
class Guided {
 public:
  using value_type = typename Model::value_type;
  using T = value_type;

  /// \param model outlives this \param condition one for each sample of the batches to come
  Guided(const Model& model, Condition condition, double scale)
      : model_(&model), condition_(std::move(condition)), scale_(scale) {}

  /// \param x [N, ...] \param t [N] \return the shape of x
  /// \throw as the model's own; ShapeError where the two scores differ in shape
  [[nodiscard]] Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t) const {
    if (scale_ == 0) return model_->forward(x, t);
    Tensor<T> told = model_->forward(x, t, condition_);
    if (scale_ == 1) return told;
    const Tensor<T> untold = model_->forward(x, t);
    expect_shape("guidance", told.shape(), untold.shape());
    const T scale = static_cast<T>(scale_);
    for (std::int64_t i = 0; i < told.size(); ++i) told[i] = untold[i] + scale * (told[i] - untold[i]);
    return told;
  }

  /// Times the model is evaluated in a step.
  [[nodiscard]] int evaluations() const noexcept { return scale_ == 0 || scale_ == 1 ? 1 : 2; }

 private:
  const Model* model_;
  Condition condition_;
  double scale_;
};

}  // namespace easy_diffusion::diffusion
