/// \file
/// Exponential moving average of a model's parameters.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/parameter_states.hpp"

namespace easy_diffusion::nn {

/// average <- d average + (1 - d) parameter with d = min(decay, (1 + n) / (10 + n)) after n earlier updates: the
/// warm-up keeps the initial values from lingering. Entries that are not trained are copied as they are.
template <class T>
class Ema {
 public:
  using value_type = T;

  /// Starts at the model's present values. \throw ValueError unless 0 <= decay < 1
  template <class Model>
  Ema(const Model& model, double decay) : decay_(decay) {
    if (!(decay >= 0 && decay < 1)) throw ValueError("EMA decay: expected 0 <= decay < 1, got " + number_text(decay));
    averages_.bind(model, [](const Parameter<T>& parameter) { return parameter.value; });
  }

  /// Decay of the next update.
  [[nodiscard]] double next_decay() const noexcept {
    const double n = static_cast<double>(updates_);
    return std::min(decay_, (1 + n) / (10 + n));
  }

  /// \throw ValueError unless `model` has the entries of the first one, by name and shape; then nothing has changed
  template <class Model>
  void update(const Model& model) {
    const T keep = static_cast<T>(next_decay());
    const T take = static_cast<T>(1 - next_decay());
    averages_.for_each(model, [&](const Name&, const Parameter<T>& parameter, Tensor<T>& average, const Entry& entry) {
      if (entry.kind != Kind::parameter) {
        average = parameter.value;
        return;
      }
      T* a = average.data();
      const T* p = parameter.value.data();
      parallel_for(0, average.size(), 16384, [=](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) a[i] = keep * a[i] + take * p[i];
      });
    });
    ++updates_;
  }

  /// Gives the model the averaged values. \throw ValueError as `update`
  template <class Model>
  void copy_to(Model& model) const {
    averages_.for_each(model, [](const Name&, Parameter<T>& parameter, const Tensor<T>& average, const Entry&) {
      parameter.release();
      parameter.value = average;
    });
  }

  [[nodiscard]] std::int64_t updates() const noexcept { return updates_; }
  void set_updates(std::int64_t updates) noexcept { updates_ = updates; }

  /// Calls f(name, tensor, layout) for every average, "ema.<name>". \throw ValueError as `update`
  template <class Model, class F>
  void visit_state(Model& model, F&& f) {
    averages_.for_each(model, [&](const Name& name, Parameter<T>&, Tensor<T>& average, const Entry& entry) {
      f(Name("ema.") + name, average, entry.layout);
    });
  }

 private:
  double decay_;
  std::int64_t updates_ = 0;
  ParameterStates<Tensor<T>> averages_{"EMA", Stateful::every};
};

}  // namespace easy_diffusion::nn
