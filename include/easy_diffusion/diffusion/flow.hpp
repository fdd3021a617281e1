/// \file
/// Rectified flow \cite liu_2022_rectified_flow: x_t = (1 - t) x0 + t epsilon, along which a network learns the
/// velocity epsilon - x0. It samples as any model does: `make_denoiser(model, Prediction::velocity)` along
/// `flow_levels(n)`, where `Ddim` with eta = 0 is Euler's method.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Level of x_t, whose time is t. \throw ValueError unless 0 <= t <= 1
[[nodiscard]] inline NoiseLevel flow_level(double t) {
  if (!(t >= 0 && t <= 1))
    throw ValueError("rectified flow: expected a time from 0 to 1, got " + sde::detail::shown(t));
  return {t, 1 - t, t};
}

/// Times of training.
class FlowTimes {
 public:
  /// Uniform in [0, 1).
  [[nodiscard]] static FlowTimes uniform() { return {}; }

  /// The logistic function of a normal deviate: less of the ends, where there is less to learn
  /// \cite esser_2024_rectified. A mean above 0 asks for more noise.
  /// \throw ValueError for numbers that are not finite, or a deviation that is not positive
  [[nodiscard]] static FlowTimes logit_normal(double mean = 0, double deviation = 1) {
    if (!std::isfinite(mean) || !(deviation > 0 && std::isfinite(deviation)))
      throw ValueError("rectified flow: times: expected a finite mean and a deviation above 0, got " +
                       sde::detail::shown(mean) + " and " + sde::detail::shown(deviation));
    FlowTimes times;
    times.mean_ = mean;
    times.deviation_ = deviation;
    return times;
  }

  /// Time of a sample of a training batch, a pure function of its address.
  [[nodiscard]] double at(const NoiseAddress& address, std::uint64_t sample) const {
    if (deviation_ == 0) return easy_diffusion::uniform<double>(address, sample);
    return 1 / (1 + std::exp(-(mean_ + deviation_ * normal<double>(address, sample))));
  }

 private:
  double mean_ = 0;
  double deviation_ = 0;  // 0: uniform
};

/// What a network is shown and what it shall answer. \param z standard normal, the extents of x0
/// \param[out] x_t,velocity \throw ValueError unless 0 <= t <= 1; ShapeError where extents differ
template <sde::State S>
void flow_pair(const S& x0, const S& z, double t, S& x_t, S& velocity) {
  const NoiseLevel level = flow_level(t);
  sde::make_room(x_t, x0);
  sde::make_room(velocity, x0);
  sde::update_elements(
      [level](auto& e, auto& v, const auto& picture, const auto& noise) {
        using T = std::remove_reference_t<decltype(e)>;
        e = static_cast<T>(level.alpha) * picture + static_cast<T>(level.sigma) * noise;
        v = noise - picture;
      },
      x_t, velocity, x0, z);
}

}  // namespace easy_diffusion::diffusion
