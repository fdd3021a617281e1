/// \file
/// Runs of multistep samplers against the exact flow: with a past, from the middle of the way, on steps of any length.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"

#include "diffusion/sampler_orders.hpp"

namespace easy_diffusion::tests {

/// Where the probability-flow equation takes x: in one dimension it keeps the share of the density on either side, so that no
/// equation has to be solved.
inline double flow_transport(double x, const diffusion::NoiseLevel& from, const diffusion::NoiseLevel& to) {
  // The smaller of the two tails, which has all its digits.
  const auto tail = [](double at, const diffusion::NoiseLevel& level, bool upper) {
    double share = 0;
    for (const auto& c : order_mixture().components()) {
      const double deviation = std::hypot(level.alpha * c.deviation, level.sigma);
      const double z = (at - level.alpha * c.mean[0]) / deviation;
      share += c.weight * 0.5 * std::erfc((upper ? z : -z) / std::numbers::sqrt2);
    }
    return share;
  };
  const bool upper = tail(x, from, true) < 0.5;
  const double wanted = tail(x, from, upper);
  double high = 20 * (to.alpha + to.sigma), low = -high;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    ((tail(middle, to, upper) > wanted) == upper ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// Error (root mean square over the states) at the end of levels that a run begins at number `past`: with exact evaluations at
/// the levels before, where the sampler can remember them.
template <class Sampler>
double error_with_past(Sampler& sampler, const diffusion::NoiseLevels& levels, std::int64_t past) {
  const diffusion::NoiseLevels rest(
      std::vector<diffusion::NoiseLevel>(levels.all().begin() + static_cast<std::ptrdiff_t>(past), levels.all().end()));
  const FlowState start = flow_start(levels.front());
  const auto exact = [&](const diffusion::NoiseLevel& level) {
    FlowState x;
    for (const double each : start) x.push_back(flow_transport(each, levels.front(), level));
    return x;
  };
  sampler.start(rest);
  for (std::int64_t j = 0; j < past; ++j) {
    const FlowState x = exact(levels[j]);
    FlowState x0 = x;
    order_mixture()(x, levels[j], x0);
    sampler.remember(levels[j], x, x0);
  }
  FlowState x = exact(rest.front());
  diffusion::NoNoise none;
  for (std::int64_t i = 0; i < rest.steps(); ++i) sampler.step(order_mixture(), x, rest, i, none);
  const FlowState wanted = exact(rest.back());
  double square = 0;
  for (std::size_t i = 0; i < x.size(); ++i) square += (x[i] - wanted[i]) * (x[i] - wanted[i]);
  return std::sqrt(square / static_cast<double>(x.size()));
}

/// Errors at 64 to 1024 steps. \param levels_of n -> levels of n steps
template <class Sampler, class LevelsOf>
std::vector<ErrorAt> errors_with_past(Sampler&& sampler, LevelsOf&& levels_of, std::int64_t past) {
  std::vector<ErrorAt> errors;
  for (const std::int64_t n : {64, 96, 128, 192, 256, 384, 512, 768, 1024})
    errors.push_back({1 / static_cast<double>(n), error_with_past(sampler, levels_of(n), past), 0});
  return errors;
}

/// The same without a past.
template <class Sampler, class LevelsOf>
std::vector<ErrorAt> errors_from_start(Sampler&& sampler, LevelsOf&& levels_of) {
  std::vector<ErrorAt> errors;
  for (const std::int64_t n : {64, 96, 128, 192, 256, 384, 512, 768, 1024}) {
    const diffusion::NoiseLevels levels = levels_of(n);
    FlowState x = flow_start(levels.front());
    diffusion::sample(sampler, order_mixture(), x, levels, diffusion::NoNoise{});
    const FlowState start = flow_start(levels.front());
    double square = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double wanted = flow_transport(start[i], levels.front(), levels.back());
      square += (x[i] - wanted) * (x[i] - wanted);
    }
    errors.push_back({1 / static_cast<double>(n), std::sqrt(square / static_cast<double>(x.size())), 0});
  }
  return errors;
}

/// A run that begins where the humps part, so that x0 changes fast from the first step on.
inline diffusion::NoiseLevels late_levels(std::int64_t n) {
  return diffusion::karras_levels(1, 0.1, n, 7, diffusion::End::smallest);
}

/// Equal steps in sigma / alpha.
inline diffusion::NoiseLevels equal_levels(std::int64_t n) {
  std::vector<diffusion::NoiseLevel> levels;
  for (std::int64_t i = 0; i <= n; ++i)
    levels.push_back(diffusion::exploding_level(1.5 - static_cast<double>(i) / static_cast<double>(n)));
  return diffusion::NoiseLevels(std::move(levels));
}

/// Steps in lambda that are long and short in turn, as between rounded timesteps.
inline diffusion::NoiseLevels uneven_levels(std::int64_t n) {
  std::vector<diffusion::NoiseLevel> levels;
  for (std::int64_t i = 0; i <= n; ++i) {
    const double part = (static_cast<double>(i) + (i % 2 == 1 ? 0.3 : 0.0)) / static_cast<double>(n);
    levels.push_back(diffusion::exploding_level(std::pow(0.1, part)));
  }
  return diffusion::NoiseLevels(std::move(levels));
}

}  // namespace easy_diffusion::tests
