// Lets three units with flags of their own compute the same, alone and on each other's layers, stores and contexts, and
// compares with sums written out. Prints what is wrong; exit code 1 then.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <vector>

#include "units.hpp"

namespace {

using namespace units;
using easy_diffusion::Shape;

int failures = 0;

void expect(bool right, const char* what, const Unit& a, const Unit& b, double error) {
  if (right) return;
  ++failures;
  std::printf("%s, units %s and %s: error %g\n", what, a.flags, b.flags, error);
}

/// Values that tell places apart, between -1 and 1.
Tensor<float> numbers(const Shape& shape, int which) {
  Tensor<float> x(shape);
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 37 + which * 11) % 201 - 100) / 100.0F;
  return x;
}

double error_of(const Tensor<float>& got, const std::vector<double>& want) {
  if (got.size() != static_cast<std::int64_t>(want.size())) return HUGE_VAL;
  double worst = 0, largest = 1e-30;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double w = want[static_cast<std::size_t>(i)];
    const double difference = std::abs(static_cast<double>(got[i]) - w);
    if (!(difference <= worst)) worst = difference;
    if (std::abs(w) > largest) largest = std::abs(w);
  }
  return worst / largest;
}

struct Sums {
  std::vector<double> y, dx, dweight;
};

/// A convolution and its gradients for one dy, summed in double.
Sums convolve(const Tensor<float>& x, const Tensor<float>& weight, std::int64_t stride, std::int64_t padding,
              const Tensor<float>& dy) {
  Sums sums{std::vector<double>(static_cast<std::size_t>(dy.size())),
            std::vector<double>(static_cast<std::size_t>(x.size())),
            std::vector<double>(static_cast<std::size_t>(weight.size()))};
  const std::int64_t in = x.extent(3), out = dy.extent(3);
  for (std::int64_t n = 0; n < dy.extent(0); ++n)
    for (std::int64_t r = 0; r < dy.extent(1); ++r)
      for (std::int64_t c = 0; c < dy.extent(2); ++c)
        for (std::int64_t i = 0; i < weight.extent(0); ++i)
          for (std::int64_t j = 0; j < weight.extent(1); ++j) {
            const std::int64_t row = r * stride + i - padding, column = c * stride + j - padding;
            if (row < 0 || column < 0 || row >= x.extent(1) || column >= x.extent(2)) continue;
            for (std::int64_t a = 0; a < in; ++a)
              for (std::int64_t b = 0; b < out; ++b) {
                const auto at_x = static_cast<std::size_t>(((n * x.extent(1) + row) * x.extent(2) + column) * in + a);
                const auto at_y = static_cast<std::size_t>(((n * dy.extent(1) + r) * dy.extent(2) + c) * out + b);
                const auto at_w = static_cast<std::size_t>(((i * weight.extent(1) + j) * in + a) * out + b);
                const double xv = x.data()[at_x], wv = weight.data()[at_w], dv = dy.data()[at_y];
                sums.y[at_y] += xv * wv;
                sums.dx[at_x] += dv * wv;
                sums.dweight[at_w] += dv * xv;
              }
          }
  return sums;
}

constexpr double tolerance = 2e-5;

void check_convolutions(std::span<const Unit* const> all) {
  struct Case {
    const char* name;
    std::int64_t batch, side, in, out, kernel, stride, padding;
  };
  for (const Case& c : {Case{"convolution by Winograd, 4x4", 1, 12, 32, 40, 3, 1, 1},
                        Case{"convolution by Winograd, 2x2", 2, 4, 32, 40, 3, 1, 1},
                        Case{"convolution of stride 2 by minimal filtering", 1, 12, 32, 40, 3, 2, 1},
                        Case{"convolution by panels", 1, 11, 6, 13, 3, 1, 1},
                        Case{"convolution of whole vectors", 1, 3, 5, 32, 1, 1, 0},
                        Case{"convolution to few channels", 1, 5, 21, 3, 3, 1, 1}}) {
    const Tensor<float> x = numbers({c.batch, c.side, c.side, c.in}, 1);
    Convolution layer(c.in, c.out, {c.kernel, c.stride, c.padding, false});
    layer.weight.value = numbers(layer.weight.value.shape(), 2);
    const std::int64_t side = (c.side + 2 * c.padding - c.kernel) / c.stride + 1;
    const Tensor<float> dy = numbers({c.batch, side, side, c.out}, 3);
    const Sums sums = convolve(x, layer.weight.value, c.stride, c.padding, dy);
    for (const bool held : {false, true}) {
      // Held: what the first unit keeps of the weight, the others find.
      if (held) layer.weight.hold();
      for (const Unit* a : all)
        for (const Unit* b : all) {
          if (a->convolve == nullptr || b->convolve_back == nullptr) continue;
          Convolution::Context ctx;
          const Tensor<float> y = a->convolve(layer, x, &ctx);
          layer.weight.grad.fill(0);
          const Tensor<float> dx = b->convolve_back(layer, dy, ctx);
          const double forward = error_of(y, sums.y), backward = error_of(dx, sums.dx),
                       weights = error_of(layer.weight.grad, sums.dweight);
          expect(forward <= tolerance, c.name, *a, *a, forward);
          expect(backward <= tolerance, "its gradient", *a, *b, backward);
          expect(weights <= tolerance, "its weight's gradient", *a, *b, weights);
        }
    }
  }
}

void check_linear(std::span<const Unit* const> all) {
  for (const std::int64_t out : {3, 19, 64}) {
    const Tensor<float> x = numbers({130, 33}, 4);
    Linear layer(33, out, false);
    layer.weight.value = numbers({33, out}, 5);
    const Tensor<float> dy = numbers({130, out}, 6);
    Tensor<float> as_pictures = x, weight = layer.weight.value, gradient = dy;
    const Sums sums =
        convolve(std::move(as_pictures).reshaped({130, 1, 1, 33}), std::move(weight).reshaped({1, 1, 33, out}), 1, 0,
                 std::move(gradient).reshaped({130, 1, 1, out}));
    layer.weight.hold();
    for (const Unit* a : all)
      for (const Unit* b : all) {
        if (a->multiply == nullptr || b->multiply_back == nullptr) continue;
        Linear::Context ctx;
        const Tensor<float> y = a->multiply(layer, x, &ctx);
        layer.weight.grad.fill(0);
        const Tensor<float> dx = b->multiply_back(layer, dy, ctx);
        const double forward = error_of(y, sums.y), backward = error_of(dx, sums.dx),
                     weights = error_of(layer.weight.grad, sums.dweight);
        expect(forward <= tolerance, "linear layer", *a, *a, forward);
        expect(backward <= tolerance, "its gradient", *a, *b, backward);
        expect(weights <= tolerance, "its weight's gradient", *a, *b, weights);
      }
  }
}

void check_attention(std::span<const Unit* const> all) {
  constexpr std::int64_t length = 70, width = 5, heads = 2;
  const Shape shape{2, length, heads * width};
  const Tensor<float> q = numbers(shape, 7), k = numbers(shape, 8), v = numbers(shape, 9);
  const float scale = 0.7F;
  std::vector<double> want(static_cast<std::size_t>(q.size()));
  const auto at = [](std::int64_t n, std::int64_t l, std::int64_t h) {
    return (n * length + l) * heads * width + h * width;
  };
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t i = 0; i < length; ++i) {
        double sum = 0;
        for (std::int64_t j = 0; j < length; ++j) {
          double score = 0;
          for (std::int64_t d = 0; d < width; ++d)
            score += static_cast<double>(q[at(n, i, h) + d]) * static_cast<double>(k[at(n, j, h) + d]);
          const double p = std::exp(static_cast<double>(scale) * score);
          sum += p;
          for (std::int64_t d = 0; d < width; ++d)
            want[static_cast<std::size_t>(at(n, i, h) + d)] += p * static_cast<double>(v[at(n, j, h) + d]);
        }
        for (std::int64_t d = 0; d < width; ++d) want[static_cast<std::size_t>(at(n, i, h) + d)] /= sum;
      }
  for (const Unit* a : all) {
    if (a->attention == nullptr) continue;
    Tensor<float> out(shape);
    a->attention(q, k, v, heads, scale, out);
    const double error = error_of(out, want);
    expect(error <= tolerance, "attention", *a, *a, error);
  }
}

void check_random(std::span<const Unit* const> all) {
  // Known answers of tests/core/random.cpp, and the same bits for other places and lengths.
  constexpr NoiseAddress address{42, 1, 7};
  constexpr std::array<float, 4> known{0x1.89abfap-1F, -0x1.a3b0ccp-1F, -0x1.f42876p-5F, 0x1.0633b8p-1F};
  for (const Unit* a : all) {
    if (a->one_normal == nullptr) continue;
    for (std::size_t i = 0; i < known.size(); ++i) {
      const float one = a->one_normal(address, i);
      expect(one == known[i], "one deviate", *a, *a, static_cast<double>(one - known[i]));
    }
    const std::uint64_t integer = a->integer(1000, address, 0);
    expect(integer == 869, "an integer", *a, *a, static_cast<double>(integer));
  }
  // A fill's deviate is that of its number, wherever the fill begins.
  const auto fills = [&](auto fill, auto zero, const char* what) {
    using T = decltype(zero);
    std::vector<T> common;
    for (const Unit* a : all) {
      if (a->*fill == nullptr) continue;
      std::vector<T> from_0(1003), from_5(998);
      (a->*fill)(from_0, address, 0);
      (a->*fill)(from_5, address, 5);
      if (common.empty()) common = from_0;
      expect(std::memcmp(from_0.data(), common.data(), common.size() * sizeof(T)) == 0, what, *a, *a, 1);
      expect(std::memcmp(from_5.data(), common.data() + 5, from_5.size() * sizeof(T)) == 0, what, *a, *a, 5);
    }
    return common;
  };
  const auto normals = fills(&Unit::normals, float(), "normal deviates");
  expect(std::memcmp(normals.data(), known.data(), sizeof known) == 0, "known deviates", *all[1], *all[2],
         static_cast<double>(normals[0]));
  const auto doubles = fills(&Unit::doubles, double(), "deviates in double");
  expect(doubles[0] == -0x1.ffff7d88d244cp-5, "known deviates in double", *all[1], *all[2], doubles[0]);
  const auto uniforms = fills(&Unit::uniforms, float(), "uniform deviates");
  expect(uniforms[0] == 0x1.104344p-1F, "known uniform deviates", *all[1], *all[2], static_cast<double>(uniforms[0]));
}

}  // namespace

int main() {
  const std::array<const Unit*, 3> all{&unit_0(), &unit_1(), &unit_2()};
  check_random(all);
  check_convolutions(all);
  check_linear(all);
  check_attention(all);
  return failures == 0 ? 0 : 1;
}
