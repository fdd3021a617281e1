/// \file
/// Langevin corrections between the steps of another sampler.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/per_sample.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

struct LangevinOptions {
  double signal_to_noise = 0.16;
  int corrections = 1;  ///< at each level
};

namespace detail {

/// Noise of the corrections: number j of step i has the address of a step i + (j + 1) 2^24, which no predictor asks
/// for.
template <class Noise>
struct CorrectionNoise {
  static constexpr std::int64_t steps = std::int64_t{1} << 24;
  static constexpr int most_corrections = 255;
  Noise* noise;
  int corrections;

  template <sde::State S>
  void increment(const sde::Step& step, S& dw) const {
    const std::int64_t i = step.index / corrections, j = step.index % corrections;
    noise->increment(sde::Step{i + (j + 1) * steps, step.t, step.dt}, dw);
  }
};

}  // namespace detail

/// Before each step of the predictor the state is brought nearer to the density of its level by steps of Langevin
/// dynamics, x + e score + sqrt(2 e) z with e = 2 (r |z| / |score|)^2, r the signal-to-noise ratio
/// \cite song_2021_score (algorithm 4; algorithm 5, of the variance-preserving chain, has another factor alpha_i of
/// one step in e, which is near 1). Norms are those of a sample (a tensor's first axis counts samples, any
/// other state is one), so that a sample does not depend on the others of its batch. The corrections are not exact:
/// they leave a variance that is too large by about r^2 of itself, at the last level with noise; the order is that of
/// the predictor without them.
/// \tparam Predictor any sampler that keeps no history: `EulerAncestral<S>`, `ReverseStepper<sde::EulerMaruyama<S>>`
template <class Predictor>
class PredictorCorrector {
 public:
  using state_type = typename Predictor::state_type;
  using S = state_type;
  static_assert(Predictor::traits.history == 0, "PredictorCorrector: the predictor would look back past corrections");
  static constexpr SamplerTraits traits{.order = Predictor::traits.order,
                                        .stochastic = true,
                                        .adaptive = Predictor::traits.adaptive,
                                        .any_start = Predictor::traits.any_start};

  /// \throw ValueError for a ratio that is not above 0, and for less than 1 or more than 255 corrections
  explicit PredictorCorrector(Predictor predictor = Predictor(), const LangevinOptions& options = {})
      : predictor_(std::move(predictor)), options_(options) {
    if (options.corrections > detail::CorrectionNoise<void>::most_corrections)
      throw ValueError("corrector: expected at most 255 corrections, got " + std::to_string(options.corrections));
    (void)corrector(1);
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return predictor_.evaluations(levels) + options_.corrections * levels.steps();
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return predictor_.predicted_x0(); }

  void start(const NoiseLevels& levels) {
    detail::check_levels<PredictorCorrector>("predictor-corrector", levels);
    if (levels.steps() > detail::CorrectionNoise<void>::steps)
      throw ValueError("predictor-corrector: expected at most 2^24 steps, got " + std::to_string(levels.steps()));
    predictor_.start(levels);
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    const NoiseLevel& level = levels[i];
    const auto score = [&](const S& at, double, S& out) {
      denoiser(at, level, out);
      sde::update_elements(
          [&level](auto& e, const auto& from) {
            using T = std::remove_reference_t<decltype(e)>;
            e = (static_cast<T>(level.alpha) * e - from) / static_cast<T>(level.sigma * level.sigma);
          },
          out, at);
    };
    const detail::CorrectionNoise<Noise> its_noise{&noise, options_.corrections};
    corrector(detail::sample_extents(x).samples)(level, score, x, level.time, i, its_noise);
    predictor_.step(denoiser, x, levels, i, noise);
  }

 private:
  using Corrector = sde::LangevinCorrector<S>;

  Corrector& corrector(std::int64_t samples) {
    if (!corrector_ || corrector_->config().samples != samples)
      corrector_.emplace(sde::CorrectorConfig{options_.signal_to_noise, options_.corrections, samples});
    return *corrector_;
  }

  Predictor predictor_;
  LangevinOptions options_;
  std::optional<Corrector> corrector_;
};

}  // namespace easy_diffusion::diffusion
