/// \file
/// Any denoiser behind one type: what is compiled against it is compiled once.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// A denoiser that belongs to somebody else, who keeps it alive. Always a `VarianceDenoiser` by its type: whether the denoiser
/// behind it is one, it says when asked.
template <sde::State S>
class DenoiserRef {
 public:
  template <class D>
  requires(Denoiser<D, S> && !std::same_as<D, DenoiserRef>)
  // Implicit, as a reference is bound. NOLINTNEXTLINE(google-explicit-constructor)
  DenoiserRef(const D& denoiser)
      : denoiser_(std::addressof(denoiser)),
        x0_([](const void* d, const S& x, const NoiseLevel& level, S& x0) { of<D>(d)(x, level, x0); }),
        x0_of_samples_([](const void* d, const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) {
          call_for_samples(of<D>(d), samples, x, level, x0);
        }),
        x0_and_variance_(with_variance<D>()) {}

  void operator()(const S& x, const NoiseLevel& level, S& x0) const { x0_(denoiser_, x, level, x0); }

  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    x0_of_samples_(denoiser_, x, level, x0, samples);
  }

  /// \throw ValueError where the denoiser writes no variance
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    if (x0_and_variance_ == nullptr)
      throw ValueError("denoiser: a learned variance needs a denoiser that writes one: denoiser(x, level, x0, v)");
    x0_and_variance_(denoiser_, x, level, x0, v);
  }

 private:
  using Predict = void (*)(const void*, const S&, const NoiseLevel&, S&);
  using PredictSamples = void (*)(const void*, const S&, const NoiseLevel&, S&, const SampleRange&);
  using PredictWithVariance = void (*)(const void*, const S&, const NoiseLevel&, S&, S&);

  template <class D>
  static const D& of(const void* denoiser) {
    return *static_cast<const D*>(denoiser);
  }

  template <class D>
  static constexpr PredictWithVariance with_variance() {
    if constexpr (VarianceDenoiser<D, S>) {
      return [](const void* d, const S& x, const NoiseLevel& level, S& x0, S& v) { of<D>(d)(x, level, x0, v); };
    } else {
      return nullptr;
    }
  }

  const void* denoiser_;
  Predict x0_;
  PredictSamples x0_of_samples_;
  PredictWithVariance x0_and_variance_;
};

}  // namespace easy_diffusion::diffusion
