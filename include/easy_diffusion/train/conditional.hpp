/// \file
/// An objective for a model that is told the class of each picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/condition.hpp"

namespace easy_diffusion::train {

/// Another objective with the class as condition. With probability `dropout` a picture's class is left out, so
/// that the model learns both predictions that classifier-free guidance needs \cite ho_2022_guidance. Whose class is left
/// out in a step is a function of the address (seed, streams::condition_dropout, step).
/// \tparam Objective `accumulate(model, pictures, seed, step, ctx, condition)`
template <class Objective>
class Conditional {
 public:
  static constexpr bool uses_labels = true;

  /// \throw ValueError unless 0 <= dropout <= 1
  Conditional(Objective objective, double dropout) : objective_(std::move(objective)), dropout_(dropout) {
    if (!(dropout >= 0 && dropout <= 1))
      throw ValueError("condition dropout: expected a probability, got " + number_text(dropout));
  }

  /// The classes that a step tells the model; -1 where it tells none. \param labels [N]
  template <class T>
  [[nodiscard]] nn::Condition<T> condition(const std::vector<std::int64_t>& labels, std::uint64_t seed,
                                           std::uint32_t step) const {
    nn::Condition<T> told;
    told.classes = labels;
    Tensor<float> chance = Tensor<float>::uninitialized(Shape{static_cast<std::int64_t>(labels.size())});
    fill_uniform(chance.span(), {seed, streams::condition_dropout, step});
    for (std::size_t n = 0; n < labels.size(); ++n)
      if (static_cast<double>(chance[static_cast<std::int64_t>(n)]) < dropout_) told.classes[n] = -1;
    return told;
  }

  /// One batch: adds the gradients of the loss to the model's and returns the loss.
  /// \param pictures [N, H, W, C], N >= 1 \param labels N class numbers
  /// \throw ShapeError, ValueError as the objective and the model
  template <class Model>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures,
                    const std::vector<std::int64_t>& labels, std::uint64_t seed, std::uint32_t step,
                    typename Model::Context& ctx) {
    return objective_.accumulate(model, pictures, seed, step, ctx,
                                 condition<typename Model::value_type>(labels, seed, step));
  }

  template <class F>
  void visit_state(F&& f) requires requires(Objective& objective) { objective.visit_state(f); }
  { objective_.visit_state(f); }

 private:
  Objective objective_;
  double dropout_;
};

}  // namespace easy_diffusion::train
