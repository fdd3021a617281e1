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

inline void group_norm_rows(OpsReport& report) {
  const Tensor<float> x = random_tensor({16, 32, 32, 128}, 1);
  const Tensor<float> dy = random_tensor(x.shape(), 2);
  const Tensor<float> gamma = random_tensor({128}, 3);
  const Tensor<float> beta = random_tensor({128}, 4);
  Tensor<float> out(x.shape());
  Tensor<float> mean(Shape{16, 32});
  Tensor<float> rstd(Shape{16, 32});
  Tensor<float> dgamma(gamma.shape());
  Tensor<float> dbeta(beta.shape());
  const auto& read = std::as_const(mean);
  const auto& read_rstd = std::as_const(rstd);
  const PlainGroupNorm plain{x, gamma, beta, 32, 1e-5};
  const auto forward = [&] {
    ops::group_norm_forward(x.view(), gamma.view(), beta.view(), 32, 1e-5F, out.view(), mean.view(), rstd.view());
  };
  const auto backward = [&] {
    ops::group_norm_backward(x.view(), gamma.view(), read.view(), read_rstd.view(), dy.view(), 32, out.view(),
                             dgamma.view(), dbeta.view());
  };
  forward();  // backward needs the means also where the filter leaves this row out
  report.row(
      "group_norm_16x32x32x128_g32.forward", passes(2, x),
      [&] {
        for (const std::int64_t i : samples(x.size()))
          expect_close("group_norm forward", static_cast<double>(out[i]), plain.y(i), 1);
      },
      forward);
  report.row(
      "group_norm_16x32x32x128_g32.backward", passes(3, x),
      [&] {
        backward();
        for (const std::int64_t i : samples(x.size()))
          expect_close("group_norm backward", static_cast<double>(out[i]),
                       plain.dx(i, [&](std::int64_t k, double) { return static_cast<double>(dy[k]); }), 1);
      },
      backward);
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
  if (report.wants("group_norm_16x32x32x128_g32.forward") || report.wants("group_norm_16x32x32x128_g32.backward"))
    group_norm_rows(report);
  if (report.wants("silu_16x32x32x128.forward") || report.wants("silu_16x32x32x128.backward")) silu_rows(report);
  if (report.wants("add_16x32x32x128")) add_rows(report);
  if (report.wants("adam_4M")) adam_rows(report);
}

}  // namespace easy_diffusion::bench
