/// \file
/// Noise schedules of the discrete chain x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon
/// \cite ho_2020_ddpm. All tables are in double.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/grid.hpp"

namespace easy_diffusion::diffusion {

/// beta_t of timesteps t = 0 ... T - 1 and what follows from it. Timestep 0 is the cleanest that has noise; before it lies the
/// clean picture, to which time -1 belongs.
class Schedule {
 public:
  static constexpr std::int64_t default_steps = 1000;

  /// beta rises linearly \cite ho_2020_ddpm. \throw ValueError for steps < 1 or betas outside (0, 1)
  [[nodiscard]] static Schedule linear(std::int64_t steps = default_steps, double first = 1e-4, double last = 0.02) {
    return of(steps, first, last, [](double part, double a, double b) { return a + (b - a) * part; });
  }

  /// The square root of beta rises linearly: "quad" of DDIM \cite song_2020_ddim, "scaled linear" of latent diffusion
  /// \cite rombach_2021_latent. \throw as `linear`
  [[nodiscard]] static Schedule scaled_linear(std::int64_t steps = default_steps, double first = 1e-4,
                                              double last = 0.02) {
    return of(steps, first, last, [](double part, double a, double b) {
      const double root = std::sqrt(a) + (std::sqrt(b) - std::sqrt(a)) * part;
      return root * root;
    });
  }

  /// beta is `last` everywhere. \throw as `linear`
  [[nodiscard]] static Schedule constant(std::int64_t steps = default_steps, double last = 0.02) {
    return of(steps, last, last, [](double, double, double b) { return b; });
  }

  /// beta_t = 1 / (T - t): the last state is pure noise \cite sohl_dickstein_2015_thermodynamics. \throw as `linear`
  [[nodiscard]] static Schedule jsd(std::int64_t steps = default_steps) {
    check_steps(steps);
    std::vector<double> betas;
    for (std::int64_t t = 0; t < steps; ++t) betas.push_back(1 / static_cast<double>(steps - t));
    return from_betas(std::move(betas));
  }

  /// beta goes from `first` to `last` as the logistic function from -6 to 6. \throw as `linear`
  [[nodiscard]] static Schedule sigmoid(std::int64_t steps = default_steps, double first = 1e-4, double last = 0.02) {
    return of(steps, first, last,
              [](double part, double a, double b) { return (b - a) / (1 + std::exp(6 - 12 * part)) + a; });
  }

  /// alpha_bar falls as a squared cosine, of the time shifted by `offset`; no beta above `largest_beta` \cite nichol_2021_improved.
  /// \throw ValueError for steps < 1, a negative offset or a largest beta outside (0, 1)
  [[nodiscard]] static Schedule cosine(std::int64_t steps = default_steps, double offset = 0.008,
                                       double largest_beta = 0.999) {
    check_steps(steps);
    if (!(offset >= 0) || !(largest_beta > 0 && largest_beta < 1))
      throw ValueError("cosine schedule: expected an offset of at least 0 and a largest beta between 0 and 1, got " +
                       sde::detail::shown(offset) + " and " + sde::detail::shown(largest_beta));
    const auto level = [&](std::int64_t t) {
      const double part = static_cast<double>(t) / static_cast<double>(steps);
      const double c = std::cos((part + offset) / (1 + offset) * std::numbers::pi / 2);
      return c * c;
    };
    std::vector<double> betas;
    for (std::int64_t t = 0; t < steps; ++t)
      betas.push_back(std::min(1 - level(t + 1) / level(t), largest_beta));
    return from_betas(std::move(betas));
  }

  /// The given betas. \throw ValueError for none, or one outside (0, 1); the last may be 1; and where alpha_bar is too small
  /// for a double before the end, as with the betas of 1000 timesteps in 100 000
  [[nodiscard]] static Schedule from_betas(std::vector<double> betas) {
    if (betas.empty()) throw ValueError("schedule: expected at least one beta, got none");
    std::vector<double> alpha_bars;
    double product = 1;
    for (std::size_t t = 0; t < betas.size(); ++t) {
      const bool last = t + 1 == betas.size();
      if (!(betas[t] > 0 && (betas[t] < 1 || (last && betas[t] == 1))))
        throw ValueError("schedule: expected betas between 0 and 1, got " + sde::detail::shown(betas[t]) +
                         " at timestep " + std::to_string(t));
      product *= 1 - betas[t];
      if (product < std::numeric_limits<double>::min() && !(last && betas[t] == 1))
        throw ValueError("schedule: nothing is left of a picture at timestep " + std::to_string(t) + " of " +
                         std::to_string(betas.size()) + ", whose alpha_bar is below " +
                         sde::detail::shown(std::numeric_limits<double>::min()) +
                         ": so many timesteps need smaller betas (of a schedule for 1000, times 1000 / T)");
      alpha_bars.push_back(product);
    }
    return Schedule(std::move(betas), std::move(alpha_bars));
  }

  /// By name: linear, scaled_linear, quad, const, jsd, sigmoid, cosine, with the betas of `linear`.
  /// \throw ValueError naming what there is
  [[nodiscard]] static Schedule by_name(std::string_view name, std::int64_t steps = default_steps) {
    if (name == "linear") return linear(steps);
    if (name == "scaled_linear" || name == "quad") return scaled_linear(steps);
    if (name == "const") return constant(steps);
    if (name == "jsd") return jsd(steps);
    if (name == "sigmoid") return sigmoid(steps);
    if (name == "cosine") return cosine(steps);
    std::string known;
    for (const std::string_view each : names) known += (known.empty() ? "" : ", ") + std::string(each);
    throw ValueError("schedule: expected one of " + known + ", got '" + std::string(name) + "'");
  }
  static constexpr std::array<std::string_view, 7> names = {"linear", "scaled_linear", "quad", "const",
                                                            "jsd",    "sigmoid",       "cosine"};

  /// The square root of alpha_bar shifted and scaled so that the last state is pure noise and the first stays as it is
  /// \cite lin_2023_flaws. A model of it cannot predict epsilon.
  /// \throw ValueError for a single timestep
  [[nodiscard]] Schedule with_zero_terminal_snr() const {
    if (steps() < 2) throw ValueError("zero terminal SNR: expected at least two timesteps, got " + std::to_string(steps()));
    const double first = std::sqrt(alpha_bars_.front()), last = std::sqrt(alpha_bars_.back());
    std::vector<double> alpha_bars;
    for (const double a : alpha_bars_) {
      const double root = (std::sqrt(a) - last) * first / (first - last);
      alpha_bars.push_back(root * root);
    }
    alpha_bars.front() = alpha_bars_.front();
    alpha_bars.back() = 0;
    std::vector<double> betas;
    double before = 1;
    for (const double a : alpha_bars) {
      betas.push_back(1 - a / before);
      before = a;
    }
    return Schedule(std::move(betas), std::move(alpha_bars));
  }

  /// T.
  [[nodiscard]] std::int64_t steps() const noexcept { return static_cast<std::int64_t>(betas_.size()); }
  /// \pre 0 <= t < steps()
  [[nodiscard]] double beta(std::int64_t t) const noexcept { return betas_[static_cast<std::size_t>(t)]; }
  /// Product of 1 - beta up to t; 1 for t = -1. \pre -1 <= t < steps()
  [[nodiscard]] double alpha_bar(std::int64_t t) const noexcept {
    return t < 0 ? 1 : alpha_bars_[static_cast<std::size_t>(t)];
  }

  /// Level of a whole timestep; t = -1 is the clean picture. \throw ValueError unless -1 <= t < steps()
  [[nodiscard]] NoiseLevel level(std::int64_t t) const {
    if (t < -1 || t >= steps())
      throw ValueError("schedule: timestep: expected -1 to " + std::to_string(steps() - 1) + ", got " +
                       std::to_string(t));
    const double a = alpha_bar(t);
    return {static_cast<double>(t), std::sqrt(a), std::sqrt(1 - a)};
  }

  /// Level between timesteps: sigma / alpha is interpolated in its logarithm.
  /// \throw ValueError unless 0 <= t <= steps() - 1, and beyond the last timestep that is not pure noise
  [[nodiscard]] NoiseLevel level_at(double t) const {
    if (!(t >= 0 && t <= static_cast<double>(steps() - 1)))
      throw ValueError("schedule: time: expected 0 to " + std::to_string(steps() - 1) + ", got " +
                       sde::detail::shown(t));
    const auto low = static_cast<std::int64_t>(std::floor(t));
    const double part = t - static_cast<double>(low);
    if (part == 0) return level(low);
    const double from = log_noise(low), to = log_noise(low + 1);
    if (!std::isfinite(to))
      throw ValueError("schedule: time " + sde::detail::shown(t) + " lies between a level and pure noise");
    return level_of(t, std::exp(from + part * (to - from)));
  }

  /// The level whose sigma / alpha is the given one, with its time, the inverse of `level_at`.
  /// \throw ValueError unless it lies between those of the first and the last timestep
  [[nodiscard]] NoiseLevel level_with_noise(double noise_to_signal) const {
    const double wanted = std::log(noise_to_signal);
    const double lowest = log_noise(0), highest = log_noise(steps() - 1);
    const double slack = 1e-12 * (1 + std::abs(wanted));  // of exp and log
    if (!(wanted >= lowest - slack && wanted <= highest + slack))
      throw ValueError("schedule: noise-to-signal ratio: expected " + sde::detail::shown(std::exp(lowest)) + " to " +
                       sde::detail::shown(std::exp(highest)) + ", got " + sde::detail::shown(noise_to_signal));
    std::int64_t low = 0, high = steps() - 1;  // log_noise(low) <= wanted <= log_noise(high)
    if (wanted <= lowest) return level(low);
    if (wanted >= highest) return level(high);
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      (log_noise(middle) <= wanted ? low : high) = middle;
    }
    const double from = log_noise(low), to = log_noise(high);
    if (!std::isfinite(to)) {
      if (wanted <= from + slack) return level(low);
      throw ValueError("schedule: no time between a level and pure noise has noise-to-signal ratio " +
                       sde::detail::shown(noise_to_signal));
    }
    return level_of(static_cast<double>(low) + (wanted - from) / (to - from), noise_to_signal);
  }

 private:
  Schedule(std::vector<double> betas, std::vector<double> alpha_bars)
      : betas_(std::move(betas)), alpha_bars_(std::move(alpha_bars)) {}

  static void check_steps(std::int64_t steps) {
    if (steps < 1) throw ValueError("schedule: steps: expected at least 1, got " + std::to_string(steps));
  }

  template <class F>
  static Schedule of(std::int64_t steps, double first, double last, F&& beta) {
    check_steps(steps);
    std::vector<double> betas;
    for (std::int64_t t = 0; t < steps; ++t)
      betas.push_back(beta(steps > 1 ? static_cast<double>(t) / static_cast<double>(steps - 1) : 0.0, first, last));
    return from_betas(std::move(betas));
  }

  static NoiseLevel level_of(double t, double noise_to_signal) {
    const double alpha = 1 / std::sqrt(1 + noise_to_signal * noise_to_signal);
    return {t, alpha, noise_to_signal * alpha};
  }

  [[nodiscard]] double log_noise(std::int64_t t) const { return -level(t).lambda(); }

  std::vector<double> betas_, alpha_bars_;
};

}  // namespace easy_diffusion::diffusion
