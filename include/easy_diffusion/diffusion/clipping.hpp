/// \file
/// Keeping the predicted picture in its range. Both wrap a denoiser: what a sampler makes of x0, epsilon above all,
/// then follows the clipped one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/per_sample.hpp"
#include "easy_diffusion/diffusion/detail/workspace.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// x0 clamped to [low, high]. NaN stays NaN.
template <class D>
class Clipped {
 public:
  /// \throw ValueError unless low < high
  Clipped(D denoiser, double low, double high) : denoiser_(std::move(denoiser)), low_(low), high_(high) {
    if (!(low < high))
      throw ValueError("clipping: expected low < high, got " + sde::detail::shown(low) + " and " +
                       sde::detail::shown(high));
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    denoiser_(x, level, x0);
    clip(x0);
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    call_for_samples(denoiser_, samples, x, level, x0);
    clip(x0);
  }

  template <sde::State S>
  requires VarianceDenoiser<D, S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    denoiser_(x, level, x0, v);
    clip(x0);
  }

 private:
  template <class S>
  void clip(S& x0) const {
    sde::update_elements(
        [low = low_, high = high_](auto& e) {
          using T = std::remove_reference_t<decltype(e)>;
          e = std::clamp(e, static_cast<T>(low), static_cast<T>(high));
        },
        x0);
  }

  D denoiser_;
  double low_, high_;
};

/// \param denoiser is copied; `std::cref(denoiser)` where it should not be
/// \throw ValueError unless low < high
template <class D>
[[nodiscard]] Clipped<D> clipped(D denoiser, double low = -1, double high = 1) {
  return {std::move(denoiser), low, high};
}

namespace detail {

/// The p-quantile, interpolated between the two values that enclose it; NaN where one is. Reorders the values.
/// \pre there is one
template <class T>
[[nodiscard]] T quantile(std::span<T> values, double p) {
  // Without this the selection below would be given an order that is none.
  for (const T v : values)
    if (std::isnan(v)) return std::numeric_limits<T>::quiet_NaN();
  const double place = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), at, values.end());
  const double part = place - static_cast<double>(below);
  if (part == 0) return *at;
  const double low = static_cast<double>(*at), high = static_cast<double>(*std::min_element(at + 1, values.end()));
  return static_cast<T>(low + part * (high - low));
}

}  // namespace detail

/// Dynamic thresholding \cite saharia_2022_imagen: s is the p-quantile of |x0| in a sample, but at least 1; x0 is
/// clamped to [-s, s] and divided by s. Where guidance drives a picture out of [-1, 1], its contrast shrinks where
/// clipping would saturate it. A sample with a NaN becomes NaN. A tensor's first axis counts samples; another state is
/// one sample.
template <class D>
class Thresholded {
 public:
  /// \throw ValueError unless 0 < p <= 1
  Thresholded(D denoiser, double p) : denoiser_(std::move(denoiser)), p_(p) {
    if (!(p > 0 && p <= 1))
      throw ValueError("dynamic thresholding: expected a quantile above 0 and at most 1, got " + sde::detail::shown(p));
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    denoiser_(x, level, x0);
    threshold(x0);
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    call_for_samples(denoiser_, samples, x, level, x0);
    threshold(x0);
  }

  template <sde::State S>
  requires VarianceDenoiser<D, S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    denoiser_(x, level, x0, v);
    threshold(x0);
  }

 private:
  template <class T>
  struct Work {
    std::vector<T> magnitudes;  // of all elements
    std::vector<T> bounds;      // s of each sample
  };

  template <class S>
  void threshold(S& x0) const {
    using T = sde::scalar_t<S>;
    const detail::SampleExtents extents = detail::sample_extents(x0);
    if (extents.elements == 0) return;
    auto& work = work_.template get<Work<T>>();
    work.magnitudes.resize(static_cast<std::size_t>(extents.samples * extents.elements));
    work.bounds.resize(static_cast<std::size_t>(extents.samples));
    T* const magnitudes = work.magnitudes.data();
    T* const bounds = work.bounds.data();
    detail::visit_samples(
        [=](std::int64_t, std::int64_t i, const auto& e) { magnitudes[i] = static_cast<T>(std::abs(e)); }, x0);
    parallel_for(0, extents.samples, 1, [=, p = p_](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) {
        const T s = detail::quantile(
            std::span<T>(magnitudes + n * extents.elements, static_cast<std::size_t>(extents.elements)), p);
        bounds[n] = s < 1 ? T(1) : s;  // NaN stays
      }
    });
    detail::visit_samples(
        [=](std::int64_t n, std::int64_t, auto& e) {
          using E = std::remove_reference_t<decltype(e)>;
          const E s = static_cast<E>(bounds[n]);
          e = (e < -s ? -s : s < e ? s : e) / s;
        },
        x0);
  }

  D denoiser_;
  double p_;
  detail::Workspace work_;
};

/// \param denoiser is copied; `std::cref(denoiser)` where it should not be
/// \throw ValueError unless 0 < p <= 1
template <class D>
[[nodiscard]] Thresholded<D> thresholded(D denoiser, double p = 0.995) {
  return {std::move(denoiser), p};
}

}  // namespace easy_diffusion::diffusion
