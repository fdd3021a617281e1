/// \file
/// Stochastic gradient descent with momentum.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/parameter_states.hpp"

namespace easy_diffusion::nn {

struct SgdConfig {
  double momentum = 0;
  double weight_decay = 0;   ///< added to the gradient
  bool nesterov = false;     ///< looks ahead by one momentum step
  bool decay_plain = false;  ///< also decay biases and normalisation gains
};

/// PyTorch's form: velocity <- momentum velocity + gradient; parameter <- parameter - rate velocity.
template <class T>
class Sgd {
 public:
  using value_type = T;

  explicit Sgd(const SgdConfig& config = {}) : config_(config) {}

  /// Moves every trained parameter of `model` along its gradient.
  /// \throw ValueError unless `model` has the parameters of the first step, by name and shape; then nothing has moved
  template <class Model>
  void step(Model& model, double learning_rate) {
    const T rate = static_cast<T>(learning_rate);
    const T momentum = static_cast<T>(config_.momentum);
    for_each_state(model, [&](const Name&, Parameter<T>& parameter, Tensor<T>& velocity, const Entry& entry) {
      if (parameter.frozen()) return;
      const bool decays = config_.decay_plain || entry.layout != Layout::plain;
      const T l2 = decays ? static_cast<T>(config_.weight_decay) : T(0);
      parameter.release();
      T* p = parameter.value.data();
      const T* g = parameter.grad.data();
      T* v = velocity.data();
      const bool nesterov = config_.nesterov;
      parallel_for(0, parameter.value.size(), 16384, [=](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const T gradient = g[i] + l2 * p[i];
          v[i] = momentum * v[i] + gradient;
          p[i] -= rate * (nesterov ? gradient + momentum * v[i] : v[i]);
        }
      });
    });
    ++steps_;
  }

  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }
  void set_steps(std::int64_t steps) noexcept { steps_ = steps; }

  /// Calls f(name, tensor, layout) for every velocity, "velocity.<name>". \throw ValueError as `step`
  template <class Model, class F>
  void visit_state(Model& model, F&& f) {
    for_each_state(model, [&](const Name& name, Parameter<T>&, Tensor<T>& velocity, const Entry& entry) {
      f(Name("velocity.") + name, velocity, entry.layout);
    });
  }

 private:
  /// f(name, parameter, velocity, entry) for every entry of kind `parameter`: it keeps its velocity while it is frozen.
  template <class Model, class F>
  void for_each_state(Model& model, F&& f) {
    if (!velocity_.bound())
      velocity_.bind(model, [](const Parameter<T>& parameter) { return Tensor<T>(parameter.value.shape()); });
    velocity_.for_each(model, f);
  }

  SgdConfig config_;
  std::int64_t steps_ = 0;
  ParameterStates<Tensor<T>> velocity_{"SGD", Stateful::trained_kind};
};

}  // namespace easy_diffusion::nn
