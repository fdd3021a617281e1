/// \file
/// Rows of bench_ops: convolutions and transposed convolutions, forward and backward.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/conv_transpose2d.hpp"
#include "support/check.hpp"
#include "support/ops_report.hpp"

namespace easy_diffusion::bench {

/// A convolution from `size` x `size` pictures, or the transposed one back to pictures of that size. `in` and `out` are
/// those of the operation itself.
struct ConvolutionCase {
  std::int64_t batch, size, in, out, kernel, stride, padding;
  bool transposed = false;

  [[nodiscard]] std::string name() const {
    const auto text = [](std::int64_t i) { return std::to_string(i); };
    return std::string(transposed ? "tconv" : "conv") + text(kernel) + "x" + text(kernel) + "_" + text(in) + "_" +
           text(out) + "_" + text(size) + "x" + text(size) + (stride > 1 ? "_s" + text(stride) : "") + "_b" +
           text(batch);
  }
};

/// The large picture X [N, H, W, A], the small one Y [N, OH, OW, B] and the weight w [K, K, A, B] of
/// Y(n, i, j, b) = sum of X(n, i s + p - padding, j s + q - padding, a) w(p, q, a, b), whichever of the three is computed.
struct PlainConvolution {
  const Tensor<float>& large;
  const Tensor<float>& small;
  const Tensor<float>& weight;
  std::int64_t stride, padding;

  [[nodiscard]] PlainSum small_at(std::int64_t index) const {
    const auto [n, i, j, b] = split(small.shape(), index);
    PlainSum sum;
    for (std::int64_t p = 0; p < weight.extent(0); ++p)
      for (std::int64_t q = 0; q < weight.extent(1); ++q) {
        const std::int64_t row = i * stride + p - padding;
        const std::int64_t column = j * stride + q - padding;
        if (row < 0 || row >= large.extent(1) || column < 0 || column >= large.extent(2)) continue;
        for (std::int64_t a = 0; a < weight.extent(2); ++a)
          sum.add(static_cast<double>(large(n, row, column, a)) * static_cast<double>(weight(p, q, a, b)));
      }
    return sum;
  }

  [[nodiscard]] PlainSum large_at(std::int64_t index) const {
    const auto [n, i, j, a] = split(large.shape(), index);
    PlainSum sum;
    for (std::int64_t p = 0; p < weight.extent(0); ++p)
      for (std::int64_t q = 0; q < weight.extent(1); ++q) {
        const std::int64_t row = i + padding - p;
        const std::int64_t column = j + padding - q;
        if (row < 0 || column < 0 || row % stride != 0 || column % stride != 0) continue;
        if (row / stride >= small.extent(1) || column / stride >= small.extent(2)) continue;
        for (std::int64_t b = 0; b < weight.extent(3); ++b)
          sum.add(static_cast<double>(small(n, row / stride, column / stride, b)) *
                  static_cast<double>(weight(p, q, a, b)));
      }
    return sum;
  }

  [[nodiscard]] PlainSum weight_at(std::int64_t index) const {
    const auto [p, q, a, b] = split(weight.shape(), index);
    PlainSum sum;
    for (std::int64_t n = 0; n < small.extent(0); ++n)
      for (std::int64_t i = 0; i < small.extent(1); ++i)
        for (std::int64_t j = 0; j < small.extent(2); ++j) {
          const std::int64_t row = i * stride + p - padding;
          const std::int64_t column = j * stride + q - padding;
          if (row < 0 || row >= large.extent(1) || column < 0 || column >= large.extent(2)) continue;
          sum.add(static_cast<double>(large(n, row, column, a)) * static_cast<double>(small(n, i, j, b)));
        }
    return sum;
  }

 private:
  struct Index {
    std::int64_t n, i, j, c;
  };
  static Index split(const Shape& shape, std::int64_t index) {
    const std::int64_t c = index % shape[3];
    index /= shape[3];
    const std::int64_t j = index % shape[2];
    index /= shape[2];
    return {index / shape[1], index % shape[1], j, c};
  }
};

/// Forward, backward for data and backward for weights, counted in the operations of the plain loops that meet no padding.
inline void convolution_rows(OpsReport& report, const ConvolutionCase& c) {
  const std::string name = c.name();
  if (!report.wants(name + ".forward") && !report.wants(name + ".backward_data") &&
      !report.wants(name + ".backward_weights"))
    return;
  // The large side has `large_c` channels and the small one `small_c`; a transposed convolution goes from small to large.
  const std::int64_t large_c = c.transposed ? c.out : c.in;
  const std::int64_t small_c = c.transposed ? c.in : c.out;
  const std::int64_t small_size = (c.size + 2 * c.padding - c.kernel) / c.stride + 1;
  const Tensor<float> large = random_tensor({c.batch, c.size, c.size, large_c}, 1);
  const Tensor<float> small = random_tensor({c.batch, small_size, small_size, small_c}, 2);
  const Tensor<float> weight = random_tensor({c.kernel, c.kernel, large_c, small_c}, 3);
  Tensor<float> new_large(large.shape());
  Tensor<float> new_small(small.shape());
  Tensor<float> new_weight(weight.shape());

  const ops::Conv2dOptions options{c.stride, c.padding};
  const std::int64_t left = c.size + 2 * c.padding - c.kernel - (small_size - 1) * c.stride;
  const ops::ConvTranspose2dOptions back{c.stride, c.padding, left, left};
  const auto to_small = [&] {
    if (c.transposed)
      ops::conv_transpose2d_backward(small.view(), weight.view(), large.view(), back, new_small.view(), {}, {});
    else
      ops::conv2d_forward(large.view(), weight.view(), {}, options, new_small.view());
  };
  const auto to_large = [&] {
    if (c.transposed)
      ops::conv_transpose2d_forward(small.view(), weight.view(), {}, back, new_large.view());
    else
      ops::conv2d_backward(large.view(), weight.view(), small.view(), options, new_large.view(), {}, {});
  };
  const auto to_weight = [&] {
    if (c.transposed)
      ops::conv_transpose2d_backward(small.view(), weight.view(), large.view(), back, {}, new_weight.view(), {});
    else
      ops::conv2d_backward(large.view(), weight.view(), small.view(), options, {}, new_weight.view(), {});
  };
  const auto verified = [&](const std::string& row, const auto& run, Tensor<float>& result, const auto& plain) {
    return [&, row] {
      result.fill(0);
      run();
      for (const std::int64_t i : samples(result.size())) expect_close(row, static_cast<double>(result[i]), plain(i));
    };
  };

  const PlainConvolution plain{large, small, weight, c.stride, c.padding};
  const Work work = Work::flops(2.0 * static_cast<double>(small.size() * c.kernel * c.kernel * large_c));
  const std::string small_row = name + (c.transposed ? ".backward_data" : ".forward");
  const std::string large_row = name + (c.transposed ? ".forward" : ".backward_data");
  const std::string weight_row = name + ".backward_weights";
  const auto small_at = [&](std::int64_t i) { return plain.small_at(i); };
  const auto large_at = [&](std::int64_t i) { return plain.large_at(i); };
  const auto weight_at = [&](std::int64_t i) { return plain.weight_at(i); };
  if (c.transposed) report.row(large_row, work, verified(large_row, to_large, new_large, large_at), to_large);
  report.row(small_row, work, verified(small_row, to_small, new_small, small_at), to_small);
  if (!c.transposed) report.row(large_row, work, verified(large_row, to_large, new_large, large_at), to_large);
  report.row(weight_row, work, verified(weight_row, to_weight, new_weight, weight_at), to_weight);
}

inline void convolution_rows(OpsReport& report) {
  for (const ConvolutionCase& c :
       {ConvolutionCase{16, 32, 64, 64, 3, 1, 1}, ConvolutionCase{16, 32, 128, 128, 3, 1, 1},
        ConvolutionCase{16, 16, 256, 256, 3, 1, 1}, ConvolutionCase{16, 8, 512, 512, 3, 1, 1},
        ConvolutionCase{16, 32, 128, 128, 3, 2, 1}, ConvolutionCase{16, 16, 512, 256, 3, 1, 1},
        ConvolutionCase{16, 32, 256, 128, 1, 1, 0},
        // The small U-Net, 28x28, from the first layer to the last.
        ConvolutionCase{64, 28, 1, 32, 3, 1, 0}, ConvolutionCase{64, 26, 32, 64, 3, 2, 0},
        ConvolutionCase{64, 12, 64, 128, 3, 2, 0}, ConvolutionCase{64, 5, 128, 256, 3, 2, 0},
        ConvolutionCase{64, 5, 256, 128, 3, 2, 0, true}, ConvolutionCase{64, 12, 256, 64, 3, 2, 0, true},
        ConvolutionCase{64, 26, 128, 32, 3, 2, 0, true}, ConvolutionCase{64, 28, 64, 1, 3, 1, 0, true}})
    convolution_rows(report, c);
}

}  // namespace easy_diffusion::bench
