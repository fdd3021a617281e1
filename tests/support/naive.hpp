/// \file
/// Every operation of `ops/` once more, as the plain loops of its definition, summed in double. The fast kernels
/// are tested against these. Backward functions return gradients instead of adding to them.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::test::naive {

using Index = std::int64_t;

template <class T>
struct Gradients {
  Tensor<T> dx, dweight, dbias;
};

/// Calls f(n, small y, small x, i, j, large y, large x) wherever a kernel element meets a pixel of the large picture.
template <class F>
void for_each_meeting(Index batch, Index small_h, Index small_w, Index kernel_h, Index kernel_w, Index large_h,
                      Index large_w, Index stride, Index padding, F&& f) {
  for (Index n = 0; n < batch; ++n)
    for (Index y = 0; y < small_h; ++y)
      for (Index x = 0; x < small_w; ++x)
        for (Index i = 0; i < kernel_h; ++i)
          for (Index j = 0; j < kernel_w; ++j) {
            const Index large_y = y * stride + i - padding;
            const Index large_x = x * stride + j - padding;
            if (large_y >= 0 && large_y < large_h && large_x >= 0 && large_x < large_w)
              f(n, y, x, i, j, large_y, large_x);
          }
}

template <class T>
Tensor<T> rounded(const Tensor<double>& x) {
  return Tensor<T>::copy_of(x.view());
}

/// x [N, H, W, C_in], weight [KH, KW, C_in, C_out], bias [C_out] or empty; `out` is the shape of the result.
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, Index stride, Index padding,
                 const Shape& out) {
  Tensor<double> y(out);
  for_each_meeting(out[0], out[1], out[2], weight.extent(0), weight.extent(1), x.extent(1), x.extent(2), stride,
                   padding, [&](Index n, Index sy, Index sx, Index i, Index j, Index ly, Index lx) {
                     for (Index c = 0; c < x.extent(3); ++c)
                       for (Index k = 0; k < out[3]; ++k)
                         y(n, sy, sx, k) += double(x(n, ly, lx, c)) * double(weight(i, j, c, k));
                   });
  if (!bias.empty())
    for (Index i = 0; i < y.size(); ++i) y[i] += double(bias[i % out[3]]);
  return rounded<T>(y);
}

template <class T>
Gradients<T> conv2d_backward(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& dy, Index stride,
                             Index padding) {
  Tensor<double> dx(x.shape()), dweight(weight.shape()), dbias(Shape{dy.extent(3)});
  for_each_meeting(dy.extent(0), dy.extent(1), dy.extent(2), weight.extent(0), weight.extent(1), x.extent(1),
                   x.extent(2), stride, padding,
                   [&](Index n, Index sy, Index sx, Index i, Index j, Index ly, Index lx) {
                     for (Index c = 0; c < x.extent(3); ++c)
                       for (Index k = 0; k < dy.extent(3); ++k) {
                         const double g = double(dy(n, sy, sx, k));
                         dx(n, ly, lx, c) += g * double(weight(i, j, c, k));
                         dweight(i, j, c, k) += g * double(x(n, ly, lx, c));
                       }
                   });
  for (Index i = 0; i < dy.size(); ++i) dbias[i % dy.extent(3)] += double(dy[i]);
  return {rounded<T>(dx), rounded<T>(dweight), rounded<T>(dbias)};
}

/// x [N, H, W, C_in], weight [KH, KW, C_out, C_in], bias [C_out] or empty; `out` is the shape of the result.
template <class T>
Tensor<T> conv_transpose2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, Index stride,
                           Index padding, const Shape& out) {
  Tensor<double> y(out);
  for_each_meeting(out[0], x.extent(1), x.extent(2), weight.extent(0), weight.extent(1), out[1], out[2], stride,
                   padding, [&](Index n, Index sy, Index sx, Index i, Index j, Index ly, Index lx) {
                     for (Index k = 0; k < out[3]; ++k)
                       for (Index c = 0; c < x.extent(3); ++c)
                         y(n, ly, lx, k) += double(x(n, sy, sx, c)) * double(weight(i, j, k, c));
                   });
  if (!bias.empty())
    for (Index i = 0; i < y.size(); ++i) y[i] += double(bias[i % out[3]]);
  return rounded<T>(y);
}

template <class T>
Gradients<T> conv_transpose2d_backward(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& dy, Index stride,
                                       Index padding) {
  Tensor<double> dx(x.shape()), dweight(weight.shape()), dbias(Shape{dy.extent(3)});
  for_each_meeting(x.extent(0), x.extent(1), x.extent(2), weight.extent(0), weight.extent(1), dy.extent(1),
                   dy.extent(2), stride, padding,
                   [&](Index n, Index sy, Index sx, Index i, Index j, Index ly, Index lx) {
                     for (Index k = 0; k < dy.extent(3); ++k)
                       for (Index c = 0; c < x.extent(3); ++c) {
                         const double g = double(dy(n, ly, lx, k));
                         dx(n, sy, sx, c) += g * double(weight(i, j, k, c));
                         dweight(i, j, k, c) += g * double(x(n, sy, sx, c));
                       }
                   });
  for (Index i = 0; i < dy.size(); ++i) dbias[i % dy.extent(3)] += double(dy[i]);
  return {rounded<T>(dx), rounded<T>(dweight), rounded<T>(dbias)};
}

/// x [..., C_in], weight [C_in, C_out], bias [C_out] or empty; `out` is the shape of the result.
template <class T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Shape& out) {
  const Index ci = weight.extent(0), co = weight.extent(1);
  Tensor<double> y(out);
  for (Index row = 0; row < x.size() / ci; ++row)
    for (Index k = 0; k < co; ++k) {
      for (Index c = 0; c < ci; ++c) y[row * co + k] += double(x[row * ci + c]) * double(weight(c, k));
      if (!bias.empty()) y[row * co + k] += double(bias[k]);
    }
  return rounded<T>(y);
}

template <class T>
Gradients<T> linear_backward(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& dy) {
  const Index ci = weight.extent(0), co = weight.extent(1);
  Tensor<double> dx(x.shape()), dweight(weight.shape()), dbias(Shape{co});
  for (Index row = 0; row < x.size() / ci; ++row)
    for (Index k = 0; k < co; ++k) {
      const double g = double(dy[row * co + k]);
      for (Index c = 0; c < ci; ++c) {
        dx[row * ci + c] += g * double(weight(c, k));
        dweight(c, k) += g * double(x[row * ci + c]);
      }
      dbias[k] += g;
    }
  return {rounded<T>(dx), rounded<T>(dweight), rounded<T>(dbias)};
}

/// Mean and one over the standard deviation of each sample's groups, [N, groups]; x is [N, ..., C].
struct Statistics {
  Tensor<double> mean, rstd;
};

template <class T>
Statistics group_statistics(const Tensor<T>& x, Index groups, double epsilon) {
  const Index batch = x.extent(0), channels = x.shape().back(), pixels = x.size() / batch / channels;
  Statistics s{Tensor<double>(Shape{batch, groups}), Tensor<double>(Shape{batch, groups})};
  const Index width = channels / groups;
  for (Index n = 0; n < batch; ++n)
    for (Index k = 0; k < groups; ++k) {
      double sum = 0, squares = 0;
      for (Index p = 0; p < pixels; ++p)
        for (Index c = k * width; c < (k + 1) * width; ++c) sum += double(x[(n * pixels + p) * channels + c]);
      const double mean = sum / double(pixels * width);
      for (Index p = 0; p < pixels; ++p)
        for (Index c = k * width; c < (k + 1) * width; ++c) {
          const double centred = double(x[(n * pixels + p) * channels + c]) - mean;
          squares += centred * centred;
        }
      s.mean(n, k) = mean;
      s.rstd(n, k) = 1 / std::sqrt(squares / double(pixels * width) + epsilon);
    }
  return s;
}

template <class T>
Tensor<T> group_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, Index groups, double epsilon) {
  const auto s = group_statistics(x, groups, epsilon);
  const Index channels = x.shape().back(), sample = x.size() / x.extent(0);
  Tensor<double> y(x.shape());
  for (Index i = 0; i < x.size(); ++i) {
    const Index n = i / sample, c = i % channels, k = c / (channels / groups);
    y[i] = (double(x[i]) - s.mean(n, k)) * s.rstd(n, k) * double(gamma[c]) + double(beta[c]);
  }
  return rounded<T>(y);
}

/// `dweight` is that of gamma, `dbias` that of beta.
template <class T>
Gradients<T> group_norm_backward(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy, Index groups,
                                 double epsilon) {
  const auto s = group_statistics(x, groups, epsilon);
  const Index channels = x.shape().back(), sample = x.size() / x.extent(0), width = channels / groups;
  const double count = double(sample / groups);
  Tensor<double> dx(x.shape()), dgamma(gamma.shape()), dbeta(gamma.shape());
  Tensor<double> mean_g(s.mean.shape()), mean_gx(s.mean.shape());
  const auto at = [&](Index i) { return std::pair{i / sample, i % channels / width}; };
  const auto x_hat = [&](Index i) {
    const auto [n, k] = at(i);
    return (double(x[i]) - s.mean(n, k)) * s.rstd(n, k);
  };
  for (Index i = 0; i < x.size(); ++i) {
    const auto [n, k] = at(i);
    const Index c = i % channels;
    dgamma[c] += double(dy[i]) * x_hat(i);
    dbeta[c] += double(dy[i]);
    mean_g(n, k) += double(dy[i]) * double(gamma[c]) / count;
    mean_gx(n, k) += double(dy[i]) * double(gamma[c]) * x_hat(i) / count;
  }
  for (Index i = 0; i < x.size(); ++i) {
    const auto [n, k] = at(i);
    const double g = double(dy[i]) * double(gamma[i % channels]);
    dx[i] = s.rstd(n, k) * (g - mean_g(n, k) - x_hat(i) * mean_gx(n, k));
  }
  return {rounded<T>(dx), rounded<T>(dgamma), rounded<T>(dbeta)};
}

template <class T>
Tensor<T> silu(const Tensor<T>& x) {
  Tensor<T> y(x.shape());
  for (Index i = 0; i < x.size(); ++i) y[i] = static_cast<T>(double(x[i]) / (1 + std::exp(-double(x[i]))));
  return y;
}

template <class T>
Tensor<T> silu_backward(const Tensor<T>& x, const Tensor<T>& dy) {
  Tensor<T> dx(x.shape());
  for (Index i = 0; i < x.size(); ++i) {
    const double s = 1 / (1 + std::exp(-double(x[i])));
    dx[i] = static_cast<T>(double(dy[i]) * (s + double(x[i]) * s * (1 - s)));
  }
  return dx;
}

/// x [N, H, W, C] plus embedding [N, C].
template <class T>
Tensor<T> embedding_add(const Tensor<T>& x, const Tensor<T>& embedding) {
  Tensor<T> y(x.shape());
  for (Index n = 0; n < x.extent(0); ++n)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index w = 0; w < x.extent(2); ++w)
        for (Index c = 0; c < x.extent(3); ++c) y(n, h, w, c) = x(n, h, w, c) + embedding(n, c);
  return y;
}

template <class T>
Tensor<T> embedding_add_backward(const Tensor<T>& dy) {
  Tensor<double> sum(Shape{dy.extent(0), dy.extent(3)});
  for (Index n = 0; n < dy.extent(0); ++n)
    for (Index h = 0; h < dy.extent(1); ++h)
      for (Index w = 0; w < dy.extent(2); ++w)
        for (Index c = 0; c < dy.extent(3); ++c) sum(n, c) += double(dy(n, h, w, c));
  return rounded<T>(sum);
}

/// a [..., C_a] and b [..., C_b] to [..., C_a + C_b].
template <class T>
Tensor<T> concat(const Tensor<T>& a, const Tensor<T>& b, const Shape& joined) {
  Tensor<T> y(joined);
  const Index ca = a.shape().back(), cb = b.shape().back();
  for (Index p = 0; p < a.size() / ca; ++p)
    for (Index c = 0; c < ca + cb; ++c) y[p * (ca + cb) + c] = c < ca ? a[p * ca + c] : b[p * cb + c - ca];
  return y;
}

/// t [N], w [D] to [N, 2 D].
template <class T>
Tensor<T> fourier_features(const Tensor<T>& t, const Tensor<T>& w) {
  Tensor<T> y(Shape{t.size(), 2 * w.size()});
  for (Index n = 0; n < t.size(); ++n)
    for (Index k = 0; k < w.size(); ++k) {
      const double angle = 2 * std::numbers::pi * double(t[n]) * double(w[k]);
      y(n, k) = static_cast<T>(std::sin(angle));
      y(n, w.size() + k) = static_cast<T>(std::cos(angle));
    }
  return y;
}

template <class T>
Tensor<T> fourier_features_backward(const Tensor<T>& t, const Tensor<T>& w, const Tensor<T>& dy) {
  Tensor<double> dt(t.shape());
  for (Index n = 0; n < t.size(); ++n)
    for (Index k = 0; k < w.size(); ++k) {
      const double factor = 2 * std::numbers::pi * double(w[k]);
      const double angle = factor * double(t[n]);
      dt[n] += factor * (double(dy(n, k)) * std::cos(angle) - double(dy(n, w.size() + k)) * std::sin(angle));
    }
  return rounded<T>(dt);
}

}  // namespace easy_diffusion::test::naive
