/// \file
/// Any sampler behind one type.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>

#include "easy_diffusion/diffusion/denoiser_ref.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/noise_ref.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Owns a sampler whose type is not seen from outside, so that a program that chooses among many compiles each of them for one
/// denoiser and one noise only. `sample` and `inpaint` run it like any other, to the same bits; what differs is that its traits
/// are known when it runs: `sampler.traits()`. A sampler that needs what its denoiser or noise does not have (a variance, dZ)
/// says so by a ValueError at its step, not when it is compiled.
template <sde::State S>
class AnySampler {
 public:
  using state_type = S;

  template <class Sampler>
  requires(std::same_as<typename Sampler::state_type, S> && SamplerOf<Sampler, DenoiserRef<S>, const sde::NoiseRef<S>>)
  explicit AnySampler(Sampler sampler) : sampler_(std::make_unique<Owned<Sampler>>(std::move(sampler))) {}

  [[nodiscard]] SamplerTraits traits() const noexcept { return sampler_->traits(); }
  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const { return sampler_->evaluations(levels); }
  [[nodiscard]] const S& predicted_x0() const { return sampler_->predicted_x0(); }

  /// \throw ValueError for levels that the sampler cannot walk
  void start(const NoiseLevels& levels) { sampler_->start(levels); }

  /// \throw ValueError for a denoiser or noise without what the sampler needs of it, and whatever these two throw
  void step(DenoiserRef<S> denoiser, S& x, const NoiseLevels& levels, std::int64_t i, auto& noise) {
    sampler_->step(denoiser, x, levels, i, sde::NoiseRef<S>(noise));
  }

 private:
  struct Interface {
    virtual ~Interface() = default;
    [[nodiscard]] virtual SamplerTraits traits() const noexcept = 0;
    [[nodiscard]] virtual std::int64_t evaluations(const NoiseLevels& levels) const = 0;
    [[nodiscard]] virtual const S& predicted_x0() const = 0;
    virtual void start(const NoiseLevels& levels) = 0;
    virtual void step(const DenoiserRef<S>& denoiser, S& x, const NoiseLevels& levels, std::int64_t i,
                      const sde::NoiseRef<S>& noise) = 0;
  };

  template <class Sampler>
  struct Owned final : Interface {
    explicit Owned(Sampler s) : sampler(std::move(s)) {}
    [[nodiscard]] SamplerTraits traits() const noexcept override { return Sampler::traits; }
    [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const override {
      return sampler.evaluations(levels);
    }
    [[nodiscard]] const S& predicted_x0() const override { return sampler.predicted_x0(); }
    void start(const NoiseLevels& levels) override { sampler.start(levels); }
    void step(const DenoiserRef<S>& denoiser, S& x, const NoiseLevels& levels, std::int64_t i,
              const sde::NoiseRef<S>& noise) override {
      sampler.step(denoiser, x, levels, i, noise);
    }

    Sampler sampler;
  };

  std::unique_ptr<Interface> sampler_;
};

}  // namespace easy_diffusion::diffusion
