/// \file
/// Adam, and for the last steps gradient descent without a memory, in which the weights settle.
#pragma once

#include <algorithm>
#include <cstdint>

#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/optim/sgd.hpp"

namespace easy_diffusion::nn {

/// The switch depends on the number of steps made alone, so that a resumed run makes it where the whole one does.
template <class T>
class AdamThenSgd {
 public:
  using value_type = T;

  /// \param adam_steps steps before the switch; negative: it never comes
  explicit AdamThenSgd(const AdamConfig& adam = {}, std::int64_t adam_steps = -1)
      : adam_(adam), adam_steps_(adam_steps) {}

  /// Moves every trained parameter of `model` along its gradient.
  /// \throw ValueError unless `model` has the parameters of the first step, by name and shape; then nothing has moved
  template <class Model>
  void step(Model& model, double learning_rate) {
    if (adam_steps_ < 0 || adam_.steps() < adam_steps_) {
      adam_.step(model, learning_rate);
    } else {
      adam_.check(model);
      sgd_.step(model, learning_rate);
    }
  }

  [[nodiscard]] std::int64_t steps() const noexcept { return adam_.steps() + sgd_.steps(); }
  void set_steps(std::int64_t steps) noexcept {
    const std::int64_t of_adam = adam_steps_ < 0 ? steps : std::min(steps, adam_steps_);
    adam_.set_steps(of_adam);
    sgd_.set_steps(steps - of_adam);
  }

  /// As that of Adam, whose moments stay as they were at the switch; descent without momentum has nothing to keep.
  template <class Model, class F>
  void visit_state(Model& model, F&& f) {
    adam_.visit_state(model, f);
  }

  /// As that of Adam.
  template <class Model, class F>
  void visit_updates(Model& model, F&& f) {
    adam_.visit_updates(model, f);
  }

 private:
  Adam<T> adam_;
  Sgd<T> sgd_;
  std::int64_t adam_steps_;
};

}  // namespace easy_diffusion::nn
