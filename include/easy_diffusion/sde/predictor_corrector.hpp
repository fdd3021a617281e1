/// \file
/// Predictor-corrector sampling: between the steps of a reverse-time equation, Langevin steps at a fixed time.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

struct CorrectorConfig {
  double signal_to_noise = 0.16;
  int corrections = 1;       ///< Langevin steps at each time
  std::int64_t samples = 1;  ///< the state holds so many samples, one behind the other, of equal size
};

namespace detail {

/// What both correctors share: x <- x + e score + sqrt(2 e) z, with a length e for each sample.
template <State S>
class LangevinSteps {
 public:
  explicit LangevinSteps(const CorrectorConfig& config) : config_(config) {
    if (!(config.signal_to_noise > 0) || !std::isfinite(config.signal_to_noise))
      throw ValueError("corrector: signal to noise: expected a finite number above 0, got " +
                       shown(config.signal_to_noise));
    if (config.corrections < 1 || config.samples < 1)
      throw ValueError("corrector: expected at least 1 correction and 1 sample, got " +
                       std::to_string(config.corrections) + " and " + std::to_string(config.samples));
    lengths_.resize(static_cast<std::size_t>(config.samples));
  }

  [[nodiscard]] const CorrectorConfig& config() const noexcept { return config_; }

 protected:
  /// `length(sample)` is asked once the score and z are known.
  template <class Score, class Noise, class Length>
  void correct(const Score& score, S& x, double t, std::int64_t index, Noise& noise, Length&& length) {
    const std::int64_t elements = element_count(x);
    if (elements % config_.samples != 0)
      throw ShapeError("corrector: " + std::to_string(elements) + " elements do not make " +
                       std::to_string(config_.samples) + " samples");
    each_ = elements / config_.samples;
    make_room(score_, x);
    make_room(z_, x);
    for (int i = 0; i < config_.corrections; ++i) {
      score(x, t, score_);
      noise.increment({index * config_.corrections + i, t, 1.0}, z_);
      length(lengths_);
      std::int64_t e = 0;
      for_each_element(
          [&](auto& value, const auto& s, const auto& z) {
            using T = std::remove_reference_t<decltype(value)>;
            const double h = lengths_[static_cast<std::size_t>(e++ / each_)];
            const T moved = value + static_cast<T>(h) * s;
            value = moved + static_cast<T>(std::sqrt(2 * h)) * z;
          },
          x, score_, z_);
    }
  }

  /// Squared norm of each sample, in double and in order.
  void squared_norms(const S& x, std::vector<double>& out) const {
    out.assign(out.size(), 0.0);
    std::int64_t e = 0;
    for_each_element(
        [&](const auto& value) {
          const double v = static_cast<double>(value);
          out[static_cast<std::size_t>(e++ / each_)] += v * v;
        },
        x);
  }

  CorrectorConfig config_;
  S score_{}, z_{};
  std::int64_t each_ = 1;
  std::vector<double> lengths_;
};

}  // namespace detail

/// Langevin dynamics whose step is 2 (r |z| / |score|)^2 \cite song_2021_score (algorithm 4), r the signal-to-noise ratio. Norms
/// are those of a sample, not means over the batch: a sample does not depend on the others.
template <State S>
class LangevinCorrector : public detail::LangevinSteps<S> {
 public:
  /// \throw ValueError for a ratio that is not above 0, or less than one correction or sample
  explicit LangevinCorrector(const CorrectorConfig& config)
      : detail::LangevinSteps<S>(config), noise_norms_(static_cast<std::size_t>(config.samples)) {}

  /// \param index of the time in the grid, part of the noise's address
  /// \throw ShapeError where the elements do not divide into the samples
  template <class Process, class Score, class Noise>
  void operator()(const Process&, const Score& score, S& x, double t, std::int64_t index, Noise&& noise) {
    this->correct(score, x, t, index, noise, [this](std::vector<double>& lengths) {
      this->squared_norms(this->score_, lengths);
      this->squared_norms(this->z_, noise_norms_);
      const double r = this->config_.signal_to_noise;
      // A score of zero gives no direction and no scale: such a sample rests.
      for (std::size_t i = 0; i < lengths.size(); ++i)
        lengths[i] = lengths[i] > 0 ? 2 * r * r * noise_norms_[i] / lengths[i] : 0;
    });
  }

 private:
  std::vector<double> noise_norms_;
};

/// Annealed Langevin dynamics: the step is 2 (r std(t))^2 \cite song_2019_generative, std the marginal deviation of the process.
template <State S>
class AnnealedLangevinCorrector : public detail::LangevinSteps<S> {
 public:
  /// \throw ValueError as `LangevinCorrector`
  explicit AnnealedLangevinCorrector(const CorrectorConfig& config) : detail::LangevinSteps<S>(config) {}

  template <class Process, class Score, class Noise>
  void operator()(const Process& process, const Score& score, S& x, double t, std::int64_t index, Noise&& noise) {
    const double step = this->config_.signal_to_noise * process.marginal_std(t);
    this->correct(score, x, t, index, noise, [step](std::vector<double>& lengths) {
      for (double& length : lengths) length = 2 * step * step;
    });
  }
};

/// Samples along the reverse-time equation, with corrections at the start of every step: at each time of the grid the
/// corrector brings x nearer to its marginal, then the stepper moves it on \cite song_2021_score (algorithm 1).
/// \param system          `reverse(process, score)`
/// \param corrector       `LangevinCorrector` or `AnnealedLangevinCorrector`
/// \param noise           of the predictor
/// \param corrector_noise of another stream, such as `BrownianNoise{.seed = seed, .stream = streams::corrector}`
/// \param options         `mean_of_last_step` leaves out the predictor's last noise
/// \throw what `integrate` and the corrector throw
template <class Stepper, class System, State S, class Corrector, class Noise, class CorrectorNoise, class... Observers>
IntegrateResult predictor_corrector(Stepper&& stepper, const System& system, S& x, const TimeGrid& grid,
                                    Corrector&& corrector, Noise&& noise, CorrectorNoise&& corrector_noise,
                                    const IntegrateOptions& options, Observers&&... observers) {
  using Method = std::remove_cvref_t<Stepper>;
  expect_fit<Method, System>();
  const auto correct_and_step = [&](Method& method, S& at, const Step& step, auto& predictor_noise) {
    corrector(system.process(), system.score(), at, step.t, step.index, corrector_noise);
    method.step(system, at, step, predictor_noise);
  };
  const NoNoise still;
  return detail::walk(
      stepper, x, grid, options,
      [&](Method& method, S& at, const Step& step) { correct_and_step(method, at, step, noise); },
      [&](Method& method, S& at, const Step& step) { correct_and_step(method, at, step, still); }, observers...);
}

}  // namespace easy_diffusion::sde
