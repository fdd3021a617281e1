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

/// A denoiser of a model that also learned the variance of a step: `denoiser(x, level, x0, v)` writes v besides, which
/// `VarianceType` explains. A wrapper of denoisers passes it through where the wrapped one offers it.
template <class D, class S>
concept VarianceDenoiser = Denoiser<D, S> && requires(const D& denoiser, const S& x, const NoiseLevel& level, S& x0,
                                                      S& v) {
  denoiser(x, level, x0, v);
};

/// A denoiser from a model that predicts something else.
/// \tparam Model `model(x, time, out)` writes its prediction to `out`; one that learned the variance also offers
///         `model(x, time, out, v)`
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
