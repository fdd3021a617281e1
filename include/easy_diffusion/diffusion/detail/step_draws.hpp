/// \file
/// Noise of steps that draw more than once: by a corrector, or because they are walked again.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// Index of draw number d of step i: i + d 2^24. Draw 0 is the step's own.
inline constexpr std::int64_t draw_stride = std::int64_t{1} << 24;

/// Draw number `part` of `parts` that a step has. Of a source that goes by indices it is the one that `index(step.index)`
/// names; of one that follows time, the noise of that part of the step's interval, magnified to the length of the whole.
template <class Noise, class Index>
class StepDraw {
 public:
  StepDraw(Noise& noise, std::int64_t part, std::int64_t parts, Index index)
      : noise_(&noise), part_(static_cast<double>(part)), parts_(static_cast<double>(parts)), index_(index) {}

  [[nodiscard]] bool follows_time() const { return sde::follows_time(*noise_); }

  template <sde::State S>
  void standard_increment(const sde::Step& step, S& z) const {
    sde::standard_increment(*noise_, own(step), z);
  }
  template <sde::State S>
  void increment(const sde::Step& step, S& dw) const {
    noise_->increment(own(step), dw);
    magnify(dw, 0.5);
  }
  template <sde::State S>
  void increment(const sde::Step& step, S& dw, S& dz) const {
    noise_->increment(own(step), dw, dz);
    magnify(dw, 0.5);
    magnify(dz, 1.5);
  }
  template <std::floating_point T>
  requires sde::PiecewiseNoise<Noise, T>
  void increment(const sde::Step& step, std::span<T> dw, std::int64_t first) const {
    noise_->increment(own(step), dw, first);
    if (!follows_time()) return;
    for (T& e : dw) e *= static_cast<T>(std::sqrt(parts_));
  }

 private:
  [[nodiscard]] sde::Step own(const sde::Step& step) const {
    if (!follows_time()) return {index_(step.index), step.t, step.dt};
    const double dt = step.dt / parts_;
    return {index_(step.index), step.t + part_ * dt, dt};
  }

  template <class S>
  void magnify(S& x, double power) const {
    if (!follows_time()) return;
    sde::update_elements(
        [factor = std::pow(parts_, power)](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); }, x);
  }

  Noise* noise_;
  double part_, parts_;
  Index index_;
};

/// Indices of steps that are walked several times: index `index * repetitions + repetition`. Where a draw's would leave the
/// 32 bits of an address, (d repetitions + repetition) steps + i, of draw d of step i, lies in the gap that the others leave
/// between the draws 0 and 1.
struct RepeatedIndex {
  std::int64_t repetitions, repetition, steps;

  /// \throw ValueError where no index is left
  [[nodiscard]] std::int64_t operator()(std::int64_t index) const {
    constexpr std::int64_t end = std::int64_t{1} << 32;
    const std::int64_t draw = index / draw_stride, i = index % draw_stride;
    if (index < end / repetitions || draw == 0) return index * repetitions + repetition;
    const std::int64_t number = (draw * repetitions + repetition) * steps + i;
    if (number >= draw_stride * repetitions || number >= end)
      throw ValueError("inpainting: no numbers are left for the noise of " + std::to_string(draw) + " draws in " +
                       std::to_string(steps) + " steps, walked " + std::to_string(repetitions) + " times");
    return number;
  }
};

}  // namespace easy_diffusion::diffusion::detail
