/// \file
/// The variational bound of the discrete chain over a data set, in bits per dimension \cite ho_2020_ddpm.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/decoder.hpp"
#include "easy_diffusion/diffusion/detail/samples.hpp"
#include "easy_diffusion/diffusion/diffusion_loss.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Means over samples and dimensions, in bits. A picture's code is no longer than `total()` bits a dimension, on average.
struct VariationalBound {
  std::vector<double> terms;  ///< of t = 0 (the decoder), 1, ... n - 1 (KL of the posterior from the network's step)
  double prior = 0;           ///< KL of the last state from the standard normal that sampling begins with

  [[nodiscard]] double total() const noexcept {
    double sum = prior;
    for (const double term : terms) sum += term;
    return sum;
  }
};

struct BoundOptions {
  bool clip = true;  ///< the predicted x0 is clamped to [-1, 1]; nothing is done to a previous x
  NormalCdf cdf = NormalCdf::exact;
};

/// Terms of one step for a batch, in bits per dimension.
/// \param x0     8-bit data in [-1, 1], [N, ..., C] \param noise [N, ..., C] \param t N of them
/// \param output the network's for `q_sample(x0, t, noise)`, [N, ..., C], with a learned variance [N, ..., 2 C]
/// \throw ShapeError; ValueError for t outside the chain, other data, or an output that does not determine x0
template <class T>
[[nodiscard]] std::vector<double> bound_terms(const GaussianDiffusion& diffusion, const Tensor<T>& x0,
                                              const Tensor<T>& noise, std::span<const std::int64_t> t,
                                              const Tensor<T>& output, const BoundOptions& options = {}) {
  diffusion.check_batch("bound", x0.shape(), t);
  diffusion.check_output("bound", x0.shape(), output.shape());
  expect_shape("bound: noise", x0.shape(), noise.shape());
  expect_eight_bit(x0);
  std::vector<double> terms(t.size());
  const std::int64_t elements = detail::sample_elements(x0.shape());
  const detail::OutputLayout layout{x0.shape().back(), diffusion.learns_variance()};
  detail::for_each_sample(x0.shape(), [&](std::int64_t n) {
    const auto which = static_cast<std::size_t>(n);
    detail::ElementLoss element = detail::output_error(diffusion, t[which]);
    detail::add_bound(diffusion, t[which], options.cdf, 1, element);
    element.clip = options.clip && !diffusion.output().mean.is_previous_x();
    double sum = 0;
    for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i)
      sum += element(static_cast<double>(x0[i]), static_cast<double>(noise[i]),
                     static_cast<double>(output[layout.mean(i)]), static_cast<double>(output[layout.variance(i)]))
                 .loss;
    terms[which] = sum / static_cast<double>(elements);
  });
  return terms;
}

/// KL of q(x_{n-1} | x0) from the standard normal, in bits per dimension.
template <sde::State S>
[[nodiscard]] double prior_bits(const GaussianDiffusion& diffusion, const S& x0) {
  const NoiseLevel& last = diffusion.level(diffusion.steps() - 1);
  const double mean = last.alpha * last.alpha, variance = last.sigma * last.sigma;
  double sum = 0;
  sde::for_each_element(
      [&](const auto& e) {
        const double x = static_cast<double>(e);
        sum += 0.5 * (variance + mean * x * x - 1 - std::log(variance));
      },
      x0);
  return sum / (static_cast<double>(sde::element_count(x0)) * std::numbers::ln2);
}

/// Sums up the bound of a model over a data set, batch by batch. Each sample is noised once for every step of the chain, at
/// the address (seed, streams::bound_noise, t), by its number in the data set: the result has the same bits however the
/// data set is cut. A chain of few timesteps has a bound of its own, which costs fewer evaluations and is looser.
class BoundEstimate {
 public:
  explicit BoundEstimate(GaussianDiffusion diffusion, std::uint64_t seed = 0, BoundOptions options = {})
      : diffusion_(std::move(diffusion)),
        seed_(seed),
        options_(options),
        sums_(static_cast<std::size_t>(diffusion_.steps()), 0.0) {}

  /// Takes the next N samples.
  /// \param model `model(x_t, times)` is the output for x_t [N, ..., C] and times [N], the timesteps
  /// \param x0    8-bit data in [-1, 1], [N, ..., C], not dequantised
  /// \throw ShapeError, ValueError as `bound_terms`; nothing has then been taken
  template <class T, class Model>
  void add(const Model& model, const Tensor<T>& x0) {
    std::vector<std::int64_t> t(x0.shape().rank() > 0 ? static_cast<std::size_t>(x0.extent(0)) : 0);
    diffusion_.check_batch("bound", x0.shape(), t);
    const auto elements = static_cast<std::uint64_t>(detail::sample_elements(x0.shape()));
    if (samples_ > 0 && elements != elements_)
      throw ShapeError("bound: expected samples of " + std::to_string(elements_) + " elements, got " +
                       std::to_string(elements));
    std::vector<double> sums = sums_;
    Tensor<T> noise = Tensor<T>::uninitialized(x0.shape());
    for (std::size_t step = 0; step < sums.size(); ++step) {
      std::fill(t.begin(), t.end(), static_cast<std::int64_t>(step));
      sde::draw_normal(noise, 1, {seed_, streams::bound_noise, static_cast<std::uint32_t>(step)}, samples_ * elements);
      const Tensor<T> output = model(diffusion_.q_sample(x0, t, noise), diffusion_.template times<T>(t));
      for (const double term : bound_terms(diffusion_, x0, noise, t, output, options_)) sums[step] += term;
    }
    for (std::int64_t n = 0; n < x0.extent(0); ++n)
      prior_ += prior_bits(diffusion_, std::vector<T>(x0.data() + n * static_cast<std::int64_t>(elements),
                                                      x0.data() + (n + 1) * static_cast<std::int64_t>(elements)));
    sums_ = std::move(sums);
    elements_ = elements;
    samples_ += static_cast<std::uint64_t>(x0.extent(0));
  }

  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }

  /// \throw ValueError where no sample has been taken
  [[nodiscard]] VariationalBound result() const {
    if (samples_ == 0) throw ValueError("bound: expected at least one sample, got none");
    const auto samples = static_cast<double>(samples_);
    VariationalBound bound{sums_, prior_ / samples};
    for (double& term : bound.terms) term /= samples;
    return bound;
  }

 private:
  GaussianDiffusion diffusion_;
  std::uint64_t seed_;
  BoundOptions options_;
  std::vector<double> sums_;  // bits per dimension, over the samples
  double prior_ = 0;
  std::uint64_t samples_ = 0, elements_ = 0;
};

}  // namespace easy_diffusion::diffusion
