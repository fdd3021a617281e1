/// \file
/// Adam \cite kingma_2014_adam and AdamW \cite loshchilov_2017_adamw.
#pragma once

#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/parameter_states.hpp"

namespace easy_diffusion::nn {

struct AdamConfig {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;    ///< AdamW: weights shrink by learning_rate * weight_decay, outside the moments
  bool decay_plain = false;  ///< also decay biases and normalisation gains (PyTorch does, unless told otherwise)

  static AdamConfig adam() { return {}; }
  static AdamConfig adamw(double weight_decay = 1e-2) { return {.weight_decay = weight_decay, .decoupled = true}; }
};

/// One step is one pass over parameters, gradients and both moments.
template <class T>
class Adam {
 public:
  using value_type = T;

  explicit Adam(const AdamConfig& config = {}) : config_(config) {}

  /// Moves every trained parameter of `model` along its gradient. Moments begin at zero, and a parameter's bias correction
  /// counts its own updates: one that was frozen for a while begins as it would have at first.
  /// \throw ValueError unless `model` has the parameters of the first step, by name and shape; then nothing has moved
  template <class Model>
  void step(Model& model, double learning_rate) {
    Correction correction;
    for_each_state(model, [&](const Name&, Parameter<T>& parameter, Moments& moments, const Entry& entry) {
      if (parameter.frozen()) return;
      if (++moments.updates != correction.updates) correction = correction_after(moments.updates, learning_rate);
      const bool decays = config_.weight_decay != 0 && (config_.decay_plain || entry.layout != Layout::plain);
      const T l2 = decays && !config_.decoupled ? static_cast<T>(config_.weight_decay) : T(0);
      const T keep = decays && config_.decoupled ? static_cast<T>(1 - learning_rate * config_.weight_decay) : T(1);
      update(parameter, moments, correction.rate, correction.root_scale, l2, keep);
    });
    ++steps_;
  }

  /// Steps made, whatever was frozen in them.
  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }
  /// As if each parameter had been moved in each of those steps; `visit_updates` says otherwise.
  void set_steps(std::int64_t steps) noexcept {
    steps_ = steps;
    moments_.for_each_state([&](Moments& moments) { moments.updates = steps; });
  }

  /// Calls f(name, tensor, layout) for both moments of every parameter, frozen or not: "m.<name>" and "v.<name>". This is
  /// how a checkpoint saves and restores them. \throw ValueError as `step`
  template <class Model, class F>
  void visit_state(Model& model, F&& f) {
    for_each_state(model, [&](const Name& name, Parameter<T>&, Moments& moments, const Entry& entry) {
      f(Name("m.") + name, moments.first, entry.layout);
      f(Name("v.") + name, moments.second, entry.layout);
    });
  }

  /// Calls f(name, updates) for every parameter: in how many steps it was moved, a `std::int64_t` that f may change.
  /// \throw ValueError as `step`
  template <class Model, class F>
  void visit_updates(Model& model, F&& f) {
    for_each_state(model,
                   [&](const Name& name, Parameter<T>&, Moments& moments, const Entry&) { f(name, moments.updates); });
  }

  /// \throw ValueError where steps have been made and `model` is not the one they moved
  template <class Model>
  void check(const Model& model) const {
    if (moments_.bound()) moments_.check(model);
  }

 private:
  struct Moments {
    Tensor<T> first, second;
    std::int64_t updates = 0;

    friend bool has_shape_of(const Moments& moments, const Tensor<T>& value) noexcept {
      return nn::has_shape_of(moments.first, value) && nn::has_shape_of(moments.second, value);
    }
  };

  /// What moments that began at zero are corrected by.
  struct Correction {
    std::int64_t updates = -1;
    T rate{}, root_scale{};
  };
  [[nodiscard]] Correction correction_after(std::int64_t updates, double learning_rate) const {
    const double n = static_cast<double>(updates);
    return {updates, static_cast<T>(learning_rate / (1 - std::pow(config_.beta1, n))),
            static_cast<T>(1 / std::sqrt(1 - std::pow(config_.beta2, n)))};
  }

  /// f(name, parameter, moments, entry) for every entry of kind `parameter`: it keeps its moments while it is frozen.
  template <class Model, class F>
  void for_each_state(Model& model, F&& f) {
    if (!moments_.bound())
      moments_.bind(model, [&](const Parameter<T>& parameter) {
        const Shape& shape = parameter.value.shape();
        return Moments{Tensor<T>(shape), Tensor<T>(shape), steps_};
      });
    moments_.for_each(model, f);
  }

  void update(Parameter<T>& parameter, Moments& moments, T rate, T root_scale, T l2, T keep) const {
    const T beta1 = static_cast<T>(config_.beta1);
    const T beta2 = static_cast<T>(config_.beta2);
    const T rest1 = static_cast<T>(1 - config_.beta1);
    const T rest2 = static_cast<T>(1 - config_.beta2);
    const T epsilon = static_cast<T>(config_.epsilon);
    parameter.release();
    T* p = parameter.value.data();
    const T* g = parameter.grad.data();
    T* m = moments.first.data();
    T* v = moments.second.data();
    parallel_for(0, parameter.value.size(), 16384, [=](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const T gradient = g[i] + l2 * p[i];
        m[i] = beta1 * m[i] + rest1 * gradient;
        v[i] = beta2 * v[i] + rest2 * gradient * gradient;
        p[i] = keep * p[i] - rate * m[i] / (std::sqrt(v[i]) * root_scale + epsilon);
      }
    });
  }

  AdamConfig config_;
  std::int64_t steps_ = 0;
  ParameterStates<Moments> moments_{"Adam", Stateful::trained_kind};
};

}  // namespace easy_diffusion::nn
