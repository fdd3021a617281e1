/// \file
/// Attention, softmax, layer normalisation and GELU as the plain loops of their definitions, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "support/naive.hpp"

namespace easy_diffusion::test::naive {

/// Softmax of each row of x [..., C].
template <class T>
Tensor<T> softmax(const Tensor<T>& x) {
  const Index width = x.shape().back();
  Tensor<T> y(x.shape());
  for (Index row = 0; row < x.size() / width; ++row) {
    double largest = -HUGE_VAL, sum = 0;
    for (Index c = 0; c < width; ++c) largest = std::max(largest, double(x[row * width + c]));
    for (Index c = 0; c < width; ++c) sum += std::exp(double(x[row * width + c]) - largest);
    for (Index c = 0; c < width; ++c)
      y[row * width + c] = static_cast<T>(std::exp(double(x[row * width + c]) - largest) / sum);
  }
  return y;
}

template <class T>
Tensor<T> softmax_backward(const Tensor<T>& y, const Tensor<T>& dy) {
  const Index width = y.shape().back();
  Tensor<T> dx(y.shape());
  for (Index row = 0; row < y.size() / width; ++row) {
    double mean = 0;
    for (Index i = row * width; i < (row + 1) * width; ++i) mean += double(y[i]) * double(dy[i]);
    for (Index i = row * width; i < (row + 1) * width; ++i)
      dx[i] = static_cast<T>(double(y[i]) * (double(dy[i]) - mean));
  }
  return dx;
}

struct RowStatistics {
  double mean, rstd;
};

template <class T>
RowStatistics row_statistics(const Tensor<T>& x, Index row, double epsilon) {
  const Index width = x.shape().back();
  double mean = 0, variance = 0;
  for (Index i = row * width; i < (row + 1) * width; ++i) mean += double(x[i]) / double(width);
  for (Index i = row * width; i < (row + 1) * width; ++i)
    variance += (double(x[i]) - mean) * (double(x[i]) - mean) / double(width);
  return {mean, 1 / std::sqrt(variance + epsilon)};
}

template <class T>
Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double epsilon) {
  const Index width = x.shape().back();
  Tensor<T> y(x.shape());
  for (Index i = 0; i < x.size(); ++i) {
    const auto [mean, rstd] = row_statistics(x, i / width, epsilon);
    y[i] = static_cast<T>((double(x[i]) - mean) * rstd * double(gamma[i % width]) + double(beta[i % width]));
  }
  return y;
}

template <class T>
Gradients<T> layer_norm_backward(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy, double epsilon) {
  const Index width = x.shape().back();
  Tensor<double> dx(x.shape()), dgamma(gamma.shape()), dbeta(gamma.shape());
  for (Index row = 0; row < x.size() / width; ++row) {
    const auto s = row_statistics(x, row, epsilon);
    double mean_g = 0, mean_gx = 0;
    for (Index c = 0; c < width; ++c) {
      const double x_hat = (double(x[row * width + c]) - s.mean) * s.rstd, grad = double(dy[row * width + c]);
      dgamma[c] += grad * x_hat;
      dbeta[c] += grad;
      mean_g += grad * double(gamma[c]) / double(width);
      mean_gx += grad * double(gamma[c]) * x_hat / double(width);
    }
    for (Index c = 0; c < width; ++c) {
      const double x_hat = (double(x[row * width + c]) - s.mean) * s.rstd;
      dx[row * width + c] = s.rstd * (double(dy[row * width + c]) * double(gamma[c]) - mean_g - x_hat * mean_gx);
    }
  }
  return {rounded<T>(dx), rounded<T>(dgamma), rounded<T>(dbeta)};
}

inline double gelu_phi(double x, bool by_tanh) {
  return by_tanh ? 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)))
                 : 0.5 * std::erfc(-x / std::numbers::sqrt2);
}

template <class T>
Tensor<T> gelu(const Tensor<T>& x, bool by_tanh) {
  Tensor<T> y(x.shape());
  for (Index i = 0; i < x.size(); ++i) y[i] = static_cast<T>(double(x[i]) * gelu_phi(double(x[i]), by_tanh));
  return y;
}

template <class T>
Tensor<T> gelu_backward(const Tensor<T>& x, const Tensor<T>& dy, bool by_tanh) {
  Tensor<T> dx(x.shape());
  for (Index i = 0; i < x.size(); ++i) {
    const double v = double(x[i]), phi = gelu_phi(v, by_tanh);
    const double slope = by_tanh ? 2 * phi * (1 - phi) * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * v * v)
                                 : std::exp(-0.5 * v * v) / std::sqrt(2 * std::numbers::pi);
    dx[i] = static_cast<T>(double(dy[i]) * (phi + v * slope));
  }
  return dx;
}

template <class T>
struct Attention {
  Tensor<T> out, lse, dq, dk, dv;
};

/// q [N, Lq, heads Dk], k [N, Lk, heads Dk], v [N, Lk, heads Dv], dout [N, Lq, heads Dv]; everything at once.
template <class T>
Attention<T> attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& dout, Index heads,
                       double scale) {
  const Index batch = q.extent(0), queries = q.extent(1), keys = k.extent(1);
  const Index dk = q.extent(2) / heads, dv = v.extent(2) / heads;
  Tensor<double> out(dout.shape()), lse(Shape{batch, heads, queries}), gq(q.shape()), gk(k.shape()), gv(v.shape());
  std::vector<double> p(static_cast<std::size_t>(keys));
  for (Index n = 0; n < batch; ++n)
    for (Index h = 0; h < heads; ++h)
      for (Index i = 0; i < queries; ++i) {
        double largest = -HUGE_VAL, sum = 0;
        for (Index j = 0; j < keys; ++j) {
          double score = 0;
          for (Index c = h * dk; c < (h + 1) * dk; ++c) score += double(q(n, i, c)) * double(k(n, j, c));
          p[static_cast<std::size_t>(j)] = scale * score;
          largest = std::max(largest, scale * score);
        }
        for (double& s : p) sum += s = std::exp(s - largest);
        lse(n, h, i) = largest + std::log(sum);
        double delta = 0;
        for (Index c = h * dv; c < (h + 1) * dv; ++c) {
          for (Index j = 0; j < keys; ++j) out(n, i, c) += p[static_cast<std::size_t>(j)] / sum * double(v(n, j, c));
          delta += out(n, i, c) * double(dout(n, i, c));
        }
        for (Index j = 0; j < keys; ++j) {
          const double probability = p[static_cast<std::size_t>(j)] / sum;
          double dp = 0;
          for (Index c = h * dv; c < (h + 1) * dv; ++c) {
            dp += double(dout(n, i, c)) * double(v(n, j, c));
            gv(n, j, c) += probability * double(dout(n, i, c));
          }
          const double ds = scale * probability * (dp - delta);
          for (Index c = h * dk; c < (h + 1) * dk; ++c) {
            gq(n, i, c) += ds * double(k(n, j, c));
            gk(n, j, c) += ds * double(q(n, i, c));
          }
        }
      }
  return {rounded<T>(out), rounded<T>(lse), rounded<T>(gq), rounded<T>(gk), rounded<T>(gv)};
}

}  // namespace easy_diffusion::test::naive
