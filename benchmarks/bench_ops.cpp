/// Times the convolutions of the small U-Net and others, forward and backward, against the arithmetic peak that it measures
/// first. Each is compared with a plain loop before it is timed.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"
#include "support/timing.hpp"

namespace ed = easy_diffusion;
namespace simd = easy_diffusion::ops::detail;

namespace {

/// FLOP/s of fused multiply-adds on registers alone.
double arithmetic_peak(int threads) {
  using P = simd::Pack<float>;
  constexpr int chains = 12;
  constexpr std::int64_t rounds = 2'000'000;
  std::vector<float> sink(static_cast<std::size_t>(threads));
  const double seconds = ed::bench::median_seconds(5, [&] {
    ed::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t t = first; t < last; ++t) {
        P sum[chains];
        for (int k = 0; k < chains; ++k) sum[k] = P(static_cast<float>(t + k));  // equal chains would be computed once
        const P a(0.999999F);
        const P b(1e-7F);
        for (std::int64_t i = 0; i < rounds; ++i)
          for (P& s : sum) s = fma(s, a, b);
        float total = 0;
        for (const P& s : sum) total += simd::sum_lanes(s);
        sink[static_cast<std::size_t>(t)] = total;
      }
    });
  });
  return 2.0 * static_cast<double>(P::lanes * chains * rounds * threads) / seconds;
}

ed::Tensor<float> random(const ed::Shape& shape, std::uint32_t number) {
  ed::Tensor<float> x(shape);
  ed::fill_normal(x.span(), {1, ed::streams::user, number});
  return x;
}

struct Case {
  std::int64_t batch, size, in, out, stride, padding;
};

void bench_conv(const Case& c, double peak, int repetitions) {
  const auto x = random({c.batch, c.size, c.size, c.in}, 1);
  const auto w = random({3, 3, c.in, c.out}, 2);
  const ed::ops::Conv2dOptions options{c.stride, c.padding};
  const ed::Shape shape = ed::ops::conv2d_output_shape(x.shape(), w.shape(), options);
  ed::Tensor<float> y(shape);
  ed::Tensor<float> dx(x.shape());
  ed::Tensor<float> dw(w.shape());
  ed::ops::conv2d_forward(x.view(), w.view(), {}, options, y.view());
  for (const std::int64_t oc : {std::int64_t{0}, c.out - 1}) {
    double sum = 0;
    for (std::int64_t i = 0; i < 3; ++i)
      for (std::int64_t j = 0; j < 3; ++j)
        for (std::int64_t k = 0; k < c.in; ++k)
          sum += static_cast<double>(x(0, c.stride + i - c.padding, c.stride + j - c.padding, k)) *
                 static_cast<double>(w(i, j, k, oc));
    if (!(std::abs(sum - static_cast<double>(y(0, 1, 1, oc))) < 1e-4 * (1 + std::abs(sum))))
      throw std::runtime_error("bench_ops: a convolution is wrong");
  }
  const double flops = 2.0 * static_cast<double>(shape.numel() * 9 * c.in);
  const auto report = [&](const char* what, double seconds) {
    std::printf(
        "conv 3x3 %4lld -> %4lld  %3lldx%-3lld stride %lld batch %-3lld %-17s %8.3f ms %8.1f GFLOP/s %5.1f %% of "
        "peak\n",
        static_cast<long long>(c.in), static_cast<long long>(c.out), static_cast<long long>(c.size),
        static_cast<long long>(c.size), static_cast<long long>(c.stride), static_cast<long long>(c.batch), what,
        1e3 * seconds, 1e-9 * flops / seconds, 100 * flops / seconds / peak);
  };
  const auto& cx = x;
  report("forward", ed::bench::median_seconds(
                        repetitions, [&] { ed::ops::conv2d_forward(cx.view(), w.view(), {}, options, y.view()); }));
  report("backward, data", ed::bench::median_seconds(repetitions, [&] {
           ed::ops::conv2d_backward(cx.view(), w.view(), y.view(), options, dx.view(), {}, {});
         }));
  report("backward, weights", ed::bench::median_seconds(repetitions, [&] {
           ed::ops::conv2d_backward(cx.view(), w.view(), y.view(), options, {}, dw.view(), {});
         }));
}

}  // namespace

int main(int argc, char** argv) {
  int threads = ed::num_threads();
  int repetitions = 9;
  CLI::App app("Times the convolutions against the arithmetic peak.");
  app.add_option("--threads", threads)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  ed::set_num_threads(threads);
  const double peak = arithmetic_peak(threads);
  std::printf("arithmetic peak: %.0f GFLOP/s, %d threads, vectors of %lld floats\n", 1e-9 * peak, threads,
              static_cast<long long>(simd::Pack<float>::lanes));
  for (const Case& c : {Case{64, 28, 1, 32, 1, 0}, Case{64, 26, 32, 64, 2, 0}, Case{64, 12, 64, 128, 2, 0},
                        Case{64, 5, 128, 256, 2, 0}, Case{16, 32, 64, 64, 1, 1}, Case{16, 32, 128, 128, 1, 1},
                        Case{16, 16, 256, 256, 1, 1}, Case{16, 8, 512, 512, 1, 1}})
    bench_conv(c, peak, repetitions);
}
