/// \file
/// Rows of bench_ops that memory bounds: normalisations, activations, sums, Adam.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/group_norm.hpp"
#include "easy_diffusion/ops/group_norm_silu.hpp"
#include "easy_diffusion/ops/silu.hpp"
#include "support/check.hpp"
#include "support/ops_report.hpp"

namespace easy_diffusion::bench {

/// Bytes of `passes` reads or writes of a tensor.
inline Work passes(double count, const Tensor<float>& x) {
  return Work::bytes(count * static_cast<double>(x.size()) * sizeof(float));
}

inline void silu_rows(OpsReport& report) {
  const Tensor<float> x = random_tensor({16, 32, 32, 128}, 1);
  const Tensor<float> dy = random_tensor(x.shape(), 2);
  Tensor<float> out(x.shape());
  const auto forward = [&] { ops::silu_forward(x.view(), out.view()); };
  const auto backward = [&] { ops::silu_backward(x.view(), dy.view(), out.view()); };
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  report.row(
      "silu_16x32x32x128.forward", passes(2, x),
      [&] {
        forward();
        for (const std::int64_t i : samples(x.size())) {
          const double v = static_cast<double>(x[i]);
          expect_close("silu forward", static_cast<double>(out[i]), v * sigmoid(v), 1);
        }
      },
      forward);
  report.row(
      "silu_16x32x32x128.backward", passes(3, x),
      [&] {
        backward();
        for (const std::int64_t i : samples(x.size())) {
          const double v = static_cast<double>(x[i]);
          const double s = sigmoid(v);
          expect_close("silu backward", static_cast<double>(out[i]), static_cast<double>(dy[i]) * s * (1 + v * (1 - s)),
                       1);
        }
      },
      backward);
}

inline void add_rows(OpsReport& report) {
  Tensor<float> x = random_tensor({16, 32, 32, 128}, 1);
  const Tensor<float> y = random_tensor(x.shape(), 2);
  const auto run = [&] { ops::add_to(x.view(), y.view()); };
  report.row(
      "add_16x32x32x128", passes(3, x),
      [&] {
        const Tensor<float> before = x;
        run();
        for (const std::int64_t i : samples(x.size()))
          expect_close("add", static_cast<double>(x[i]), static_cast<double>(before[i]) + static_cast<double>(y[i]), 1);
      },
      run);
}

/// Group normalisation of [N, H, W, C] in plain loops, in double, one element at a time.
struct PlainGroupNorm {
  const Tensor<float>& x;
  const Tensor<float>& gamma;
  const Tensor<float>& beta;
  std::int64_t groups;
  double epsilon;

  struct Element {
    double x_hat, rstd;
  };

  /// f(index) for every element of the group that element i belongs to.
  template <class F>
  void for_group(std::int64_t i, F&& f) const {
    const std::int64_t channels = x.extent(3);
    const std::int64_t group = channels / groups;
    const std::int64_t pixels = x.extent(1) * x.extent(2);
    const std::int64_t first = i / (pixels * channels) * pixels * channels + i % channels / group * group;
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t c = 0; c < group; ++c) f(first + p * channels + c);
  }

  [[nodiscard]] Element element(std::int64_t i) const {
    double count = 0;
    double sum = 0;
    double squares = 0;
    for_group(i, [&](std::int64_t k) {
      const double v = static_cast<double>(x[k]);
      count += 1;
      sum += v;
      squares += v * v;
    });
    const double mean = sum / count;
    const double rstd = 1 / std::sqrt(squares / count - mean * mean + epsilon);
    return {(static_cast<double>(x[i]) - mean) * rstd, rstd};
  }

  [[nodiscard]] double y(std::int64_t i) const {
    const std::int64_t c = i % x.extent(3);
    return element(i).x_hat * static_cast<double>(gamma[c]) + static_cast<double>(beta[c]);
  }

  /// The gradient of x where dy(k, y(k)) is that of the result.
  template <class DY>
  [[nodiscard]] double dx(std::int64_t i, DY&& dy) const {
    const Element at = element(i);
    const double mean = static_cast<double>(x[i]) - at.x_hat / at.rstd;
    double count = 0;
    double sum = 0;
    double sum_x_hat = 0;
    const auto gradient = [&](std::int64_t k, double x_hat) {
      const std::int64_t c = k % x.extent(3);
      const double gain = static_cast<double>(gamma[c]);
      return gain * dy(k, x_hat * gain + static_cast<double>(beta[c]));
    };
    for_group(i, [&](std::int64_t k) {
      const double x_hat = (static_cast<double>(x[k]) - mean) * at.rstd;
      const double g = gradient(k, x_hat);
      count += 1;
      sum += g;
      sum_x_hat += g * x_hat;
    });
    return at.rstd * (gradient(i, at.x_hat) - sum / count - at.x_hat * sum_x_hat / count);
  }
};

/// Group normalisation, with and without SiLU behind it.
inline void group_norm_rows(OpsReport& report, bool silu) {
  const std::string name = std::string(silu ? "group_norm_silu" : "group_norm") + "_16x32x32x128_g32";
  const std::string forward_row = name + ".forward";
  const std::string backward_row = name + ".backward";
  const std::string both_row = name + ".forward_backward";
  if (!report.wants(forward_row) && !report.wants(backward_row) && !report.wants(both_row)) return;
  const Tensor<float> x = random_tensor({16, 32, 32, 128}, 1);
  const Tensor<float> dy = random_tensor(x.shape(), 2);
  const Tensor<float> gamma = random_tensor({128}, 3);
  const Tensor<float> beta = random_tensor({128}, 4);
  Tensor<float> y(x.shape());
  Tensor<float> dx(x.shape());
  Tensor<float> mean(Shape{16, 32});
  Tensor<float> rstd(Shape{16, 32});
  Tensor<float> dgamma(gamma.shape());
  Tensor<float> dbeta(beta.shape());
  const auto forward = [&] {
    if (silu)
      ops::group_norm_silu_forward(x.view(), {}, gamma.view(), beta.view(), 32, 1e-5F, y.view(), mean.view(),
                                   rstd.view());
    else
      ops::group_norm_forward(x.view(), gamma.view(), beta.view(), 32, 1e-5F, y.view(), mean.view(), rstd.view());
  };
  const auto backward = [&] {
    const auto saved_mean = std::as_const(mean).view();
    const auto saved_rstd = std::as_const(rstd).view();
    if (silu)
      ops::group_norm_silu_backward(x.view(), {}, gamma.view(), beta.view(), saved_mean, saved_rstd, dy.view(), 32,
                                    dx.view(), {}, dgamma.view(), dbeta.view());
    else
      ops::group_norm_backward(x.view(), gamma.view(), saved_mean, saved_rstd, dy.view(), 32, dx.view(), dgamma.view(),
                               dbeta.view());
  };
  const auto both = [&] {
    forward();
    backward();
  };
  const PlainGroupNorm plain{x, gamma, beta, 32, 1e-5};
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  const auto check_y = [&] {
    forward();
    for (const std::int64_t i : samples(x.size())) {
      const double v = plain.y(i);
      expect_close(forward_row, static_cast<double>(y[i]), silu ? v * sigmoid(v) : v, 1);
    }
  };
  const auto check_dx = [&] {
    backward();
    for (const std::int64_t i : samples(x.size()))
      expect_close(backward_row, static_cast<double>(dx[i]),
                   plain.dx(i,
                            [&](std::int64_t k, double v) {
                              const double s = sigmoid(v);
                              return static_cast<double>(dy[k]) * (silu ? s * (1 + v * (1 - s)) : 1);
                            }),
                   1);
  };
  forward();  // backward needs the means also where the filter leaves the first row out
  report.row(forward_row, passes(2, x), check_y, forward);
  report.row(backward_row, passes(3, x), check_dx, backward);
  report.row(both_row, passes(5, x), check_dx, both);
}

/// One parameter of four million numbers.
struct AdamModel {
  nn::Parameter<float> weight{Shape{2048, 2048}};

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    v(prefix + "weight", self.weight, nn::Entry{});
  }
};

inline void adam_rows(OpsReport& report) {
  AdamModel model;
  model.weight.value = random_tensor(model.weight.value.shape(), 1);
  model.weight.grad = random_tensor(model.weight.value.shape(), 2);
  const Tensor<float> before = model.weight.value;
  nn::Adam<float> adam;
  const auto step = [&] { adam.step(model, 1e-3); };
  report.row(
      "adam_4M", passes(7, before),  // reads value, gradient and moments, writes value and moments
      [&] {
        step();
        for (const std::int64_t i : samples(before.size())) {
          const double g = static_cast<double>(model.weight.grad[i]);
          expect_close("adam", static_cast<double>(model.weight.value[i]) - static_cast<double>(before[i]),
                       -1e-3 * g / (std::abs(g) + 1e-8), 1e-2);
        }
      },
      step);
}

/// Every row, each with its own data.
inline void norm_rows(OpsReport& report) {
  for (const bool silu : {false, true}) group_norm_rows(report, silu);
  if (report.wants("silu_16x32x32x128.forward") || report.wants("silu_16x32x32x128.backward")) silu_rows(report);
  if (report.wants("add_16x32x32x128")) add_rows(report);
  if (report.wants("adam_4M")) adam_rows(report);
}

}  // namespace easy_diffusion::bench
