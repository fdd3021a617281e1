/// \file
/// Learning-rate schedules: a pure function of the step, so that a resumed run continues exactly.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::nn {

/// The rate rises linearly over `warmup_steps`, then follows `shape`, and in the end, where asked for, settles.
struct LearningRate {
  enum class Shape {
    constant,
    exponential,  ///< times `gamma` after every `period` steps (an epoch)
    cosine        ///< half a cosine from `base` to `minimum` over `total` steps, then `minimum`
  };

  double base = 1e-3;
  Shape shape = Shape::constant;
  double gamma = 1;
  std::int64_t period = 1;
  double minimum = 0;
  std::int64_t total = 1;
  std::int64_t warmup_steps = 0;
  std::int64_t settle_after = -1;  ///< steps before the rate becomes `settle_rate`; negative: it never does
  double settle_rate = 0;

  static LearningRate constant(double base) { return {.base = base}; }
  /// \throw ValueError for period < 1
  static LearningRate exponential(double base, double gamma, std::int64_t period) {
    if (period < 1)
      throw ValueError("learning rate: expected a period of at least 1 step, got " + std::to_string(period));
    return {.base = base, .shape = Shape::exponential, .gamma = gamma, .period = period};
  }
  /// \throw ValueError for total < 1
  static LearningRate cosine(double base, std::int64_t total, double minimum = 0) {
    if (total < 1) throw ValueError("learning rate: expected a total of at least 1 step, got " + std::to_string(total));
    return {.base = base, .shape = Shape::cosine, .minimum = minimum, .total = total};
  }
  [[nodiscard]] LearningRate with_warmup(std::int64_t steps) const {
    LearningRate result = *this;
    result.warmup_steps = steps;
    return result;
  }

  /// From step `after` on the rate is `rate`. \throw ValueError for after < 0
  [[nodiscard]] LearningRate with_settling(std::int64_t after, double rate) const {
    if (after < 0) throw ValueError("learning rate: expected to settle after at least 0 steps, got " + std::to_string(after));
    LearningRate result = *this;
    result.settle_after = after;
    result.settle_rate = rate;
    return result;
  }

  /// Rate of the step that has `step` steps before it. During warm-up the first step has base / warmup_steps.
  [[nodiscard]] double at(std::int64_t step) const {
    if (settle_after >= 0 && step >= settle_after) return settle_rate;
    double rate = base;
    if (shape == Shape::exponential) rate = base * std::pow(gamma, static_cast<double>(step / period));
    if (shape == Shape::cosine) {
      const double part = static_cast<double>(std::min(step, total)) / static_cast<double>(total);
      rate = minimum + (base - minimum) * 0.5 * (1 + std::cos(std::numbers::pi * part));
    }
    if (step < warmup_steps) rate *= static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
    return rate;
  }
};

}  // namespace easy_diffusion::nn
