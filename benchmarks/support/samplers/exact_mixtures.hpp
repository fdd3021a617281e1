/// \file
/// Samplers on data whose denoiser is known exactly: what is wrong with the samples is the sampler's alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/metrics/mixture_divergence.hpp"
#include "support/metrics/sliced_wasserstein.hpp"
#include "support/samplers/contenders.hpp"

namespace easy_diffusion::bench {

/// Eight narrow components on two rings, of unequal weight.
[[nodiscard]] inline diffusion::GaussianMixture mixture_2d() {
  std::vector<diffusion::MixtureComponent> components;
  for (int k = 0; k < 8; ++k) {
    const double angle = k * std::numbers::pi / 4, radius = k % 2 == 0 ? 1.4 : 0.7;
    components.push_back({1.0 + k % 3, {radius * std::cos(angle), radius * std::sin(angle)}, 0.06});
  }
  return diffusion::GaussianMixture(std::move(components));
}

/// Four components in 64 dimensions, as far apart as pictures of pixels between -1 and 1 may be.
[[nodiscard]] inline diffusion::GaussianMixture mixture_64d() {
  std::vector<diffusion::MixtureComponent> components;
  for (std::uint32_t k = 0; k < 4; ++k) {
    std::vector<double> mean(64);
    fill_normal(std::span<double>(mean), {11, streams::user, k});
    for (double& m : mean) m *= 0.4;
    components.push_back({1.0 + k, std::move(mean), 0.1 + 0.05 * k});
  }
  return diffusion::GaussianMixture(std::move(components));
}

/// What a run of a sampler left.
struct MixtureSamples {
  std::vector<double> values;  ///< one sample behind the other
  double evaluations = 0;      ///< of the denoiser, for a sample, on average
};

/// A mixture that counts the samples for which it is asked.
struct CountedMixture {
  const diffusion::GaussianMixture* mixture;
  mutable std::int64_t asked = 0;

  template <sde::State S>
  void operator()(const S& x, const diffusion::NoiseLevel& level, S& x0) const {
    asked += sde::element_count(x) / static_cast<std::int64_t>(mixture->dimension());
    (*mixture)(x, level, x0);
  }
};

/// Samples number 0 to `count` - 1 of a seed, the same bits for any number of threads.
/// \throw ValueError as the sampler
[[nodiscard]] inline MixtureSamples sample_mixture(const diffusion::GaussianMixture& mixture,
                                                   const Contender& contender, const diffusion::Schedule& schedule,
                                                   const diffusion::NoiseLevels& levels, std::int64_t count,
                                                   std::uint64_t seed) {
  using State = Tensor<double>;
  constexpr std::int64_t together = 128;
  const auto d = static_cast<std::int64_t>(mixture.dimension());
  MixtureSamples result{std::vector<double>(static_cast<std::size_t>(count * d)), 0};
  std::atomic<std::int64_t> asked = 0;
  parallel_for(0, (count - 1) / together + 1, 1, [&](std::int64_t first_part, std::int64_t last_part) {
    for (std::int64_t part = first_part; part < last_part; ++part) {
      const std::int64_t begin = part * together, samples = std::min(together, count - begin);
      const auto first_element = static_cast<std::uint64_t>(begin * d);
      State x = State::uninitialized({samples, d});
      sde::draw_normal(x, levels.front().sigma, {seed, streams::initial_state, 0}, first_element);
      const CountedMixture denoiser{&mixture};
      auto sampler = make_contender<State>(contender, schedule);
      diffusion::sample(sampler, denoiser, x, levels, sde::BrownianNoise{seed, first_element});
      std::copy_n(x.data(), x.size(), result.values.begin() + begin * d);
      asked += denoiser.asked;
    }
  });
  result.evaluations = static_cast<double>(asked.load()) / static_cast<double>(count);
  return result;
}

/// Exact samples, other ones for another seed.
[[nodiscard]] inline std::vector<double> exact_samples(const diffusion::GaussianMixture& mixture, std::int64_t count,
                                                       std::uint64_t seed) {
  const std::size_t d = mixture.dimension();
  std::vector<double> values(static_cast<std::size_t>(count) * d);
  for (std::size_t n = 0; n < static_cast<std::size_t>(count); ++n)
    mixture.draw(seed, n, std::span<double>(values).subspan(n * d, d));
  return values;
}

/// Both distances of a set of samples from a mixture.
struct MixtureScore {
  double sliced_wasserstein = 0;
  double divergence = 0;  ///< nats
};

/// A mixture with exact samples to compare others to.
class MixtureJudge {
 public:
  MixtureJudge(diffusion::GaussianMixture mixture, std::int64_t count, std::uint64_t seed)
      : mixture_(std::move(mixture)),
        count_(count),
        reference_(exact_samples(mixture_, count, 2 * seed), mixture_.dimension()),
        floor_(score(exact_samples(mixture_, count, 2 * seed + 1))) {}

  [[nodiscard]] const diffusion::GaussianMixture& mixture() const noexcept { return mixture_; }
  [[nodiscard]] std::int64_t count() const noexcept { return count_; }
  /// Of exact samples: no sampler is better, but by chance.
  [[nodiscard]] const MixtureScore& floor() const noexcept { return floor_; }

  /// \param samples as many as there are of the reference \throw ValueError where one is not finite
  [[nodiscard]] MixtureScore score(const std::vector<double>& samples) const {
    return {reference_.distance(samples), mixture_divergence(mixture_, samples).total()};
  }

 private:
  diffusion::GaussianMixture mixture_;
  std::int64_t count_;
  SlicedWasserstein reference_;
  MixtureScore floor_;
};

}  // namespace easy_diffusion::bench
