// Pooling, resampling, batch normalisation, rectifiers, embedding and dropout against their definitions.

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "easy_diffusion/ops/batch_norm.hpp"
#include "easy_diffusion/ops/channels.hpp"
#include "easy_diffusion/ops/dropout.hpp"
#include "easy_diffusion/ops/embedding.hpp"
#include "easy_diffusion/ops/pooling.hpp"
#include "easy_diffusion/ops/relu.hpp"
#include "easy_diffusion/ops/resample.hpp"
#include "support/catch.hpp"
#include "support/naive_sampling.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using ops::Pool2dOptions;
using ops::Resampling;

template <class T>
Tensor<T> poisoned(const Shape& shape) {
  return Tensor<T>(shape, static_cast<T>(std::nan("")));
}

TEMPLATE_TEST_CASE("pooling agrees with its definition", "[ops][pooling]", float, double) {
  using T = TestType;
  const std::vector<Pool2dOptions> all{{.kernel = 2},
                                       {.kernel = 3, .stride = 2},
                                       {.kernel = 3, .stride = 2, .ceil_mode = true},
                                       {.kernel = 3, .stride = 2, .padding = 1},
                                       {.kernel = 2, .stride = 3, .padding = 1, .ceil_mode = true},
                                       Pool2dOptions::adaptive(1, 1),
                                       Pool2dOptions::adaptive(3, 2),
                                       Pool2dOptions::adaptive(5, 6),
                                       Pool2dOptions::adaptive(13, 20)};  // larger than the picture
  for (const auto& [h, w] : {std::pair<std::int64_t, std::int64_t>{7, 6}, {4, 5}, {8, 3}})
    for (const std::int64_t c : {1, 3, 17})
      for (const Pool2dOptions& options : all) {
        INFO(h << "x" << w << "x" << c << ", kernel " << options.kernel << ", adaptive " << options.adaptive_h);
        const Shape shape{2, h, w, c}, out = ops::pool2d_output_shape(shape, options);
        const Misaligned<T> x(random_tensor<T>(shape, 1));
        const auto dy = random_tensor<T>(out, 2);
        const auto want = naive::pool2d(Tensor<T>::copy_of(x.view()), options, dy, out);
        auto y = poisoned<T>(out), dx = poisoned<T>(shape);
        Tensor<std::int32_t> place(out);
        ops::max_pool2d_forward(x.view(), options, y, place);
        ops::max_pool2d_backward(dy.view(), place, dx);
        CHECK(relative_error(y, want.largest) == 0);
        CHECK(relative_error(dx, want.largest_dx) <= rounding<T>);
        Tensor<T> without(out);
        ops::max_pool2d_forward(x.view(), options, without, {});
        CHECK(same_bits(without, y));
        if (options.padding > 0) continue;
        ops::avg_pool2d_forward(x.view(), options, y);
        ops::avg_pool2d_backward(dy.view(), options, dx);
        CHECK(relative_error(y, want.average) <= rounding<T>);
        CHECK(relative_error(dx, want.average_dx) <= rounding<T>);
      }
}

TEST_CASE("maximum pooling takes the first of equals, and lets NaN through", "[ops][pooling]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float> x(Shape{1, 2, 4, 1}, {1, 5, nan, 7, 5, 2, 8, nan}), one(Shape{1, 1, 2, 1}, 1.0F);
  Tensor<float> y(one.shape()), dx(x.shape());
  Tensor<std::int32_t> place(one.shape());
  ops::max_pool2d_forward(x.view(), {}, y, place);
  CHECK(y[0] == 5);
  CHECK(std::isnan(y[1]));
  ops::max_pool2d_backward(one.view(), place, dx);
  CHECK(same_bits(dx, Tensor<float>(x.shape(), {0, 1, 1, 0, 0, 0, 0, 0})));
}

TEMPLATE_TEST_CASE("resampling agrees with its definition", "[ops][resample]", float, double) {
  using T = TestType;
  const std::array<std::array<std::int64_t, 4>, 7> sizes{
      {{3, 4, 6, 8}, {3, 4, 7, 9}, {5, 7, 2, 3}, {1, 1, 4, 5}, {6, 5, 1, 1}, {4, 4, 4, 4}, {2, 9, 11, 3}}};
  for (const auto& [h, w, oh, ow] : sizes)
    for (const std::int64_t c : {1, 3, 17})
      for (const Resampling mode : {Resampling::nearest, Resampling::bilinear, Resampling::bilinear_corners}) {
        INFO(h << "x" << w << " to " << oh << "x" << ow << ", channels " << c << ", mode " << static_cast<int>(mode));
        const Misaligned<T> x(random_tensor<T>(Shape{2, h, w, c}, 1));
        const auto dy = random_tensor<T>(Shape{2, oh, ow, c}, 2);
        const auto want = naive::resample(Tensor<T>::copy_of(x.view()), mode, dy);
        auto y = poisoned<T>(dy.shape()), dx = poisoned<T>(x.view().shape());
        ops::resample_forward(x.view(), mode, y);
        ops::resample_backward(dy.view(), mode, dx);
        CHECK(relative_error(y, want.y) <= rounding<T>);
        CHECK(relative_error(dx, want.dx) <= rounding<T>);
        if (h == oh && w == ow) CHECK(same_bits(y, Tensor<T>::copy_of(x.view())));
      }
}

TEMPLATE_TEST_CASE("batch normalisation agrees with its definition", "[ops][batch_norm]", float, double) {
  using T = TestType;
  for (const Shape& shape : {Shape{2, 3, 5, 1}, Shape{1, 7, 3, 3}, Shape{5, 17}, Shape{3, 31, 29, 5}})
    for (const bool fixed : {false, true}) {
      INFO(shape.to_string() << (fixed ? ", fixed" : ""));
      const Shape one{shape.back()};
      Tensor<T> shifted = random_tensor<T>(shape, 1);
      for (T& v : shifted) v = v * T(2) + T(3);
      const Tensor<T> x = shifted;
      const auto dy = random_tensor<T>(shape, 2), gamma = random_tensor<T>(one, 3), beta = random_tensor<T>(one, 4);
      auto mean = random_tensor<T>(one, 5), var = random_tensor<T>(one, 6);
      for (T& v : var) v = v * v + T(0.5);
      const auto want = naive::batch_norm(x, gamma, beta, dy, 1e-5, fixed, mean, var);
      if (!fixed) {
        ops::batch_norm_statistics(x.view(), mean, var);
        CHECK(relative_error(mean, want.mean) <= rounding<T>);
        CHECK(relative_error(var, want.var) <= rounding<T>);
      }
      Tensor<T> rstd(one);
      for (std::int64_t c = 0; c < rstd.size(); ++c) rstd[c] = T(1) / std::sqrt(var[c] + T(1e-5));
      const auto statistics = fixed ? ops::BatchStatistics::fixed : ops::BatchStatistics::of_batch;
      auto y = poisoned<T>(shape), dx = dy;
      Tensor<T> dgamma(one, T(1)), dbeta(one, T(1));
      ops::batch_norm_forward(x.view(), gamma, beta, mean, rstd, y);
      CHECK(relative_error(y, want.y) <= 2 * rounding<T>);
      ops::batch_norm_backward(x.view(), gamma, mean, rstd, std::as_const(dx), statistics, dx, dgamma, dbeta);
      for (T& v : dgamma) v -= T(1);  // they were added to
      for (T& v : dbeta) v -= T(1);
      CHECK(relative_error(dx, want.dx) <= 4 * rounding<T>);
      CHECK(relative_error(dgamma, want.dgamma) <= 8 * rounding<T>);
      CHECK(relative_error(dbeta, want.dbeta) <= 8 * rounding<T>);
      Tensor<T> alone(shape);
      ops::batch_norm_backward(x.view(), gamma, mean, rstd, dy, statistics, alone, {}, {});
      CHECK(same_bits(alone, dx));
    }
}

TEMPLATE_TEST_CASE("rectifiers agree with their definition", "[ops][relu]", float, double) {
  using T = TestType;
  Tensor<T> special = random_tensor<T>(Shape{3, 37}, 1);
  special[0] = T(0);
  special[1] = -std::numeric_limits<T>::infinity();
  special[2] = std::numeric_limits<T>::quiet_NaN();
  const Tensor<T> x = special;
  const auto dy = random_tensor<T>(x.shape(), 2);
  Tensor<T> y = poisoned<T>(x.shape()), dx = dy, leaky = x, dleaky = poisoned<T>(x.shape());
  ops::relu_forward(x.view(), y);
  ops::leaky_relu_backward(x.view(), std::as_const(dx), T(0), dx);
  ops::leaky_relu_forward(std::as_const(leaky).view(), T(0.25), leaky);
  ops::leaky_relu_backward(x.view(), dy, T(0.25), dleaky);
  CHECK(std::isnan(y[2]));
  CHECK(std::isnan(leaky[2]));
  CHECK(y[1] == 0);
  for (std::int64_t i = 3; i < x.size(); ++i) {
    const bool above = x[i] > 0;
    if (y[i] != (above ? x[i] : T(0)) || dx[i] != (above ? dy[i] : T(0))) FAIL_CHECK("relu is wrong at " << i);
    if (leaky[i] != (above ? x[i] : x[i] / 4) || dleaky[i] != (above ? dy[i] : dy[i] / 4))
      FAIL_CHECK("leaky_relu is wrong at " << i);
  }
  CHECK(dx[0] == 0);
  CHECK(dleaky[0] == dy[0] / 4);
}

TEMPLATE_TEST_CASE("channels are placed and taken back", "[ops][channels]", float, double) {
  using T = TestType;
  for (const std::int64_t c : {1, 3, 17}) {
    const auto x = random_tensor<T>(Shape{2, 3, 4, c}, 1);
    auto wide = poisoned<T>(Shape{2, 3, 4, c + 5}), back = poisoned<T>(x.shape());
    ops::place_channels(x.view(), 2, wide);
    for (std::int64_t i = 0; i < wide.size(); ++i) {
      const std::int64_t pixel = i / (c + 5), channel = i % (c + 5) - 2;
      const bool inside = channel >= 0 && channel < c;
      if (inside ? wide[i] != x[pixel * c + channel] : !std::isnan(wide[i])) FAIL_CHECK("wrong at " << i);
    }
    ops::take_channels(std::as_const(wide).view(), 2, back);
    CHECK(same_bits(back, x));
    CHECK_THROWS_WITH(ops::place_channels(x.view(), 6, wide), ContainsSubstring("from channel 6 on"));
    CHECK_THROWS_AS(ops::take_channels(x.view(), -1, back), ShapeError);
    Tensor<T> other(Shape{2, 4, 3, c + 5});
    CHECK_THROWS_AS(ops::place_channels(x.view(), 0, other), ShapeError);
  }
}

TEMPLATE_TEST_CASE("embedding takes rows, and adds their gradients in order", "[ops][embedding]", float, double) {
  using T = TestType;
  const auto weight = random_tensor<T>(Shape{4, 130}, 1), dy = random_tensor<T>(Shape{2, 3, 130}, 2);
  const Tensor<std::int64_t> numbers(Shape{2, 3}, {3, 0, 3, 1, 0, 3});
  const auto results = same_for_any_threads([&] {
    std::vector<Tensor<T>> r{poisoned<T>(dy.shape()), random_tensor<T>(weight.shape(), 3)};
    ops::embedding_forward(numbers.view(), weight.view(), r[0]);
    ops::embedding_backward(numbers.view(), dy.view(), r[1]);
    return r;
  });
  Tensor<T> want = random_tensor<T>(weight.shape(), 3);
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t d = 0; d < 130; ++d) {
      want(numbers[i], d) += dy[i * 130 + d];
      if (results[0][i * 130 + d] != weight(numbers[i], d)) FAIL_CHECK("embedding is wrong at " << i << ", " << d);
    }
  CHECK(same_bits(results[1], want));
}

TEMPLATE_TEST_CASE("dropout drops what its address says", "[ops][dropout]", float, double) {
  using T = TestType;
  const NoiseAddress address{7, streams::dropout, 3};
  const Tensor<T> x(Shape{5, 2001}, T(2));
  Tensor<T> y = poisoned<T>(x.shape()), dx = poisoned<T>(x.shape());
  for (const double p : {0.1, 0.5, 0.75}) {
    ops::dropout_forward(x.view(), p, address, 1000, y);
    ops::dropout_backward(x.view(), p, address, 1000, dx);
    CHECK(same_bits(y, dx));
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const bool keep = !(uniform<float>(address, static_cast<std::uint64_t>(1000 + i)) < static_cast<float>(p));
      if (y[i] != (keep ? static_cast<T>(2 * (1 / (1 - p))) : T(0))) FAIL_CHECK("wrong at " << i);
      kept += keep ? 1 : 0;
    }
    const double n = static_cast<double>(x.size());
    CHECK(std::abs(static_cast<double>(kept) / n - (1 - p)) <= 5 * std::sqrt(p * (1 - p) / n));
  }
  // Known answer: pictures depend on it, it never changes.
  ops::dropout_forward(x.view(), 0.5, {1, streams::dropout, 0}, 0, y);
  std::uint32_t first = 0;
  for (std::int64_t i = 0; i < 32; ++i) first |= (y[i] != 0 ? 1U : 0U) << i;
  CHECK(first == 0x9ad8f5beU);
  ops::dropout_forward(x.view(), 0, address, 0, y);
  CHECK(same_bits(y, x));
  ops::dropout_forward(x.view(), 1, address, 0, y);
  CHECK(same_bits(y, Tensor<T>(x.shape())));
}

TEMPLATE_TEST_CASE("pooling, resampling, normalisation and dropout have the same bits for any threads", "[ops][bits]",
                   float, double) {
  using T = TestType;
  const Shape shape{5, 27, 30, 11};
  const auto x = random_tensor<T>(shape, 1), gamma = random_tensor<T>(Shape{11}, 2);
  const auto mean = random_tensor<T>(Shape{11}, 3), dy = random_tensor<T>(shape, 4);
  const auto run = [&](std::int64_t first, std::int64_t count, bool whole) {
    const auto xs = x.view().slice(first, count), dys = dy.view().slice(first, count);
    const auto own = shape.with_front(count);
    std::vector<Tensor<T>> r;
    for (const Shape& s : {Shape{count, 7, 8, 11}, own, Shape{count, 40, 33, 11}, own, own, own, own, own})
      r.emplace_back(s);
    const auto options = Pool2dOptions::adaptive(7, 8);
    ops::avg_pool2d_forward(xs, options, r[0]);
    ops::avg_pool2d_backward(std::as_const(r[0]).view(), options, r[1]);
    ops::resample_forward(xs, Resampling::bilinear, r[2]);
    ops::resample_backward(std::as_const(r[2]).view(), Resampling::bilinear, r[3]);
    Tensor<std::int32_t> place(r[0].shape());
    Tensor<T> y(r[0].shape());
    ops::max_pool2d_forward(xs, options, y, place);
    ops::max_pool2d_backward(std::as_const(y).view(), place, r[4]);
    ops::batch_norm_forward(xs, gamma, gamma, mean, gamma, r[5]);
    ops::relu_forward(xs, r[6]);
    ops::dropout_forward(xs, 0.3, {1, streams::dropout, 0}, static_cast<std::uint64_t>(first * 27 * 30 * 11), r[7]);
    if (!whole) return r;
    for (int i = 0; i < 4; ++i) r.emplace_back(Shape{11});
    ops::batch_norm_statistics(xs, r[8], r[9]);
    ops::batch_norm_backward(xs, gamma, mean, gamma, dys, ops::BatchStatistics::of_batch, r[5], r[10], r[11]);
    return r;
  };
  same_for_any_threads([&] { return run(0, 5, true); });
  const Threads two(2);
  same_for_any_batch_split(5, [&](std::int64_t first, std::int64_t count) { return run(first, count, false); });
}

TEST_CASE("pooling, resampling and the others say what they expected", "[ops][errors]") {
  const Tensor<float> x(Shape{2, 3, 4, 5}), flat(Shape{2, 5});
  Tensor<float> y(Shape{2, 3, 3, 5});
  Tensor<std::int32_t> place(Shape{2, 3, 3, 4});
  CHECK_THROWS_WITH(ops::avg_pool2d_forward(x.view(), {}, y),
                    "avg_pool2d output: expected [2, 1, 2, 5], got [2, 3, 3, 5]");
  CHECK_THROWS_WITH(ops::avg_pool2d_forward(x.view(), {.kernel = 2, .padding = 1}, y),
                    "avg_pool2d: expected padding 0, got 1");
  CHECK_THROWS_WITH(ops::pool2d_output_shape(x.shape(), {.kernel = 5}),
                    "pool2d: nothing is left of input [2, 3, 4, 5] under a window of 5x5");
  CHECK_THROWS_WITH(ops::pool2d_output_shape(x.shape(), {.kernel = 2, .padding = 2}),
                    "pool2d: expected kernel >= 1, stride >= 0, 0 <= padding <= kernel / 2, got 2, 0 and 2");
  CHECK_THROWS_WITH(ops::pool2d_output_shape(x.shape(), Pool2dOptions::adaptive(2, 0)),
                    "pool2d: expected a result of at least 1x1, got 2x0");
  CHECK_THROWS_WITH(ops::pool2d_output_shape(flat.shape(), {}), "pool2d input: expected [N, H, W, C], got [2, 5]");
  CHECK_THROWS_WITH(ops::max_pool2d_forward(x.view(), Pool2dOptions::adaptive(3, 3), y, place),
                    "max_pool2d places: expected [2, 3, 3, 5], got [2, 3, 3, 4]");
  CHECK_THROWS_WITH(ops::max_pool2d_backward(x.view(), place, y),
                    "max_pool2d places: expected [2, 3, 4, 5], got [2, 3, 3, 4]");
  CHECK_THROWS_WITH(ops::resample_forward(flat.view(), Resampling::nearest, y),
                    "resample input: expected [N, H, W, C], got [2, 5]");
  Tensor<float> other(Shape{2, 3, 3, 4}), none(Shape{2, 0, 3, 5});
  CHECK_THROWS_WITH(ops::resample_forward(x.view(), Resampling::nearest, other),
                    "resample output: expected [2, 3, 3, 5], got [2, 3, 3, 4]");
  CHECK_THROWS_WITH(ops::resample_forward(x.view(), Resampling::nearest, none),
                    "resample: expected at least one pixel, got [2, 3, 4, 5] to [2, 0, 3, 5]");
  Tensor<float> mean(Shape{4}), var(Shape{5});
  const Tensor<float> nothing(Shape{0, 5}), four(Shape{4, 5}), five(Shape{5, 5}), narrow(Shape{5, 4});
  CHECK_THROWS_WITH(ops::batch_norm_statistics(x.view(), mean, var), "batch_norm mean: expected [5], got [4]");
  CHECK_THROWS_WITH(ops::batch_norm_forward(x.view(), var, var, var, mean, y),
                    "batch_norm rstd: expected [5], got [4]");
  CHECK_THROWS_WITH(ops::batch_norm_statistics(std::as_const(nothing).view(), var, var),
                    "batch_norm: an empty batch has no statistics: [0, 5]");
  const Tensor<std::int64_t> numbers(Shape{3}, {0, 4, -1});
  Tensor<float> rows(Shape{3, 5});
  CHECK_THROWS_WITH(ops::embedding_forward(numbers.view(), four.view(), rows),
                    "embedding: expected numbers from 0 to 3, got 4 at place 1");
  CHECK_THROWS_WITH(ops::embedding_forward(numbers.view(), five.view(), rows),
                    "embedding: expected numbers from 0 to 4, got -1 at place 2");
  CHECK_THROWS_WITH(ops::embedding_forward(numbers.view(), narrow.view(), rows),
                    "embedding output: expected [3, 4], got [3, 5]");
  CHECK_THROWS_WITH(ops::dropout_forward(x.view(), 1.5, {}, 0, other), "dropout: expected 0 <= p <= 1, got 1.5");
  CHECK_THROWS_AS(ops::dropout_forward(x.view(), std::nan(""), {}, 0, other), ValueError);
  CHECK_THROWS_AS(ops::relu_forward(x.view(), y), ShapeError);
  CHECK_THROWS_AS(ops::leaky_relu_forward(x.view(), 0.1F, y), ShapeError);
}

}  // namespace
