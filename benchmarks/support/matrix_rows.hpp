/// \file
/// Rows of bench_ops: the matrix product, forward and backward.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/linear.hpp"
#include "support/check.hpp"
#include "support/ops_report.hpp"

namespace easy_diffusion::bench {

/// y [rows, out] = x [rows, in] w [in, out], and the gradients of x and w.
inline void matrix_rows(OpsReport& report, std::int64_t rows, std::int64_t in, std::int64_t out) {
  const std::string name = "matmul_" + std::to_string(rows) + "x" + std::to_string(in) + "x" + std::to_string(out);
  if (!report.wants(name + ".forward") && !report.wants(name + ".backward_data") &&
      !report.wants(name + ".backward_weights"))
    return;
  const Tensor<float> x = random_tensor({rows, in}, 1);
  const Tensor<float> w = random_tensor({in, out}, 2);
  const Tensor<float> dy = random_tensor({rows, out}, 3);
  Tensor<float> y(dy.shape());
  Tensor<float> dx(x.shape());
  Tensor<float> dw(w.shape());
  const auto verified = [&](const std::string& row, const auto& run, Tensor<float>& result, const auto& terms) {
    return [&, row] {
      result.fill(0);
      run();
      for (const std::int64_t i : samples(result.size())) {
        PlainSum sum;
        terms(i / result.extent(1), i % result.extent(1), sum);
        expect_close(row, static_cast<double>(result[i]), sum);
      }
    };
  };
  const auto add = [](PlainSum& sum, float a, float b) { sum.add(static_cast<double>(a) * static_cast<double>(b)); };
  const auto y_terms = [&](std::int64_t i, std::int64_t j, PlainSum& sum) {
    for (std::int64_t k = 0; k < in; ++k) add(sum, x(i, k), w(k, j));
  };
  const auto dx_terms = [&](std::int64_t i, std::int64_t j, PlainSum& sum) {
    for (std::int64_t k = 0; k < out; ++k) add(sum, dy(i, k), w(j, k));
  };
  const auto dw_terms = [&](std::int64_t i, std::int64_t j, PlainSum& sum) {
    for (std::int64_t k = 0; k < rows; ++k) add(sum, x(k, i), dy(k, j));
  };
  const auto forward = [&] { ops::linear_forward(x.view(), w.view(), {}, y.view()); };
  const auto data = [&] { ops::linear_backward(x.view(), w.view(), dy.view(), dx.view(), {}, {}); };
  const auto weights = [&] { ops::linear_backward(x.view(), w.view(), dy.view(), {}, dw.view(), {}); };
  const Work work = Work::flops(2.0 * static_cast<double>(rows * in * out));
  report.row(name + ".forward", work, verified(name + ".forward", forward, y, y_terms), forward);
  report.row(name + ".backward_data", work, verified(name + ".backward_data", data, dx, dx_terms), data);
  report.row(name + ".backward_weights", work, verified(name + ".backward_weights", weights, dw, dw_terms), weights);
}

inline void matrix_rows(OpsReport& report) {
  matrix_rows(report, 1024, 1024, 1024);
  matrix_rows(report, 4096, 128, 384);
  matrix_rows(report, 64, 256, 256);
}

}  // namespace easy_diffusion::bench
