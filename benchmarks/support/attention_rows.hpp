/// \file
/// Rows of attention, and of what a transformer has beside it: LayerNorm, softmax, GELU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/attention.hpp"
#include "easy_diffusion/ops/gelu.hpp"
#include "easy_diffusion/ops/layer_norm.hpp"
#include "easy_diffusion/ops/softmax.hpp"
#include "support/check.hpp"
#include "support/ops_report.hpp"

namespace easy_diffusion::bench {

struct AttentionCase {
  std::int64_t batch, queries, keys, heads, width;  ///< width of one head

  [[nodiscard]] std::string name() const {
    std::string text = "attention_" + std::to_string(queries) + "x" + std::to_string(heads * width);
    if (keys != queries) text += "_keys" + std::to_string(keys);
    if (heads > 1) text += "_h" + std::to_string(heads);
    return text + "_b" + std::to_string(batch);
  }
};

/// Attention in plain loops, in double, as much of it as one element asks for.
struct PlainAttention {
  const AttentionCase& c;
  const Tensor<float>&q, &k, &v, &dout;

  [[nodiscard]] double dot(const Tensor<float>& a, std::int64_t row_a, const Tensor<float>& b, std::int64_t row_b,
                           std::int64_t head) const {
    double sum = 0;
    for (std::int64_t i = head * c.width; i < (head + 1) * c.width; ++i)
      sum +=
          static_cast<double>(a[row_a * c.heads * c.width + i]) * static_cast<double>(b[row_b * c.heads * c.width + i]);
    return sum;
  }

  /// Of query row `row` (of all samples) and one head.
  [[nodiscard]] std::vector<double> probabilities(std::int64_t row, std::int64_t head) const {
    std::vector<double> p;
    double largest = -HUGE_VAL;
    for (std::int64_t j = 0; j < c.keys; ++j) {
      p.push_back(dot(q, row, k, row / c.queries * c.keys + j, head) / std::sqrt(static_cast<double>(c.width)));
      largest = std::max(largest, p.back());
    }
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x - largest);
    for (double& x : p) x /= sum;
    return p;
  }

  [[nodiscard]] double out(std::int64_t element) const {
    const std::int64_t row = element / (c.heads * c.width);
    const std::int64_t channel = element % (c.heads * c.width);
    const auto p = probabilities(row, channel / c.width);
    double sum = 0;
    for (std::int64_t j = 0; j < c.keys; ++j)
      sum += p[static_cast<std::size_t>(j)] *
             static_cast<double>(v[(row / c.queries * c.keys + j) * c.heads * c.width + channel]);
    return sum;
  }

  /// The gradient of element `element` of the keys.
  [[nodiscard]] double dk(std::int64_t element) const {
    const std::int64_t key = element / (c.heads * c.width);
    const std::int64_t channel = element % (c.heads * c.width);
    const std::int64_t head = channel / c.width;
    const std::int64_t sample = key / c.keys;
    double sum = 0;
    for (std::int64_t row = sample * c.queries; row < (sample + 1) * c.queries; ++row) {
      const auto p = probabilities(row, head);
      double mean = 0;
      for (std::int64_t j = 0; j < c.keys; ++j)
        mean += p[static_cast<std::size_t>(j)] * dot(dout, row, v, sample * c.keys + j, head);
      sum += p[static_cast<std::size_t>(key % c.keys)] * (dot(dout, row, v, key, head) - mean) *
             static_cast<double>(q[row * c.heads * c.width + channel]);
    }
    return sum / std::sqrt(static_cast<double>(c.width));
  }
};

/// Forward counts two products of queries by keys by width, forward and backward six: making the scores again is not
/// counted.
inline void attention_row(OpsReport& report, const AttentionCase& c) {
  const std::string name = c.name();
  if (!report.wants(name + ".forward") && !report.wants(name + ".forward_backward")) return;
  const Shape of_queries{c.batch, c.queries, c.heads * c.width};
  const Shape of_keys{c.batch, c.keys, c.heads * c.width};
  const Tensor<float> q = random_tensor(of_queries, 1);
  const Tensor<float> k = random_tensor(of_keys, 2);
  const Tensor<float> v = random_tensor(of_keys, 3);
  const Tensor<float> dout = random_tensor(of_queries, 4);
  Tensor<float> out(of_queries);
  Tensor<float> lse(Shape{c.batch, c.heads, c.queries});
  Tensor<float> dq(of_queries);
  Tensor<float> dk(of_keys);
  Tensor<float> dv(of_keys);
  const float scale = 1 / std::sqrt(static_cast<float>(c.width));
  const PlainAttention plain{c, q, k, v, dout};
  const double products = 2.0 * static_cast<double>(c.batch * c.heads * c.queries * c.keys * c.width);
  const auto forward = [&] {
    ops::attention_forward(q.view(), k.view(), v.view(), c.heads, scale, out.view(), lse.view());
  };
  const auto both = [&] {
    forward();
    ops::attention_backward(q.view(), k.view(), v.view(), std::as_const(out).view(), std::as_const(lse).view(),
                            dout.view(), c.heads, scale, dq.view(), dk.view(), dv.view());
  };
  report.row(
      name + ".forward", Work::flops(2 * products),
      [&] {
        forward();
        for (const std::int64_t i : samples(out.size()))
          expect_close(name, static_cast<double>(out[i]), plain.out(i), 1);
      },
      forward);
  report.row(
      name + ".forward_backward", Work::flops(6 * products),
      [&] {
        both();
        for (const std::int64_t i : {dk.size() / 3, dk.size() - 1})
          expect_close(name + " key gradient", static_cast<double>(dk[i]), plain.dk(i), 1);
      },
      both);
}

/// Operations on the rows of [16, 1024, 128], which memory bounds.
inline void transformer_rows(OpsReport& report) {
  const Tensor<float> x = random_tensor({16, 1024, 128}, 1);
  const Tensor<float> dy = random_tensor(x.shape(), 2);
  const Tensor<float> gamma = random_tensor({128}, 3);
  const Tensor<float> beta = random_tensor({128}, 4);
  Tensor<float> y(x.shape());
  Tensor<float> mean(Shape{16, 1024});
  Tensor<float> rstd(mean.shape());
  Tensor<float> dgamma(gamma.shape());
  Tensor<float> dbeta(beta.shape());
  const auto bytes = [&](double count) { return Work::bytes(count * static_cast<double>(x.size()) * sizeof(float)); };
  const auto value = [](const Tensor<float>& t, std::int64_t i) { return static_cast<double>(t[i]); };
  // Mean of f over the row of element i.
  const auto over_row = [&](std::int64_t i, auto&& f) {
    double sum = 0;
    for (std::int64_t k = i / 128 * 128; k < i / 128 * 128 + 128; ++k) sum += f(k);
    return sum / 128;
  };
  const auto x_hat = [&](std::int64_t i) {
    const double m = over_row(i, [&](std::int64_t k) { return value(x, k); });
    const double variance = over_row(i, [&](std::int64_t k) { return (value(x, k) - m) * (value(x, k) - m); });
    return (value(x, i) - m) / std::sqrt(variance + 1e-5);
  };
  const auto check = [&](const std::string& name, auto& run, auto&& want) {
    return [&run, &y, name, want] {
      run();
      for (const std::int64_t i : samples(y.size())) expect_close(name, static_cast<double>(y[i]), want(i), 1);
    };
  };

  const auto norm = [&] {
    ops::layer_norm_forward(x.view(), gamma.view(), beta.view(), 1e-5F, y.view(), mean.view(), rstd.view());
  };
  norm();  // backward needs the means also where the filter leaves this row out
  report.row("layer_norm_16x1024x128.forward", bytes(2),
             check("layer_norm", norm,
                   [&](std::int64_t i) { return x_hat(i) * value(gamma, i % 128) + value(beta, i % 128); }),
             norm);
  const auto norm_backward = [&] {
    ops::layer_norm_backward(x.view(), gamma.view(), std::as_const(mean).view(), std::as_const(rstd).view(), dy.view(),
                             y.view(), dgamma.view(), dbeta.view());
  };
  report.row("layer_norm_16x1024x128.backward", bytes(3),
             check("layer_norm backward", norm_backward,
                   [&](std::int64_t i) {
                     const auto g = [&](std::int64_t k) { return value(dy, k) * value(gamma, k % 128); };
                     const double mean_gx = over_row(i, [&](std::int64_t k) { return g(k) * x_hat(k); });
                     return value(rstd, i / 128) * (g(i) - over_row(i, g) - x_hat(i) * mean_gx);
                   }),
             norm_backward);

  const auto softmax = [&] { ops::softmax_forward(x.view(), y.view()); };
  report.row("softmax_16x1024x128.forward", bytes(2),
             check("softmax", softmax,
                   [&](std::int64_t i) {
                     return std::exp(value(x, i)) /
                            (128 * over_row(i, [&](std::int64_t k) { return std::exp(value(x, k)); }));
                   }),
             softmax);

  const auto phi = [](double v) { return 0.5 * std::erfc(-v / std::numbers::sqrt2); };
  const auto gelu = [&] { ops::gelu_forward(x.view(), ops::Gelu::exact, y.view()); };
  report.row("gelu_16x1024x128.forward", bytes(2),
             check("gelu", gelu, [&](std::int64_t i) { return value(x, i) * phi(value(x, i)); }), gelu);
  const auto gelu_backward = [&] { ops::gelu_backward(x.view(), dy.view(), ops::Gelu::exact, y.view()); };
  report.row("gelu_16x1024x128.backward", bytes(3),
             check("gelu backward", gelu_backward,
                   [&](std::int64_t i) {
                     const double v = value(x, i);
                     return value(dy, i) * (phi(v) + v * std::exp(-0.5 * v * v) / std::sqrt(2 * std::numbers::pi));
                   }),
             gelu_backward);
}

inline void attention_rows(OpsReport& report) {
  for (const AttentionCase& c :
       {AttentionCase{16, 1024, 1024, 1, 128}, AttentionCase{16, 1024, 1024, 4, 32}, AttentionCase{8, 256, 256, 1, 256},
        AttentionCase{8, 256, 77, 2, 128}, AttentionCase{64, 64, 64, 1, 64}, AttentionCase{64, 25, 25, 1, 128},
        AttentionCase{64, 16, 16, 1, 64}, AttentionCase{64, 4, 4, 1, 256}, AttentionCase{1, 1024, 1024, 1, 128},
        AttentionCase{1, 64, 64, 1, 128}, AttentionCase{1, 16, 16, 1, 256}})
    attention_row(report, c);
  transformer_rows(report);
}

}  // namespace easy_diffusion::bench
