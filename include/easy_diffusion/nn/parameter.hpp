/// \file
/// What a layer learns, and the one visit through which everything else reaches it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/weight_store.hpp"
#include "easy_diffusion/nn/name.hpp"

namespace easy_diffusion::nn {

/// A tensor with its gradient. An empty gradient means frozen: backward neither computes nor touches it.
template <class T>
struct Parameter {
  Tensor<T> value;
  Tensor<T> grad;

  Parameter() = default;
  /// Zeros, with a gradient of zeros.
  explicit Parameter(const Shape& shape) : value(shape), grad(shape) {}

  /// Where operations keep the layouts they make of the value; null unless the value is held.
  [[nodiscard]] ops::WeightStore<T>* store() const noexcept { return held_.store.get(); }
  /// From now on the value does not change: what operations make of it is made once. See `hold_weights`.
  void hold() { held_.store = std::make_shared<ops::WeightStore<T>>(); }
  /// The value is free to change again.
  void release() noexcept { held_.store.reset(); }

  [[nodiscard]] bool frozen() const noexcept { return grad.empty(); }
  void freeze() { grad = Tensor<T>(); }
  void unfreeze() {
    if (frozen() && !value.empty()) grad = Tensor<T>(value.shape());
  }

 private:
  /// A copy of a parameter is not held: its value may go another way.
  struct Held {
    std::shared_ptr<ops::WeightStore<T>> store;
    Held() = default;
    Held(const Held&) noexcept {}
    Held(Held&&) = default;
    Held& operator=(const Held&) noexcept {
      store.reset();
      return *this;
    }
    Held& operator=(Held&&) = default;
    ~Held() = default;
  };
  Held held_;
};

/// What a visited entry is for.
enum class Kind {
  parameter,  ///< trained
  frozen,     ///< part of the state, never trained (fixed frequencies)
  buffer,     ///< changed by forward passes, not by the optimiser (running statistics)
  unused      ///< carried for PyTorch's sake: read, kept and written back
};

/// How memory relates to PyTorch's layout of the same tensor.
enum class Layout {
  plain,                  ///< the same
  linear,                 ///< here [in, out], there [out, in]
  convolution,            ///< here [KH, KW, in, out], there [out, in, KH, KW]
  transposed_convolution  ///< here [KH, KW, out, in], there [in, out, KH, KW]
};

/// Distribution of initial values.
struct Initial {
  enum class Rule { constant, uniform, normal } rule = Rule::constant;
  double scale = 0;  ///< the constant, the bound of the uniform (-scale, scale), or the standard deviation
  double mean = 0;   ///< of the normal one

  static Initial constant(double value) { return {Rule::constant, value}; }
  static Initial normal(double deviation, double mean = 0) { return {Rule::normal, deviation, mean}; }
  /// PyTorch's default for weights and biases: uniform in +-1/sqrt(fan_in).
  static Initial fan_in(std::int64_t inputs) {
    return {Rule::uniform, inputs > 0 ? 1.0 / std::sqrt(static_cast<double>(inputs)) : 0.0};
  }
};

/// What a visitor is told about a parameter besides its name.
struct Entry {
  Kind kind = Kind::parameter;
  Layout layout = Layout::plain;
  Initial initial{};
};

/// Calls `f(name, parameter, entry)` for everything `model` holds, in a fixed order, with PyTorch's names. The name is a
/// `Name`; an `f` that takes a `std::string` gets one.
template <class Model, class F>
void for_each_parameter(Model& model, F&& f) {
  std::remove_const_t<Model>::visit(model, f, Name());
}

/// The same for what is trained right now: kind `parameter` and not frozen.
template <class Model, class F>
void for_each_trained(Model& model, F&& f) {
  for_each_parameter(model, [&](const Name& name, auto& parameter, const Entry& entry) {
    if (entry.kind == Kind::parameter && !parameter.frozen()) f(name, parameter, entry);
  });
}

template <class Model>
void zero_gradients(Model& model) {
  for_each_trained(model, [](const Name&, auto& parameter, const Entry&) {
    auto* const g = parameter.grad.data();
    parallel_for(0, parameter.grad.size(), 65536,
                 [=](std::int64_t first, std::int64_t last) { std::fill(g + first, g + last, 0); });
  });
}

/// Numbers held in entries of kind `parameter`, frozen or not; with `all`, in every entry.
template <class Model>
[[nodiscard]] std::int64_t count_parameters(const Model& model, bool all = false) {
  std::int64_t count = 0;
  for_each_parameter(model, [&](const Name&, const auto& parameter, const Entry& entry) {
    if (all || entry.kind == Kind::parameter) count += parameter.value.size();
  });
  return count;
}

/// Freezes or unfreezes every entry of kind `parameter`.
template <class Model>
void set_trainable(Model& model, bool trainable) {
  for_each_parameter(model, [&](const Name&, auto& parameter, const Entry& entry) {
    if (entry.kind != Kind::parameter) return;
    if (trainable)
      parameter.unfreeze();
    else
      parameter.freeze();
  });
}

/// For sampling with weights that stay as they are: layouts that the products want are made once, not in every call (small
/// batches gain most; a held model takes up to five times its memory). Training, loading and averages release what they
/// change; who writes to a value by other ways calls `release_weights` first.
template <class Model>
void hold_weights(Model& model) {
  for_each_parameter(model, [](const std::string&, auto& parameter, const Entry&) { parameter.hold(); });
}

template <class Model>
void release_weights(Model& model) {
  for_each_parameter(model, [](const std::string&, auto& parameter, const Entry&) { parameter.release(); });
}

/// Draws every entry's initial values: entry number k uses the address (seed, streams::weights, k).
template <class Model>
void initialize(Model& model, std::uint64_t seed) {
  std::uint32_t index = 0;
  for_each_parameter(model, [&](const Name&, auto& parameter, const Entry& entry) {
    using T = typename std::remove_reference_t<decltype(parameter.value)>::value_type;
    const NoiseAddress address{seed, streams::weights, index++};
    const T scale = static_cast<T>(entry.initial.scale);
    parameter.release();
    switch (entry.initial.rule) {
      case Initial::Rule::constant: parameter.value.fill(scale); break;
      case Initial::Rule::uniform:
        fill_uniform(parameter.value.span(), address);
        for (T& x : parameter.value) x = (T(2) * x - T(1)) * scale;
        break;
      case Initial::Rule::normal:
        fill_normal(parameter.value.span(), address);
        for (T& x : parameter.value) x *= scale;
        if (entry.initial.mean != 0)
          for (T& x : parameter.value) x += static_cast<T>(entry.initial.mean);
        break;
    }
  });
}

}  // namespace easy_diffusion::nn
