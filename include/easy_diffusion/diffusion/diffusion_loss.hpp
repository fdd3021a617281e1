/// \file
/// Losses of the discrete chain, with their gradients \cite ho_2020_ddpm \cite nichol_2021_improved.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/decoder.hpp"
#include "easy_diffusion/diffusion/detail/samples.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Losses are means over the elements of a sample. The bound's term of a step is in bits per dimension: KL of the posterior
/// from the network's step, at t = 0 minus the decoder's log-likelihood.
enum class LossType {
  mse,           ///< squared error of the mean's output; with a learned variance plus the bound's term
  rescaled_mse,  ///< the same with the term times T / 1000
  kl,            ///< the bound's term
  rescaled_kl,   ///< the bound's term times T: on average over t the whole bound
  hybrid         ///< squared error plus `bound_weight` times T times the bound's term; needs a learned variance
};
// Beside a squared error the bound's term teaches the variance alone: its gradient stops at the mean.

inline constexpr std::array<std::string_view, 5> loss_names = {"mse", "rescaled_mse", "kl", "rescaled_kl", "hybrid"};

/// \throw ValueError naming what there is
[[nodiscard]] inline LossType loss_by_name(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < loss_names.size(); ++i) {
    if (loss_names[i] == name) return static_cast<LossType>(i);
    known += (i > 0 ? ", " : "") + std::string(loss_names[i]);
  }
  throw ValueError("loss: expected one of " + known + ", got '" + std::string(name) + "'");
}

struct LossOptions {
  LossType type = LossType::mse;
  /// Weighs the squared error so that, as an error of x0, it counts min(SNR, gamma) times, whatever is predicted
  /// \cite hang_2023_min_snr. None: the squared error of the output as it is (of a score: of epsilon).
  std::optional<double> min_snr_gamma = {};
  double bound_weight = 1e-3;  ///< of the hybrid
  NormalCdf cdf = NormalCdf::exact;
};

namespace detail {

/// The loss of one element of x at one step, in double: all of it follows from the error
/// e = output_scale * output - (x0 * x0 + noise * noise), in which the step's mean is wrong by mean_error * e.
struct ElementLoss {
  // error
  double output_scale = 1, x0 = 0, noise = 0;
  // squared error
  double squared_weight = 0;
  // bound
  double bound_weight = 0;
  double mean_error = 0;
  double x0_error = 0;  ///< of the predicted x0 where it is clipped
  bool clip = false;
  bool stop_at_mean = false;
  bool decoder = false;
  NormalCdf cdf = NormalCdf::exact;
  double posterior_log_variance = 0;
  LogVariance variance;

  struct Result {
    double loss, by_output, by_variance_output;
  };

  [[nodiscard]] Result operator()(double x0_value, double noise_value, double output, double v) const {
    const double error = output_scale * output - (x0 * x0_value + noise * noise_value);
    Result result{squared_weight * error * error, 2 * squared_weight * error * output_scale, 0};
    if (bound_weight == 0) return result;
    double off = mean_error * error, off_by_error = mean_error;
    if (clip) {
      const double predicted = x0_value + x0_error * error, inside = std::clamp(predicted, -1.0, 1.0);
      off = mean_error / x0_error * (inside - x0_value);
      if (inside != predicted) off_by_error = 0;
    }
    const double log_variance = variance(v);
    double term, by_mean, by_log_variance;
    if (decoder) {
      // At t = 0 the posterior is x0 itself.
      const BinLikelihood likelihood = bin_likelihood(x0_value, x0_value + off, log_variance, cdf);
      term = -likelihood.log_probability;
      by_mean = -likelihood.by_mean;
      by_log_variance = -likelihood.by_log_variance;
    } else {
      const double ratio = std::exp(posterior_log_variance - log_variance), precision = std::exp(-log_variance);
      term = 0.5 * (log_variance - posterior_log_variance - 1 + ratio + off * off * precision);
      by_mean = off * precision;
      by_log_variance = 0.5 * (1 - ratio - off * off * precision);
    }
    result.loss += bound_weight * term;
    if (!stop_at_mean) result.by_output += bound_weight * by_mean * off_by_error * output_scale;
    result.by_variance_output = bound_weight * by_log_variance * variance.slope;
    return result;
  }
};

/// The error of an output: what it should be, in x0 and noise. \throw ValueError for t outside the chain
[[nodiscard]] inline ElementLoss output_error(const GaussianDiffusion& diffusion, std::int64_t t) {
  ElementLoss element;
  const Transition& step = diffusion.transition(t);
  const NoiseLevel& level = diffusion.level(t);
  if (diffusion.output().mean.is_previous_x()) {
    element.x0 = step.x0 + step.x * level.alpha;
    element.noise = step.x * level.sigma;
  } else {
    const Prediction prediction = diffusion.output().mean.prediction();
    const PredictionWeights weights = prediction_weights(prediction, level);
    element.x0 = weights.x0;
    element.noise = weights.epsilon;
    if (prediction == Prediction::score) element.output_scale = -level.sigma;  // the error is that of epsilon
  }
  return element;
}

/// Adds the bound's term of step t, in bits. \throw ValueError where the output does not determine x0
inline void add_bound(const GaussianDiffusion& diffusion, std::int64_t t, NormalCdf cdf, double weight,
                      ElementLoss& element) {
  element.x0_error = diffusion.x0_map(t).prediction / element.output_scale;
  element.mean_error = diffusion.transition(t).x0 * element.x0_error;
  element.bound_weight = weight / std::numbers::ln2;
  element.decoder = t == 0;
  element.cdf = cdf;
  element.posterior_log_variance = diffusion.posterior_log_variance(t);
  element.variance = diffusion.log_variance(t);
}

}  // namespace detail

/// A loss of the network's output for x_t = q_sample(x0, t, noise), and its derivative by that output.
class DiffusionLoss {
 public:
  /// \throw ValueError for a hybrid without a learned variance, and a gamma or bound weight that is not above 0
  explicit DiffusionLoss(GaussianDiffusion diffusion, LossOptions options = {})
      : diffusion_(std::move(diffusion)), options_(options) {
    if (options.type == LossType::hybrid && !diffusion_.learns_variance())
      throw ValueError("hybrid loss: expected a learned variance, got " + to_string(diffusion_.output().variance));
    if (options.min_snr_gamma && !(*options.min_snr_gamma > 0))
      throw ValueError("min-SNR weighting: expected gamma above 0, got " + sde::detail::shown(*options.min_snr_gamma));
    if (!(options.bound_weight > 0) || !std::isfinite(options.bound_weight))
      throw ValueError("hybrid loss: expected a weight of the bound above 0, got " +
                       sde::detail::shown(options.bound_weight));
  }

  [[nodiscard]] const GaussianDiffusion& diffusion() const noexcept { return diffusion_; }
  [[nodiscard]] const LossOptions& options() const noexcept { return options_; }
  /// Whether the bound has a part in it: x0 must then be 8-bit data.
  [[nodiscard]] bool uses_bound() const noexcept {
    return options_.type == LossType::kl || options_.type == LossType::rescaled_kl || diffusion_.learns_variance();
  }

  /// One sample, fixed variance. \param output what the network put out for x_t
  /// \param[out] gradient derivative of the loss by `output`, of its extents
  /// \throw ValueError for t outside the chain, a learned variance; where the bound has a part, for data that are not 8-bit
  ///        in [-1, 1], or an output that does not determine x0 (epsilon at pure noise)
  template <sde::State S>
  double operator()(const S& x0, const S& noise, std::int64_t t, const S& output, S& gradient) const {
    diffusion_.expect_learned(false);
    check_data(x0);
    sde::make_room(gradient, x0);
    const detail::ElementLoss element = at(t);
    const double share = 1 / static_cast<double>(sde::element_count(x0));
    double sum = 0;
    sde::for_each_element(
        [&](auto& g, const auto& x, const auto& z, const auto& out) {
          const auto part = element(static_cast<double>(x), static_cast<double>(z), static_cast<double>(out), 0);
          g = static_cast<std::remove_reference_t<decltype(g)>>(share * part.by_output);
          sum += part.loss;
        },
        gradient, x0, noise, output);
    return share * sum;
  }

  /// One sample, learned variance. \param v see `VarianceType` \param[out] v_gradient derivative by v \throw as above
  template <sde::State S>
  double operator()(const S& x0, const S& noise, std::int64_t t, const S& output, const S& v, S& gradient,
                    S& v_gradient) const {
    diffusion_.expect_learned(true);
    check_data(x0);
    sde::make_room(gradient, x0);
    sde::make_room(v_gradient, x0);
    const detail::ElementLoss element = at(t);
    const double share = 1 / static_cast<double>(sde::element_count(x0));
    double sum = 0;
    sde::for_each_element(
        [&](auto& g, auto& gv, const auto& x, const auto& z, const auto& out, const auto& v_out) {
          using T = std::remove_reference_t<decltype(g)>;
          const auto part = element(static_cast<double>(x), static_cast<double>(z), static_cast<double>(out),
                                    static_cast<double>(v_out));
          g = static_cast<T>(share * part.by_output);
          gv = static_cast<T>(share * part.by_variance_output);
          sum += part.loss;
        },
        gradient, v_gradient, x0, noise, output, v);
    return share * sum;
  }

  /// A batch.
  /// \param x0,noise [N, ..., C] \param t N of them \param output [N, ..., C], with a learned variance [N, ..., 2 C]
  /// \param[out] gradient the shape of `output`: derivative of sample n's loss, times `weights[n]`
  /// \param weights  N of them, such as 1 / N times the weights of a timestep sampler; none for ones
  /// \return the samples' losses, without the weights
  /// \throw ShapeError, and ValueError as above
  template <class T>
  std::vector<double> operator()(const Tensor<T>& x0, const Tensor<T>& noise, std::span<const std::int64_t> t,
                                 const Tensor<T>& output, Tensor<T>& gradient,
                                 std::span<const double> weights = {}) const {
    diffusion_.check_batch("loss", x0.shape(), t);
    diffusion_.check_output("loss", x0.shape(), output.shape());
    expect_shape("loss: noise", x0.shape(), noise.shape());
    if (!weights.empty() && weights.size() != t.size())
      throw ShapeError("loss: expected " + std::to_string(t.size()) + " weights, got " +
                       std::to_string(weights.size()));
    check_data(x0);
    gradient.resize(output.shape());
    std::vector<double> losses(t.size());
    const std::int64_t elements = detail::sample_elements(x0.shape());
    const detail::OutputLayout layout{x0.shape().back(), diffusion_.learns_variance()};
    detail::for_each_sample(x0.shape(), [&](std::int64_t n) {
      const auto which = static_cast<std::size_t>(n);
      const detail::ElementLoss element = at(t[which]);
      const double share = 1 / static_cast<double>(elements);
      const double scale = weights.empty() ? share : share * weights[which];
      double sum = 0;
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i) {
        const std::int64_t mean = layout.mean(i), variance = layout.variance(i);
        const auto part = element(static_cast<double>(x0[i]), static_cast<double>(noise[i]),
                                  static_cast<double>(output[mean]), static_cast<double>(output[variance]));
        gradient[variance] = static_cast<T>(scale * part.by_variance_output);
        gradient[mean] = static_cast<T>(scale * part.by_output);  // the same place where there is no variance
        sum += part.loss;
      }
      losses[which] = share * sum;
    });
    return losses;
  }

  /// Weight of the squared error at step t. min(SNR, gamma) on x0 becomes, on an output p,
  /// min(1, gamma / SNR) (d epsilon / d p)^2: finite at pure noise, too.
  [[nodiscard]] double squared_weight(std::int64_t t) const {
    if (!options_.min_snr_gamma) return 1;
    const NoiseLevel& level = diffusion_.level(t);
    const double noise = level.sigma * level.sigma, signal = level.alpha * level.alpha;
    const double capped = noise * *options_.min_snr_gamma < signal ? *options_.min_snr_gamma * noise / signal : 1;
    const MeanType mean = diffusion_.output().mean;
    double slope = 1;  // of epsilon by the output, by the error of epsilon for a score
    if (mean.is_previous_x()) {
      slope = level.alpha / (level.sigma * diffusion_.transition(t).x0);
    } else if (mean.prediction() != Prediction::score) {
      slope = prediction_map(mean.prediction(), Prediction::epsilon, level).prediction;
    }
    return capped * slope * slope;
  }

 private:
  template <class S>
  void check_data(const S& x0) const {
    if (uses_bound()) expect_eight_bit(x0);
  }

  [[nodiscard]] detail::ElementLoss at(std::int64_t t) const {
    detail::ElementLoss element = detail::output_error(diffusion_, t);
    const double steps = static_cast<double>(diffusion_.steps());
    const auto bound = [&](double weight) { detail::add_bound(diffusion_, t, options_.cdf, weight, element); };
    if (options_.type == LossType::kl) {
      bound(1);
    } else if (options_.type == LossType::rescaled_kl) {
      bound(steps);
    } else {
      element.squared_weight = squared_weight(t);
      element.stop_at_mean = true;
      if (options_.type == LossType::hybrid) {
        bound(options_.bound_weight * steps);
      } else if (diffusion_.learns_variance()) {
        bound(options_.type == LossType::mse ? 1 : steps / 1000);
      }
    }
    return element;
  }

  GaussianDiffusion diffusion_;
  LossOptions options_;
};

}  // namespace easy_diffusion::diffusion
