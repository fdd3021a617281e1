/// \file
/// A normal distribution whose components are independent: what an autoencoder's encoder says of a latent picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::latent {

/// Mean and log-variance side by side in the channels \cite kingma_2013_vae; log-variances are held between -30 and 20.
template <class T>
class DiagonalGaussian {
 public:
  using value_type = T;

  DiagonalGaussian() = default;
  /// \param moments [N, H, W, 2 C]: C means, then C log-variances; shared, not copied
  /// \throw ShapeError for another rank, or an odd number of channels
  explicit DiagonalGaussian(const Tensor<T>& moments) : moments_(moments.shared()) {
    expect_rank("DiagonalGaussian", 4, "[N, H, W, 2 C]", moments.shape());
    if (moments.extent(3) % 2 != 0)
      throw ShapeError("DiagonalGaussian: expected means and log-variances, an even number of channels, got " +
                       moments.shape().to_string());
  }

  /// [N, H, W, C]
  [[nodiscard]] Shape shape() const {
    if (moments_.empty()) return {};
    const Shape& s = moments_.shape();
    return {s[0], s[1], s[2], s[3] / 2};
  }
  [[nodiscard]] const Tensor<T>& moments() const noexcept { return *moments_; }

  /// The most likely value, which is the mean. \return [N, H, W, C]
  [[nodiscard]] Tensor<T> mode() const {
    Tensor<T> z = Tensor<T>::uninitialized(shape());
    for_each([&](std::int64_t i, T mean, T) { z[i] = mean; });
    return z;
  }

  /// mean + deviation n, n the standard normal deviates of that address from number `first` on.
  /// \return [N, H, W, C]
  [[nodiscard]] Tensor<T> sample(const NoiseAddress& noise, std::uint64_t first = 0) const {
    Tensor<T> z = Tensor<T>::uninitialized(shape());
    fill_normal(z.span(), noise, first);
    for_each([&](std::int64_t i, T mean, T log_variance) { z[i] = mean + std::exp(T(0.5) * log_variance) * z[i]; });
    return z;
  }

  /// mean + deviation noise. \param noise [N, H, W, C] \return the same shape
  /// \throw ShapeError where the noise has another one
  [[nodiscard]] Tensor<T> sample(const Tensor<T>& noise) const {
    expect_shape("DiagonalGaussian noise", shape(), noise.shape());
    Tensor<T> z = Tensor<T>::uninitialized(shape());
    for_each([&](std::int64_t i, T mean, T log_variance) { z[i] = mean + std::exp(T(0.5) * log_variance) * noise[i]; });
    return z;
  }

  /// Gradient of `mode`. \param dz [N, H, W, C] \return of the moments, [N, H, W, 2 C]
  [[nodiscard]] Tensor<T> mode_backward(const Tensor<T>& dz) const {
    expect_shape("DiagonalGaussian gradient", shape(), dz.shape());
    return gradient([&](std::int64_t i, T, T) { return std::pair{dz[i], T(0)}; });
  }

  /// Gradient of `sample` with the same noise. \param dz [N, H, W, C] \return of the moments, [N, H, W, 2 C]
  [[nodiscard]] Tensor<T> sample_backward(const Tensor<T>& dz, const NoiseAddress& noise,
                                          std::uint64_t first = 0) const {
    Tensor<T> n = Tensor<T>::uninitialized(shape());
    fill_normal(n.span(), noise, first);
    return sample_backward(dz, n);
  }
  [[nodiscard]] Tensor<T> sample_backward(const Tensor<T>& dz, const Tensor<T>& noise) const {
    expect_shape("DiagonalGaussian gradient", shape(), dz.shape());
    expect_shape("DiagonalGaussian noise", shape(), noise.shape());
    return gradient([&](std::int64_t i, T, T log_variance) {
      return std::pair{dz[i], dz[i] * noise[i] * T(0.5) * std::exp(T(0.5) * log_variance)};
    });
  }

  /// Kullback-Leibler divergence from the standard normal distribution, of each sample, in nats. \return [N]
  [[nodiscard]] Tensor<T> kl() const {
    return sums([](std::int64_t, double mean, double log_variance) {
      return 0.5 * (mean * mean + std::exp(log_variance) - 1 - log_variance);
    });
  }

  /// The same from another distribution of that shape. \throw ShapeError where shapes differ
  [[nodiscard]] Tensor<T> kl(const DiagonalGaussian& other) const {
    expect_shape("DiagonalGaussian", shape(), other.shape());
    return sums([&](std::int64_t i, double mean, double log_variance) {
      const auto [mean_t, log_variance_t] = other.at(i);
      const double other_log_variance = static_cast<double>(log_variance_t);
      const double away = mean - static_cast<double>(mean_t);
      return 0.5 * (away * away * std::exp(-other_log_variance) + std::exp(log_variance - other_log_variance) - 1 -
                    log_variance + other_log_variance);
    });
  }

  /// Gradient of the sum of weight times `kl()` over the samples. \return of the moments, [N, H, W, 2 C]
  [[nodiscard]] Tensor<T> kl_backward(T weight) const {
    return gradient([&](std::int64_t, T mean, T log_variance) {
      return std::pair{weight * mean, weight * T(0.5) * std::expm1(log_variance)};
    });
  }

  /// Negative log-likelihood of z, of each sample, in nats. \param z [N, H, W, C] \return [N]
  /// \throw ShapeError where shapes differ
  [[nodiscard]] Tensor<T> nll(const Tensor<T>& z) const {
    expect_shape("DiagonalGaussian", shape(), z.shape());
    return sums([&](std::int64_t i, double mean, double log_variance) {
      const double away = static_cast<double>(z[i]) - mean;
      return 0.5 * (std::log(2 * std::numbers::pi) + log_variance + away * away * std::exp(-log_variance));
    });
  }

 private:
  static constexpr T least = T(-30), most = T(20);  ///< log-variances

  /// Place of component i's mean among the moments; its log-variance lies C further on.
  [[nodiscard]] std::int64_t place(std::int64_t i) const {
    const std::int64_t c = moments_.extent(3) / 2;
    return i / c * 2 * c + i % c;
  }
  [[nodiscard]] std::pair<T, T> at(std::int64_t i) const {
    const std::int64_t p = place(i);
    return {moments_[p], std::clamp(moments_[p + moments_.extent(3) / 2], least, most)};
  }

  template <class F>
  void for_each(F&& f) const {
    for (std::int64_t i = 0; i < moments_.size() / 2; ++i) {
      const auto [mean, log_variance] = at(i);
      f(i, mean, log_variance);
    }
  }

  /// `f` gives the gradients of component i's mean and log-variance; where it is held, the latter has none.
  template <class F>
  Tensor<T> gradient(F&& f) const {
    Tensor<T> dmoments = Tensor<T>::uninitialized(moments_.shape());
    const std::int64_t c = moments_.extent(3) / 2;
    for_each([&](std::int64_t i, T mean, T log_variance) {
      const std::int64_t p = place(i);
      const auto [dmean, dlog_variance] = f(i, mean, log_variance);
      const bool held = moments_[p + c] < least || moments_[p + c] > most;
      dmoments[p] = dmean;
      dmoments[p + c] = held ? T(0) : dlog_variance;
    });
    return dmoments;
  }

  /// Of each sample, in double and in the order of memory.
  template <class F>
  Tensor<T> sums(F&& f) const {
    const std::int64_t batch = moments_.extent(0);
    const std::int64_t size = batch > 0 ? moments_.size() / 2 / batch : 0;
    Tensor<T> result = Tensor<T>::uninitialized(Shape{batch});
    for (std::int64_t n = 0; n < batch; ++n) {
      double sum = 0;
      for (std::int64_t i = n * size; i < (n + 1) * size; ++i) {
        const auto [mean, log_variance] = at(i);
        sum += f(i, static_cast<double>(mean), static_cast<double>(log_variance));
      }
      result[n] = static_cast<T>(sum);
    }
    return result;
  }

  SharedTensor<T> moments_;
};

}  // namespace easy_diffusion::latent
