/// \file
/// Stochastic gradient descent with momentum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"

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

  /// Moves every trained parameter of `model` along its gradient. The same model has to be given each time.
  template <class Model>
  void step(Model& model, double learning_rate) {
    ++steps_;
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
  }

  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }
  void set_steps(std::int64_t steps) noexcept { steps_ = steps; }

  /// Calls f(name, tensor, layout) for every velocity, "velocity.<name>".
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
    std::size_t index = 0;
    for_each_parameter(model, [&](const Name& name, Parameter<T>& parameter, const Entry& entry) {
      if (entry.kind != Kind::parameter) return;
      if (index == velocity_.size()) velocity_.emplace_back();
      Tensor<T>& velocity = velocity_[index++];
      if (velocity.empty()) velocity = Tensor<T>(parameter.value.shape());
      f(name, parameter, velocity, entry);
    });
  }

  SgdConfig config_;
  std::int64_t steps_ = 0;
  std::vector<Tensor<T>> velocity_;
};

}  // namespace easy_diffusion::nn
