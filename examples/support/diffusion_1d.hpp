/// \file
/// The two one-dimensional experiments: a point mass spreads by dx = sigma dW, and the spread runs back along the
/// reverse-time equation with the exact score. Programs draw them, tests check them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"

namespace easy_diffusion::examples {

/// Sizes of an experiment. The listing in the original's description has these values.
struct Diffusion1d {
  std::int64_t paths = 1'000'000;
  std::int64_t steps = 100;
  double dt = 0.1;
  double sigma = 1;
  double reverse_from = 11;  ///< T, where the reversal starts
  std::uint64_t seed = 0;
  bool as_written = false;  ///< the formulas of the listing, with its slips
};

/// What should and what did come out after one number of steps.
struct VarianceRow {
  std::int64_t step = 0;
  double t = 0;               ///< time since the start of the run
  double measured = 0;        ///< unbiased variance over the paths
  double discrete = 0;        ///< exact variance of the scheme: Euler's own recursion
  double continuous = 0;      ///< exact variance of the equation
  double standard_error = 0;  ///< of `measured` around `discrete`; the marginals are normal

  [[nodiscard]] double deviation() const {  ///< in standard errors
    return standard_error > 0 ? (measured - discrete) / standard_error : measured - discrete;
  }
  [[nodiscard]] double gap() const { return discrete - continuous; }
};

/// The forward step as the listing has it: its noise is scaled by sqrt(t) where the equation says sqrt(dt).
class ForwardAsWritten {
 public:
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  static constexpr bool zero_drift = true;
  ForwardAsWritten(double sigma, double dt) : sigma_(sigma), dt_(dt) {}
  [[nodiscard]] double diffusion(double t) const { return sigma_ * std::sqrt(t / dt_); }

 private:
  double sigma_, dt_;
};

/// Score of a point mass at 0 that has spread for the time tau: -x / (sigma^2 tau).
struct PointMassScore {
  double sigma = 1;
  template <sde::State S>
  void operator()(const S& x, double tau, S& out) const {
    sde::update_elements(
        [factor = -1 / (sigma * sigma * tau)](const auto& e, auto& s) {
          s = static_cast<std::remove_reference_t<decltype(s)>>(factor) * e;
        },
        x, out);
  }
};

/// The forward run of `paths` paths from 0. Path i is the same one for any number of paths.
/// \param observers as `sde::integrate` takes them; the state is a Tensor<float> [paths]
template <class... Observers>
void run_forward(const Diffusion1d& setup, std::int64_t paths, Observers&&... observers) {
  Tensor<float> x({paths});
  const auto grid = sde::TimeGrid::uniform(0, setup.dt * static_cast<double>(setup.steps), setup.steps);
  const sde::BrownianNoise noise{.seed = setup.seed};
  sde::EulerMaruyama<Tensor<float>> stepper;
  if (setup.as_written) {
    sde::integrate(stepper, ForwardAsWritten(setup.sigma, setup.dt), x, grid, noise, observers...);
  } else {
    sde::integrate(stepper, sde::BrownianMotion(setup.sigma), x, grid, noise, observers...);
  }
}

/// Standard deviation of the start of the reversal: that of the marginal, sigma sqrt(T); the listing has T.
[[nodiscard]] inline double reverse_start_std(const Diffusion1d& setup) {
  return setup.as_written ? setup.reverse_from : setup.sigma * std::sqrt(setup.reverse_from);
}

/// The reverse run, from process time T down to T - steps dt. Observers get the process's time.
/// \throw ValueError where it would reach the point mass, at which the score has no value
template <class... Observers>
void run_reverse(const Diffusion1d& setup, std::int64_t paths, Observers&&... observers) {
  const double end = setup.reverse_from - setup.dt * static_cast<double>(setup.steps);
  if (!(end > 0))
    throw ValueError("--from: expected a time above dt * steps = " +
                     sde::detail::shown(setup.dt * static_cast<double>(setup.steps)) +
                     ", as the score is singular at 0, got " + sde::detail::shown(setup.reverse_from));
  Tensor<float> x({paths});
  sde::draw_normal(x, reverse_start_std(setup), {setup.seed, streams::initial_state, 0});
  const auto grid = sde::TimeGrid::uniform(setup.reverse_from, end, setup.steps);
  const auto system = sde::reverse(sde::BrownianMotion(setup.sigma), PointMassScore{setup.sigma});
  sde::EulerMaruyama<Tensor<float>> stepper;
  sde::integrate(stepper, system, x, grid, sde::BrownianNoise{.seed = setup.seed}, observers...);
}

/// Exact variances of the forward run after 0 ... steps steps.
[[nodiscard]] inline std::vector<double> forward_variances(const Diffusion1d& setup) {
  std::vector<double> v(static_cast<std::size_t>(setup.steps) + 1);
  for (std::size_t i = 0; i < v.size(); ++i) {
    const auto n = static_cast<double>(i);
    // The listing adds sigma^2 t_i at step i.
    v[i] = setup.sigma * setup.sigma * setup.dt * (setup.as_written ? 0.5 * n * (n - 1) : n);
  }
  return v;
}

/// Exact variances of Euler's reversal: v <- v (1 - dt/tau)^2 + sigma^2 dt, tau = T - t.
[[nodiscard]] inline std::vector<double> reverse_variances(const Diffusion1d& setup) {
  std::vector<double> v(static_cast<std::size_t>(setup.steps) + 1);
  v[0] = reverse_start_std(setup) * reverse_start_std(setup);
  for (std::size_t i = 0; i + 1 < v.size(); ++i) {
    const double tau = setup.reverse_from - setup.dt * static_cast<double>(i);
    const double shrink = 1 - setup.dt / tau;
    v[i + 1] = v[i] * shrink * shrink + setup.sigma * setup.sigma * setup.dt;
  }
  return v;
}

/// Variance of the reverse equation itself at a time since its start: sigma^2 tau, and what is left of a start that had
/// another variance.
[[nodiscard]] inline double reverse_continuous_variance(const Diffusion1d& setup, double t) {
  const double v0 = reverse_start_std(setup) * reverse_start_std(setup);
  const double marginal = setup.sigma * setup.sigma * setup.reverse_from;
  const double share = 1 - t / setup.reverse_from;
  return setup.sigma * setup.sigma * (setup.reverse_from - t) + (v0 - marginal) * share * share;
}

namespace detail {

/// Rows from the statistics of a run; the start, where a point mass has no variance, is left out.
template <class Continuous>
std::vector<VarianceRow> variance_rows(const Diffusion1d& setup, const sde::StatisticsEvery& statistics,
                                       const std::vector<double>& discrete, Continuous continuous) {
  std::vector<VarianceRow> rows;
  for (const auto& row : statistics.rows()) {
    if (row.step == 0) continue;
    const double t = setup.dt * static_cast<double>(row.step);
    const double v = discrete[static_cast<std::size_t>(row.step)];
    // A normal sample's variance has the standard error v sqrt(2 / (n - 1)).
    const auto n = static_cast<double>(row.moments.count);
    rows.push_back({row.step, t, row.moments.variance(), v, continuous(t), n > 1 ? v * std::sqrt(2 / (n - 1)) : 0});
  }
  return rows;
}

}  // namespace detail

/// The forward run with the variance at every `every`-th step; further observers look on.
template <class... Observers>
[[nodiscard]] std::vector<VarianceRow> forward_experiment(const Diffusion1d& setup, std::int64_t every,
                                                          Observers&&... observers) {
  sde::StatisticsEvery statistics(every);
  run_forward(setup, setup.paths, statistics, observers...);
  const std::vector<double> discrete = forward_variances(setup);
  return detail::variance_rows(setup, statistics, discrete,
                               [&setup](double t) { return setup.sigma * setup.sigma * t; });
}

/// The reverse run, likewise.
template <class... Observers>
[[nodiscard]] std::vector<VarianceRow> reverse_experiment(const Diffusion1d& setup, std::int64_t every,
                                                          Observers&&... observers) {
  sde::StatisticsEvery statistics(every);
  run_reverse(setup, setup.paths, statistics, observers...);
  return detail::variance_rows(setup, statistics, reverse_variances(setup),
                               [&setup](double t) { return reverse_continuous_variance(setup, t); });
}

/// An observer that counts, at the start and after every k-th step, how many paths are in which bin of
/// [-reach, reach].
class DensityObserver {
 public:
  DensityObserver(double reach, std::size_t bins, std::int64_t every = 1) : reach_(reach), bins_(bins), every_(every) {}

  void operator()(std::int64_t step, double, const Tensor<float>& x) {
    if (step % every_ != 0) return;
    std::vector<std::uint32_t> column(bins_);
    std::mutex mutex;
    const float scale = static_cast<float>(static_cast<double>(bins_) / (2 * reach_));
    const float shift = static_cast<float>(static_cast<double>(bins_) / 2);
    const float limit = static_cast<float>(bins_);
    parallel_for(0, x.size(), 65536, [&](std::int64_t first, std::int64_t last) {
      std::vector<std::uint32_t> part(bins_);
      for (std::int64_t i = first; i < last; ++i) {
        const float place = x[i] * scale + shift;
        if (place >= 0 && place < limit) ++part[static_cast<std::size_t>(place)];
      }
      // Whole numbers: the order of the parts makes no difference.
      const std::lock_guard lock(mutex);
      for (std::size_t b = 0; b < bins_; ++b) column[b] += part[b];
    });
    const double unit = static_cast<double>(bins_) / (2 * reach_ * static_cast<double>(x.size()));
    for (const std::uint32_t count : column) values_.push_back(count * unit);
    ++columns_;
  }

  [[nodiscard]] double bin_middle(std::size_t b) const {
    return reach_ * ((2 * static_cast<double>(b) + 1) / static_cast<double>(bins_) - 1);
  }
  [[nodiscard]] std::int64_t every() const noexcept { return every_; }
  [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
  [[nodiscard]] std::size_t rows() const noexcept { return bins_; }
  [[nodiscard]] const std::vector<double>& values() const noexcept { return values_; }  ///< [columns, bins]

 private:
  double reach_;
  std::size_t bins_;
  std::int64_t every_;
  std::size_t columns_ = 0;
  std::vector<double> values_;
};

}  // namespace easy_diffusion::examples
