/// \file
/// From a picture to the noise that becomes it, and the way between two noises.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/detail/per_sample.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// DDIM against its direction \cite song_2020_ddim: the probability-flow equation from picture to noise. Sampling from
/// that noise with `Ddim` (or any sampler of that equation) along `levels` gives the picture again, with an error that
/// falls with the number of steps.
/// \param x         a state of level `levels.back()`, such as a picture where that level has hardly any noise; becomes
///                  one of `levels.front()`
/// \param levels    those of sampling, from noise to picture; made with `End::smallest`, as a clean state does not say
///                  which noise to add
/// \param observers see `sample`
/// \throw ValueError for levels from picture to noise, or where the last is clean
template <class D, sde::State S, class... Observers>
SampleResult invert(const D& denoiser, S& x, const NoiseLevels& levels, Observers&&... observers) {
  if (!levels.denoises()) throw ValueError("inversion: expected levels from noise to picture, got the other direction");
  if (levels.back().is_clean())
    throw ValueError("inversion: expected a last level that has noise (End::smallest), got a clean one");
  Ddim<S> ddim;
  return sample(ddim, denoiser, x, levels.reversed(), NoNoise(), observers...);
}

namespace detail {

/// Weights of a and b on the great circle between them.
struct CircleWeights {
  double a, b;
};

/// \param angle between the two \param part of the way from a to b
[[nodiscard]] inline CircleWeights circle_weights(double angle, double part) {
  const double whole = std::sin(angle);
  // Equal directions have the straight line as limit; between opposite ones no circle is distinguished.
  if (!(angle > 0) || std::numbers::pi - angle < 1e-6) return {1 - part, part};
  return {std::sin((1 - part) * angle) / whole, std::sin(part * angle) / whole};
}

}  // namespace detail

/// Spherical interpolation \cite shoemake_1985_rotation, each sample by itself: between two noises of equal length
/// every point has that length too, so it is as likely a noise as they are, where the straight line would lose variance
/// on its way. Where an angle is not defined (a zero sample, or opposite ones) it is the straight line.
/// \param part of the way: 0 gives a, 1 gives b, to the bit
/// \return the extents of a
/// \throw ValueError unless 0 <= part <= 1; ShapeError where extents differ
template <sde::State S>
[[nodiscard]] S interpolate(const S& a, const S& b, double part) {
  if (!(part >= 0 && part <= 1))
    throw ValueError("interpolation: expected a part from 0 to 1, got " + sde::detail::shown(part));
  const auto samples = static_cast<std::size_t>(detail::sample_extents(a).samples);
  std::vector<double> length_a(samples), length_b(samples), apart(samples), together(samples);
  detail::visit_samples(
      [&](std::int64_t n, std::int64_t, const auto& p, const auto& q) {
        const auto x = static_cast<double>(p), y = static_cast<double>(q);
        length_a[static_cast<std::size_t>(n)] += x * x;
        length_b[static_cast<std::size_t>(n)] += y * y;
      },
      a, b);
  for (std::size_t n = 0; n < samples; ++n) {
    length_a[n] = std::sqrt(length_a[n]);
    length_b[n] = std::sqrt(length_b[n]);
  }
  // The angle between unit vectors u, v is 2 atan(|u - v| / |u + v|), which is accurate near 0 and pi.
  detail::visit_samples(
      [&](std::int64_t n, std::int64_t, const auto& p, const auto& q) {
        const auto i = static_cast<std::size_t>(n);
        const double x = static_cast<double>(p) / length_a[i], y = static_cast<double>(q) / length_b[i];
        apart[i] += (x - y) * (x - y);
        together[i] += (x + y) * (x + y);
      },
      a, b);
  std::vector<detail::CircleWeights> weights(samples);
  for (std::size_t n = 0; n < samples; ++n) {
    const bool defined = length_a[n] > 0 && length_b[n] > 0;
    weights[n] =
        detail::circle_weights(defined ? 2 * std::atan2(std::sqrt(apart[n]), std::sqrt(together[n])) : 0, part);
  }
  S result = sde::make_like(a);
  detail::visit_samples(
      [&](std::int64_t n, std::int64_t, auto& e, const auto& p, const auto& q) {
        using T = std::remove_reference_t<decltype(e)>;
        const detail::CircleWeights& w = weights[static_cast<std::size_t>(n)];
        e = static_cast<T>(w.a) * p + static_cast<T>(w.b) * q;
      },
      result, a, b);
  return result;
}

}  // namespace easy_diffusion::diffusion
