/// \file
/// Measuring what a sampler declares: its order against the probability-flow equation of a mixture, its weak order on a
/// Gaussian, and its evaluations.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "support/catch.hpp"

#include "sde/orders.hpp"

namespace easy_diffusion::tests {

using FlowState = std::vector<double>;

/// Levels on which orders are measured. All end in a level that has noise.
enum class OrderGrid {
  karras,     ///< sigma from 10 to 0.02, where steps are of very different length
  log_snr,    ///< sigma from 10 to 0.02, evenly in lambda
  vp,         ///< a variance-preserving schedule, evenly in lambda
  vp_karras,  ///< the same with the Karras spacing
};
inline constexpr std::array order_grids = {OrderGrid::karras, OrderGrid::log_snr, OrderGrid::vp, OrderGrid::vp_karras};
inline constexpr std::array<const char*, 4> order_grid_names = {"karras", "log_snr", "vp", "vp_karras"};

inline const diffusion::Schedule& order_schedule() {
  // The usual linear one, in enough timesteps for 1024 steps.
  static const auto schedule = diffusion::Schedule::linear(2000, 0.5e-4, 0.01);
  return schedule;
}

inline diffusion::NoiseLevels order_levels(OrderGrid grid, std::int64_t n) {
  using diffusion::End;
  using diffusion::Spacing;
  switch (grid) {
    case OrderGrid::karras: return diffusion::karras_levels(10, 0.02, n, 7, End::smallest);
    case OrderGrid::log_snr: {
      std::vector<diffusion::NoiseLevel> levels;
      for (std::int64_t i = 0; i <= n; ++i)
        levels.push_back(
            diffusion::exploding_level(10 * std::pow(0.02 / 10, static_cast<double>(i) / static_cast<double>(n))));
      return diffusion::NoiseLevels(std::move(levels));
    }
    case OrderGrid::vp:
      return diffusion::noise_levels(order_schedule(), n, {.spacing = Spacing::log_snr, .end = End::smallest});
    default: return diffusion::noise_levels(order_schedule(), n, {.spacing = Spacing::karras, .end = End::smallest});
  }
}

/// Two humps in one dimension.
inline const diffusion::GaussianMixture& order_mixture() {
  static const diffusion::GaussianMixture mixture({{0.4, {-1.0}, 0.5}, {0.6, {0.8}, 0.3}});
  return mixture;
}

/// States of that level to start from, on both sides.
inline FlowState flow_start(const diffusion::NoiseLevel& level) {
  FlowState x;
  for (const double z : {-1.7, -0.8, 0.5, 1.3}) x.push_back(z * std::hypot(level.alpha, level.sigma));
  return x;
}

/// The probability-flow equation of the mixture from `flow_start(from)` to another level: of y = x / alpha in
/// u = log(sigma / alpha) it is dy/du = y - x0(y), here by the classical Runge-Kutta method in very fine steps.
inline FlowState flow_solution(const diffusion::NoiseLevel& from, const diffusion::NoiseLevel& to) {
  constexpr int steps = 1 << 14;
  const double first = -from.lambda(), last = -to.lambda();
  const double h = (last - first) / steps;
  const auto slope = [](double y, double u) {
    const FlowState x{y};
    FlowState x0{0};
    order_mixture()(x, diffusion::exploding_level(std::exp(u)), x0);
    return y - x0[0];
  };
  FlowState result;
  for (const double start : flow_start(from)) {
    double y = start / from.alpha;
    for (int i = 0; i < steps; ++i) {
      const double u = first + i * h;
      const double k1 = slope(y, u);
      const double k2 = slope(y + h / 2 * k1, u + h / 2);
      const double k3 = slope(y + h / 2 * k2, u + h / 2);
      const double k4 = slope(y + h * k3, u + h);
      y += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
    }
    result.push_back(to.alpha * y);
  }
  return result;
}

inline const FlowState& flow_solution(OrderGrid grid) {
  static const std::array<FlowState, order_grids.size()> solutions = [] {
    std::array<FlowState, order_grids.size()> all;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto levels = order_levels(order_grids[i], 1);
      all[i] = flow_solution(levels.front(), levels.back());
    }
    return all;
  }();
  return solutions[static_cast<std::size_t>(grid)];
}

/// Errors (root mean square over the states) of a sampler that asks for no noise.
/// \param sampler of state `FlowState`
template <class Sampler>
std::vector<ErrorAt> flow_errors(Sampler& sampler, OrderGrid grid,
                                 const std::vector<std::int64_t>& steps = {64, 96, 128, 192, 256, 384, 512, 768, 1024}) {
  std::vector<ErrorAt> errors;
  const FlowState& exact = flow_solution(grid);
  for (const std::int64_t n : steps) {
    const auto levels = order_levels(grid, n);
    FlowState x = flow_start(levels.front());
    diffusion::sample(sampler, order_mixture(), x, levels, diffusion::NoNoise{});
    double square = 0;
    for (std::size_t i = 0; i < x.size(); ++i) square += (x[i] - exact[i]) * (x[i] - exact[i]);
    errors.push_back({1 / static_cast<double>(n), std::sqrt(square / static_cast<double>(x.size())), 0});
  }
  return errors;
}

/// Asserts the order that the sampler declares, on every grid.
template <class Sampler>
void check_flow_order(Sampler& sampler) {
  for (const OrderGrid grid : order_grids) {
    INFO("levels " << order_grid_names[static_cast<std::size_t>(grid)]);
    check_order(flow_errors(sampler, grid), Sampler::traits.order);
  }
}

/// N(mean, deviation^2 I): its denoiser is linear in x.
struct GaussianData {
  double mean = 0.4;
  double deviation = 0.6;

  void operator()(const FlowState& x, const diffusion::NoiseLevel& level, FlowState& x0) const {
    const double pull = level.alpha * deviation * deviation / variance(level);
    for (std::size_t i = 0; i < x.size(); ++i) x0[i] = mean + pull * (x[i] - level.alpha * mean);
  }
  [[nodiscard]] double variance(const diffusion::NoiseLevel& level) const {
    return level.alpha * level.alpha * deviation * deviation + level.sigma * level.sigma;
  }
};

/// Noise that is one for a single element of the state, the next at every call, and zero for the others: where a
/// sampler is linear in the state and in its noises, one run shows its weight of each of them.
class ImpulseNoise {
 public:
  explicit ImpulseNoise(std::size_t first) : next_(first) {}

  void increment(const sde::Step& step, FlowState& dw) {
    std::fill(dw.begin(), dw.end(), 0.0);
    dw.at(next_++) = std::sqrt(std::abs(step.dt));
  }
  void increment(const sde::Step& step, FlowState& dw, FlowState& dz) {
    increment(step, dw);
    for (std::size_t i = 0; i < dw.size(); ++i) dz[i] = 0.5 * step.dt * dw[i];
    dz.at(next_++) = 0.5 * step.dt * std::sqrt(std::abs(step.dt) / 3);
  }

 private:
  std::size_t next_;
};

/// Mean and variance, without Monte-Carlo error.
struct Moments {
  double mean = 0, variance = 0;
};

/// Exact moments of what a sampler makes of Gaussian data, started from their exact moments at the first level.
/// \tparam Sampler whose steps are linear in the state and its noises
/// \param asked noises that a step asks for at most, dW and dZ counted each
template <class Sampler>
Moments gaussian_moments(Sampler& sampler, const diffusion::NoiseLevels& levels, const GaussianData& data = {},
                         std::int64_t asked = 2) {
  // Element 0 starts at 0 without noise, element 1 at 1; each other one sees one noise.
  FlowState x(static_cast<std::size_t>(2 + asked * levels.steps()), 0.0);
  x[1] = 1;
  diffusion::sample(sampler, data, x, levels, ImpulseNoise(2));
  const double scale = x[1] - x[0];
  Moments result{x[0] + scale * levels.front().alpha * data.mean, scale * scale * data.variance(levels.front())};
  for (std::size_t i = 2; i < x.size(); ++i) result.variance += (x[i] - x[0]) * (x[i] - x[0]);
  return result;
}

/// Errors of mean and variance, the larger one, at 64 to 512 steps.
template <class Sampler>
std::vector<ErrorAt> weak_errors(Sampler& sampler, OrderGrid grid, const GaussianData& data = {}) {
  std::vector<ErrorAt> errors;
  for (const std::int64_t n : {64, 96, 128, 192, 256, 384, 512}) {
    const auto levels = order_levels(grid, n);
    const Moments got = gaussian_moments(sampler, levels, data);
    const double mean = std::abs(got.mean - levels.back().alpha * data.mean);
    const double variance = std::abs(got.variance - data.variance(levels.back()));
    errors.push_back({1 / static_cast<double>(n), std::max(mean, variance), 0});
  }
  return errors;
}

/// Asserts the weak order that the sampler declares, on every grid.
template <class Sampler>
void check_weak_order(Sampler& sampler) {
  for (const OrderGrid grid : order_grids) {
    INFO("levels " << order_grid_names[static_cast<std::size_t>(grid)]);
    check_order(weak_errors(sampler, grid), Sampler::traits.order);
  }
}

/// Noise for samplers that only need some.
struct SomeNoise {
  void increment(const sde::Step& step, FlowState& dw) const {
    for (std::size_t i = 0; i < dw.size(); ++i)
      dw[i] = std::sqrt(std::abs(step.dt)) * std::sin(static_cast<double>(7 * step.index) + static_cast<double>(i));
  }
  void increment(const sde::Step& step, FlowState& dw, FlowState& dz) const {
    increment(step, dw);
    for (std::size_t i = 0; i < dw.size(); ++i) dz[i] = 0.5 * step.dt * dw[i];
  }
};

/// Asserts that a run counts the evaluations which the sampler declares and ends in finite numbers, with steps from 1
/// to 1000 of 1000, on all spacings, down to the picture and down to a level that has noise.
template <class Sampler>
void check_evaluations(Sampler& sampler) {
  using namespace diffusion;
  static const auto schedule = Schedule::linear();
  for (std::size_t spacing = 0; spacing < spacing_names.size(); ++spacing)
    for (const std::int64_t n : {1, 2, 13, 300, 600, 999, 1000})
      for (const End end : {End::clean, End::smallest}) {
        if (end == End::smallest && n == 1000) continue;
        INFO(spacing_names[spacing] << ", " << n << " steps, end " << static_cast<int>(end));
        const auto levels = noise_levels(schedule, n, {.spacing = static_cast<Spacing>(spacing), .end = end});
        FlowState x = flow_start(levels.front());
        const SampleResult result = sample(sampler, order_mixture(), x, levels, SomeNoise{});
        CHECK(result.steps == n);
        if constexpr (Sampler::traits.adaptive) {
          CHECK(result.evaluations >= sampler.evaluations(levels));
        } else {
          CHECK(result.evaluations == sampler.evaluations(levels));
        }
        for (const double value : x) CHECK(std::isfinite(value));
        for (const double value : sampler.predicted_x0()) CHECK(std::isfinite(value));
      }
}

}  // namespace easy_diffusion::tests
