/// \file
/// Predictor-corrector sampling: between the steps of a reverse-time equation, Langevin steps at a fixed time.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// How long a correction's step is. r is the signal-to-noise ratio, std the deviation of the noise in the state.
enum class LangevinRule {
  deviation,  ///< 2 (r std)^2, which does not look at the state: see `LangevinCorrector`
  song_2021   ///< 2 (r |z| / |score|)^2, each sample's own norms \cite song_2021_score (algorithms 4 and 5)
};

inline constexpr std::array<std::string_view, 2> langevin_rule_names = {"deviation", "song_2021"};

/// \throw ValueError naming what there is
[[nodiscard]] inline LangevinRule langevin_rule_by_name(std::string_view name) {
  for (std::size_t i = 0; i < langevin_rule_names.size(); ++i)
    if (langevin_rule_names[i] == name) return static_cast<LangevinRule>(i);
  throw ValueError("Langevin rule: expected one of deviation, song_2021, got '" + std::string(name) + "'");
}

struct CorrectorConfig {
  double signal_to_noise = 0.16;
  int corrections = 1;       ///< Langevin steps at each time
  std::int64_t samples = 1;  ///< the state holds so many samples, one behind the other, of equal size
  LangevinRule rule = LangevinRule::deviation;
};

/// Langevin dynamics at a fixed time: x <- x + e score + sqrt(2 e) z, z standard normal.
///
/// e = 2 (r std(t))^2. Where the data is a point, of deviation 0, the noise n = (x - alpha x0) / std has score(x) = -n / std,
/// and a correction is n <- (1 - 2 r^2) n + 2 r z, in any number of dimensions. It comes to rest at a variance of
/// 1 / (1 - r^2): too large by r^2 of itself (0.026 at r = 0.16), which is all that is wrong. Data that is wider makes the
/// score less steep, and the excess smaller; it takes more corrections then to forget where x was. As r, e and std do not
/// depend on x, more corrections always help. Annealed Langevin dynamics \cite song_2019_generative has this step.
///
/// `LangevinRule::song_2021` sets e to 2 (r |z| / |score|)^2, with the norms of each sample, where the paper's program takes
/// means of the norms over a batch, so that a sample does not depend on the others. The chain then has another law than p, in
/// d dimensions: with e looking at x, the density that rests is in the limit of small r the one proportional to
/// p^(d / (d + 2)) |grad log p|^2 (d + 2 over d because e looks at z too). Where |score| is small, steps are long without a
/// bound. A standard normal has at r = 0.16 a variance of 20.6, 2.57, 1.60, 1.085 and 1.027 in 2, 4, 8, 64 and 784 dimensions,
/// however many corrections. A sample whose score is zero rests.
template <State S>
class LangevinCorrector {
 public:
  /// \throw ValueError for a ratio that is not above 0, or less than one correction or sample
  explicit LangevinCorrector(const CorrectorConfig& config) : config_(config) {
    if (!(config.signal_to_noise > 0) || !std::isfinite(config.signal_to_noise))
      throw ValueError("corrector: signal to noise: expected a finite number above 0, got " +
                       detail::shown(config.signal_to_noise));
    if (config.corrections < 1 || config.samples < 1)
      throw ValueError("corrector: expected at least 1 correction and 1 sample, got " +
                       std::to_string(config.corrections) + " and " + std::to_string(config.samples));
    lengths_.resize(static_cast<std::size_t>(config.samples));
    noise_norms_.resize(lengths_.size());
  }

  [[nodiscard]] const CorrectorConfig& config() const noexcept { return config_; }

  /// \param process knows `marginal_std(t)`
  /// \param score   `score(x, t, out)`
  /// \param step    the predictor's that comes: corrections are made at its `t`, and share its interval as their noise's. The
  ///                noise of correction k of n has the index n step.index + k
  /// \throw ShapeError where the elements do not divide into the samples; and as the process, the score and the noise
  template <class Process, class Score, class Noise>
  void operator()(const Process& process, const Score& score, S& x, const Step& step, Noise&& noise) {
    const std::int64_t elements = element_count(x);
    if (elements % config_.samples != 0)
      throw ShapeError("corrector: " + std::to_string(elements) + " elements do not make " +
                       std::to_string(config_.samples) + " samples");
    each_ = elements / config_.samples;
    make_room(score_, x);
    make_room(z_, x);
    if (config_.rule == LangevinRule::deviation) {
      const double reach = config_.signal_to_noise * process.marginal_std(step.t);
      lengths_.assign(lengths_.size(), 2 * reach * reach);
    }
    const double dt = step.dt / config_.corrections;
    for (int k = 0; k < config_.corrections; ++k) {
      score(x, step.t, score_);
      standard_increment(noise, Step{step.index * config_.corrections + k, step.t + k * dt, dt}, z_);
      if (config_.rule == LangevinRule::song_2021) measure();
      std::int64_t e = 0;
      for_each_element(
          [&](auto& value, const auto& s, const auto& z) {
            using T = std::remove_reference_t<decltype(value)>;
            const double h = lengths_[static_cast<std::size_t>(e++ / each_)];
            const T moved = detail::multiply_add(static_cast<T>(h), s, value);
            value = detail::multiply_add(static_cast<T>(std::sqrt(2 * h)), z, moved);
          },
          x, score_, z_);
    }
  }

  /// Corrections by themselves, at no step of a predictor: as step `index`.
  /// \throw ValueError for a noise that follows time, as there is none that it could be of; and as above
  template <class Process, class Score, class Noise>
  void operator()(const Process& process, const Score& score, S& x, double t, std::int64_t index, Noise&& noise) {
    if (follows_time(noise))
      throw ValueError("corrector: expected a noise that goes by indices, as BrownianNoise, where no step is given");
    (*this)(process, score, x, Step{index, t, 1}, noise);
  }

 private:
  /// The lengths of `LangevinRule::song_2021`.
  void measure() {
    squared_norms(score_, lengths_);
    squared_norms(z_, noise_norms_);
    const double r = config_.signal_to_noise;
    for (std::size_t i = 0; i < lengths_.size(); ++i)
      lengths_[i] = lengths_[i] > 0 ? 2 * r * r * noise_norms_[i] / lengths_[i] : 0;
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
  std::vector<double> lengths_, noise_norms_;  // of each sample
};

/// The same by the name of its source \cite song_2019_generative, as far as it keeps to its rule.
template <State S>
using AnnealedLangevinCorrector = LangevinCorrector<S>;

/// Samples along the reverse-time equation, with corrections at the start of every step: at each time of the grid the
/// corrector brings x nearer to its marginal, then the stepper moves it on \cite song_2021_score (algorithm 1).
/// \param system          `reverse(process, score)`
/// \param corrector       `LangevinCorrector`
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
    corrector(system.process(), system.score(), at, step, corrector_noise);
    method.step(system, at, step, predictor_noise);
  };
  const NoNoise still;
  return detail::walk(
      stepper, x, grid, options,
      [&](Method& method, S& at, const Step& step) { correct_and_step(method, at, step, noise); },
      [&](Method& method, S& at, const Step& step) { correct_and_step(method, at, step, still); }, observers...);
}

}  // namespace easy_diffusion::sde
