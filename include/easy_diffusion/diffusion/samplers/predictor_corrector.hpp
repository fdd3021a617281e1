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
#include "easy_diffusion/diffusion/detail/step_draws.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/noise_step.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

struct LangevinOptions {
  double signal_to_noise = 0.16;
  int corrections = 1;  ///< at each level
  sde::LangevinRule rule = sde::LangevinRule::deviation;
};

namespace detail {

/// Noise of the corrections of a step: number k of them, asked for as index steps * corrections + k, is draw k + 1.
template <class Noise>
struct CorrectionNoise {
  static constexpr int most = 255;
  Noise* noise;
  sde::Step step;
  int corrections;

  template <sde::State S>
  void standard_increment(const sde::Step& correction, S& z) const {
    const std::int64_t k = correction.index % corrections;
    const auto index = [k](std::int64_t i) { return i + (k + 1) * draw_stride; };
    StepDraw<Noise, decltype(index)>(*noise, k, corrections + 1, index).standard_increment(step, z);
  }
};

/// A level as the process that a corrector asks for the deviation of the noise.
struct LevelDeviation {
  double sigma;
  [[nodiscard]] double marginal_std(double) const noexcept { return sigma; }
};

}  // namespace detail

/// Before each step of the predictor the state is brought nearer to the density of its level by steps of Langevin
/// dynamics, x + e score + sqrt(2 e) z \cite song_2021_score. e = 2 (r sigma)^2, r the signal-to-noise ratio, sigma the level's
/// own, in the units of x: `sde::LangevinCorrector` has the derivation. So it is whatever alpha is, as x0 does not
/// enter there: of x / alpha, whose noise is sigma / alpha, it is the same step. `sde::LangevinRule::song_2021` is the paper's
/// rule, whose law is another; of the variance-preserving chain algorithm 5 has another factor alpha_i of one step in e, near 1.
/// A tensor's first axis counts samples; any other state is one.
///
/// The corrections are not exact: they leave a variance that is too large by at most r^2 of itself, at the last level with
/// noise; the order is that of the predictor without them. Of a source that goes by indices correction k of step i
/// has the noise of i + (k + 1) 2^24; of one that follows time each has its part of the step, and the predictor the last, so
/// that here a picture does depend on the number of steps.
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
    if (options.corrections > detail::CorrectionNoise<void>::most)
      throw ValueError("corrector: expected at most 255 corrections, got " + std::to_string(options.corrections));
    (void)corrector(1);
  }

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return predictor_.evaluations(levels) + options_.corrections * levels.steps();
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return predictor_.predicted_x0(); }

  void start(const NoiseLevels& levels) {
    detail::check_levels<PredictorCorrector>("predictor-corrector", levels);
    if (levels.steps() > detail::draw_stride)
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
            e = sde::detail::multiply_add(static_cast<T>(level.alpha), e, -from) / static_cast<T>(level.sigma * level.sigma);
          },
          out, at);
    };
    const sde::Step its_step = noise_step(levels, i);
    const detail::CorrectionNoise<Noise> correction_noise{&noise, its_step, options_.corrections};
    corrector(detail::sample_extents(x).samples)(detail::LevelDeviation{level.sigma}, score, x, its_step,
                                                 correction_noise);
    detail::StepDraw predictor_noise(noise, options_.corrections, options_.corrections + 1,
                                     [](std::int64_t index) { return index; });
    predictor_.step(denoiser, x, levels, i, predictor_noise);
  }

 private:
  using Corrector = sde::LangevinCorrector<S>;

  Corrector& corrector(std::int64_t samples) {
    if (!corrector_ || corrector_->config().samples != samples)
      corrector_.emplace(
          sde::CorrectorConfig{options_.signal_to_noise, options_.corrections, samples, options_.rule});
    return *corrector_;
  }

  Predictor predictor_;
  LangevinOptions options_;
  std::optional<Corrector> corrector_;
};

}  // namespace easy_diffusion::diffusion
