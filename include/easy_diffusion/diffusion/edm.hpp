/// \file
/// The preconditioning of "Elucidating the design space" \cite karras_2022_elucidating: a network whose input, output
/// and target have unit variance at every noise level, and the denoiser that it is part of.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/detail/workspace.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// D(x, sigma) = skip x + out F(in x, noise) of the network F, for x = x0 + sigma epsilon.
struct EdmScales {
  double skip = 1;
  double out = 0;
  double in = 1;
  double noise = 0;        ///< what the network is told: log(sigma) / 4
  double loss_weight = 0;  ///< of the squared error of D; of that of F it makes 1
};

/// Scales and noise levels of training.
class Edm {
 public:
  struct Options {
    double data_deviation = 0.5;   ///< standard deviation of the data's elements
    double log_sigma_mean = -1.2;  ///< sigma of training is log-normal
    double log_sigma_deviation = 1.2;
  };

  Edm() : Edm(Options{}) {}
  /// \throw ValueError unless both deviations are positive and all is finite
  explicit Edm(const Options& options) : options_(options) {
    if (!(options.data_deviation > 0 && std::isfinite(options.data_deviation)))
      throw ValueError("EDM: deviation of the data: expected a number above 0, got " +
                       sde::detail::shown(options.data_deviation));
    if (!(options.log_sigma_deviation > 0 && std::isfinite(options.log_sigma_deviation)) ||
        !std::isfinite(options.log_sigma_mean))
      throw ValueError("EDM: log of sigma: expected a finite mean and a deviation above 0, got " +
                       sde::detail::shown(options.log_sigma_mean) + " and " +
                       sde::detail::shown(options.log_sigma_deviation));
  }

  [[nodiscard]] const Options& options() const noexcept { return options_; }

  /// \throw ValueError unless sigma is above 0 and finite
  [[nodiscard]] EdmScales scales(double sigma) const {
    if (!(sigma > 0 && std::isfinite(sigma)))
      throw ValueError("EDM: expected a finite noise level above 0, got " + sde::detail::shown(sigma));
    const double data = options_.data_deviation;
    const double variance = sigma * sigma + data * data, deviation = std::hypot(sigma, data);
    return {data * data / variance, sigma * data / deviation, 1 / deviation, std::log(sigma) / 4,
            variance / (sigma * data * sigma * data)};
  }

  /// Noise level of a sample of a training batch, a pure function of its address.
  [[nodiscard]] double training_sigma(const NoiseAddress& address, std::uint64_t sample) const {
    return std::exp(options_.log_sigma_mean + options_.log_sigma_deviation * normal<double>(address, sample));
  }

 private:
  Options options_;
};

/// The denoiser of a network under that preconditioning. A state with alpha other than 1 is x / alpha at noise level
/// sigma / alpha, so that one network serves variance-preserving and flow levels too.
/// \tparam Network `network(in x, log(sigma) / 4, out)` writes F to `out`; one that is told something of each sample also
///         offers `network(in x, log(sigma) / 4, out, samples)`
template <class Network>
class EdmDenoiser {
 public:
  explicit EdmDenoiser(Network network, const Edm& edm = Edm()) : network_(std::move(network)), edm_(edm) {}

  /// A clean state is its own picture, and the network is not asked.
  /// \throw ValueError at pure noise
  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    denoise(x, level, x0, [&](const S& scaled, double noise) { network_(scaled, noise, x0); });
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    denoise(x, level, x0,
            [&](const S& scaled, double noise) { call_for_samples(network_, samples, scaled, noise, x0); });
  }

  [[nodiscard]] const Edm& edm() const noexcept { return edm_; }

 private:
  template <class S, class F>
  void denoise(const S& x, const NoiseLevel& level, S& x0, const F& network) const {
    if (level.is_pure_noise()) throw ValueError("EDM: expected a level with alpha above 0, got pure noise");
    if (level.is_clean()) {
      scale(1 / level.alpha, x, x0);
      return;
    }
    const EdmScales c = edm_.scales(level.noise_to_signal());
    S& scaled = work_.like(x);
    scale(c.in / level.alpha, x, scaled);
    network(std::as_const(scaled), c.noise);
    detail::move({c.out, c.skip / level.alpha, 0}, x0, x);
  }

  template <class S>
  static void scale(double factor, const S& x, S& out) {
    sde::update_elements(
        [factor](auto& e, const auto& state) { e = static_cast<std::remove_reference_t<decltype(e)>>(factor) * state; },
        out, x);
  }

  Network network_;
  Edm edm_;
  detail::Workspace work_;
};

}  // namespace easy_diffusion::diffusion
