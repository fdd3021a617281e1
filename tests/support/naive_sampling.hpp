/// \file
/// Pooling, resampling and batch normalisation once more, as the plain loops of their definitions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/pooling.hpp"
#include "easy_diffusion/ops/resample.hpp"

namespace easy_diffusion::test::naive {

/// Calls f(output, first, last) for each window of an axis of `inputs` numbers.
template <class F>
void for_each_window(std::int64_t inputs, std::int64_t outputs, std::int64_t adaptive, const ops::Pool2dOptions& o,
                     F&& f) {
  const std::int64_t stride = o.stride > 0 ? o.stride : o.kernel;
  for (std::int64_t i = 0; i < outputs; ++i) {
    std::int64_t first = inputs, last = 0;
    for (std::int64_t k = 0; k < inputs; ++k) {
      // Adaptive: pixel k is the interval [k, k + 1], the window [i, i + 1] inputs / outputs.
      const bool inside = adaptive > 0 ? (k + 1) * outputs > i * inputs && k * outputs < (i + 1) * inputs
                                       : k >= i * stride - o.padding && k < i * stride - o.padding + o.kernel;
      if (!inside) continue;
      first = std::min(first, k);
      last = k + 1;
    }
    f(i, first, last);
  }
}

struct Pooled {
  Tensor<double> average, largest, average_dx, largest_dx;
};

/// Both poolings and what their backward passes give for dy; `out` is the shape of the result.
template <class T>
Pooled pool2d(const Tensor<T>& x, const ops::Pool2dOptions& o, const Tensor<T>& dy, const Shape& out) {
  Pooled r{Tensor<double>(out), Tensor<double>(out, -HUGE_VAL), Tensor<double>(x.shape()), Tensor<double>(x.shape())};
  for (std::int64_t n = 0; n < out[0]; ++n)
    for (std::int64_t c = 0; c < out[3]; ++c)
      for_each_window(x.extent(1), out[1], o.adaptive_h, o, [&](std::int64_t i, std::int64_t top, std::int64_t bottom) {
        for_each_window(x.extent(2), out[2], o.adaptive_w, o,
                        [&](std::int64_t j, std::int64_t left, std::int64_t right) {
                          const double area = static_cast<double>((bottom - top) * (right - left));
                          std::int64_t at_h = top, at_w = left;
                          for (std::int64_t h = top; h < bottom; ++h)
                            for (std::int64_t w = left; w < right; ++w) {
                              const double value = static_cast<double>(x(n, h, w, c));
                              r.average(n, i, j, c) += value / area;
                              r.average_dx(n, h, w, c) += static_cast<double>(dy(n, i, j, c)) / area;
                              if (value > r.largest(n, i, j, c)) {
                                r.largest(n, i, j, c) = value;
                                at_h = h;
                                at_w = w;
                              }
                            }
                          r.largest_dx(n, at_h, at_w, c) += static_cast<double>(dy(n, i, j, c));
                        });
      });
  return r;
}

/// The weight of input k in output i.
inline double resampling_weight(ops::Resampling mode, std::int64_t inputs, std::int64_t outputs, std::int64_t i,
                                std::int64_t k) {
  const double m = static_cast<double>(inputs), n = static_cast<double>(outputs), at = static_cast<double>(i);
  if (mode == ops::Resampling::nearest) return k == i * inputs / outputs ? 1 : 0;
  double source = (at + 0.5) * m / n - 0.5;
  if (mode == ops::Resampling::bilinear_corners) source = outputs > 1 ? at * (m - 1) / (n - 1) : 0;
  source = std::clamp(source, 0.0, m - 1);
  return std::max(0.0, 1 - std::abs(source - static_cast<double>(k)));
}

struct Resampled {
  Tensor<double> y, dx;
};

template <class T>
Resampled resample(const Tensor<T>& x, ops::Resampling mode, const Tensor<T>& dy) {
  Resampled r{Tensor<double>(dy.shape()), Tensor<double>(x.shape())};
  for (std::int64_t i = 0; i < dy.extent(1); ++i)
    for (std::int64_t j = 0; j < dy.extent(2); ++j)
      for (std::int64_t h = 0; h < x.extent(1); ++h)
        for (std::int64_t w = 0; w < x.extent(2); ++w) {
          const double weight = resampling_weight(mode, x.extent(1), dy.extent(1), i, h) *
                                resampling_weight(mode, x.extent(2), dy.extent(2), j, w);
          for (std::int64_t n = 0; n < x.extent(0); ++n)
            for (std::int64_t c = 0; c < x.extent(3); ++c) {
              r.y(n, i, j, c) += weight * static_cast<double>(x(n, h, w, c));
              r.dx(n, h, w, c) += weight * static_cast<double>(dy(n, i, j, c));
            }
        }
  return r;
}

struct BatchNormalised {
  Tensor<double> mean, var, y, dx, dgamma, dbeta;
};

/// With the batch's statistics, or (`fixed`) with those given.
template <class T>
BatchNormalised batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, const Tensor<T>& dy,
                           double epsilon, bool fixed, const Tensor<T>& mean, const Tensor<T>& var) {
  const std::int64_t channels = x.shape().back(), rows = x.size() / channels;
  const Shape one{channels};
  BatchNormalised r{Tensor<double>(one),       Tensor<double>(one), Tensor<double>(x.shape()),
                    Tensor<double>(x.shape()), Tensor<double>(one), Tensor<double>(one)};
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto at = [&](const Tensor<T>& t, std::int64_t row) { return static_cast<double>(t[row * channels + c]); };
    const double count = static_cast<double>(rows);
    for (std::int64_t row = 0; row < rows; ++row) r.mean[c] += at(x, row) / count;
    if (fixed) r.mean[c] = static_cast<double>(mean[c]);
    for (std::int64_t row = 0; row < rows; ++row)
      r.var[c] += (at(x, row) - r.mean[c]) * (at(x, row) - r.mean[c]) / count;
    if (fixed) r.var[c] = static_cast<double>(var[c]);
    const double rstd = 1 / std::sqrt(r.var[c] + epsilon), g = static_cast<double>(gamma[c]);
    const auto x_hat = [&](std::int64_t row) { return (at(x, row) - r.mean[c]) * rstd; };
    for (std::int64_t row = 0; row < rows; ++row) {
      r.y[row * channels + c] = x_hat(row) * g + static_cast<double>(beta[c]);
      r.dgamma[c] += at(dy, row) * x_hat(row);
      r.dbeta[c] += at(dy, row);
    }
    for (std::int64_t row = 0; row < rows; ++row)
      r.dx[row * channels + c] =
          g * rstd * (at(dy, row) - (fixed ? 0 : (r.dbeta[c] + x_hat(row) * r.dgamma[c]) / count));
  }
  return r;
}

}  // namespace easy_diffusion::test::naive
