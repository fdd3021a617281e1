/// \file
/// What a sampler asks of a model: the picture that it believes to be under the noise.
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Predicts x0. Whatever a network was trained to predict, `make_denoiser` turns into one; guidance and clipping wrap one.
/// | expression               | meaning                                                                            |
/// |--------------------------|------------------------------------------------------------------------------------|
/// | `denoiser(x, level, x0)` | writes the x0 expected under `x`, a state of that level, to `x0`, which has its extents |
template <class D, class S>
concept Denoiser = sde::State<S> && requires(const D& denoiser, const S& x, const NoiseLevel& level, S& x0) {
  denoiser(x, level, x0);
};

/// Some of the samples of a run's batch, by their numbers in it.
struct SampleRange {
  std::int64_t first = 0;
  std::int64_t count = 1;
};

/// f(arguments..., samples) where f can be told which samples of the batch it is asked for, f(arguments...) otherwise.
template <class F, class... Arguments>
void call_for_samples(const F& f, const SampleRange& samples, Arguments&&... arguments) {
  if constexpr (std::invocable<const F&, Arguments&..., const SampleRange&>) {
    f(arguments..., samples);
  } else {
    f(arguments...);
  }
}

/// A denoiser that is asked for some samples of a batch alone: what a sampler uses that steps each by itself. A denoiser
/// (and a model, a classifier's gradient) that is told something of each sample, such as its class, takes these numbers as
/// one more argument, `denoiser(x, level, x0, samples)`: x then holds these samples, in their order. One that does not take
/// them must do the same with every sample. All wrappers here pass them on. It does not own the other one.
template <class D>
class DenoiserOf {
 public:
  DenoiserOf(const D& denoiser, const SampleRange& samples) : denoiser_(&denoiser), samples_(samples) {}

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    call_for_samples(*denoiser_, samples_, x, level, x0);
  }

 private:
  const D* denoiser_;
  SampleRange samples_;
};

/// A denoiser of a model that also learned the variance of a step: `denoiser(x, level, x0, v)` writes v besides, which
/// `VarianceType` explains. A wrapper of denoisers passes it through where the wrapped one offers it.
template <class D, class S>
concept VarianceDenoiser = Denoiser<D, S> && requires(const D& denoiser, const S& x, const NoiseLevel& level, S& x0,
                                                      S& v) {
  denoiser(x, level, x0, v);
};

/// A denoiser from a model that predicts something else.
/// \tparam Model `model(x, time, out)` writes its prediction to `out`; one that learned the variance also offers
///         `model(x, time, out, v)`, one that is told something of each sample `model(x, time, out, samples)`
template <class Model>
class ModelDenoiser {
 public:
  ModelDenoiser(Model model, Prediction prediction) : model_(std::move(model)), prediction_(prediction) {}

  /// \throw ValueError where the prediction does not determine x0 at that level
  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    model_(x, level.time, x0);
    convert(prediction_, Prediction::x0, level, x, x0);
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    call_for_samples(model_, samples, x, level.time, x0);
    convert(prediction_, Prediction::x0, level, x, x0);
  }

  template <sde::State S>
  requires std::invocable<const Model&, const S&, double, S&, S&>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    model_(x, level.time, x0, v);
    convert(prediction_, Prediction::x0, level, x, x0);
  }

  [[nodiscard]] Prediction prediction() const noexcept { return prediction_; }

 private:
  Model model_;
  Prediction prediction_;
};

template <class Model>
[[nodiscard]] ModelDenoiser<Model> make_denoiser(Model model, Prediction prediction) {
  return {std::move(model), prediction};
}

/// A denoiser that counts its evaluations. It does not own the other one.
template <class D>
class CountingDenoiser {
 public:
  explicit CountingDenoiser(const D& denoiser) : denoiser_(&denoiser) {}

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    ++evaluations_;
    (*denoiser_)(x, level, x0);
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    ++evaluations_;
    call_for_samples(*denoiser_, samples, x, level, x0);
  }

  template <sde::State S>
  requires VarianceDenoiser<D, S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    ++evaluations_;
    (*denoiser_)(x, level, x0, v);
  }

  [[nodiscard]] std::int64_t evaluations() const noexcept { return evaluations_; }
  [[nodiscard]] const D& inner() const noexcept { return *denoiser_; }

 private:
  const D* denoiser_;
  mutable std::int64_t evaluations_ = 0;
};

}  // namespace easy_diffusion::diffusion
