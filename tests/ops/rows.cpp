// layer_norm, softmax and gelu against their naive twins, and the promises about bits.

#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/ops/gelu.hpp"
#include "easy_diffusion/ops/layer_norm.hpp"
#include "easy_diffusion/ops/softmax.hpp"
#include "support/catch.hpp"
#include "support/naive_attention.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

template <class T>
Tensor<T> poisoned(const Shape& shape) {
  return Tensor<T>(shape, static_cast<T>(std::nan("")));
}

template <class T>
Tensor<T> doubled(Tensor<T> t) {
  for (T& v : t) v += v;
  return t;
}

const std::vector<Shape> shapes{{1, 1}, {3, 3}, {5, 16}, {2, 4, 17}, {7, 33}, {1, 64}, {3, 2, 65}, {130}, {40, 300}};

TEMPLATE_TEST_CASE("layer_norm agrees with its definition", "[ops][layer_norm]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 2e-14, epsilon = 1e-3;
  for (const Shape& shape : shapes) {
    INFO(shape.to_string());
    auto x = random_tensor<T>(shape, 1, 2);
    for (T& v : x) v += T(0.5);
    const Shape width{shape.back()}, statistics = ops::layer_norm_statistics_shape(shape);
    const auto gamma = random_tensor<T>(width, 2), beta = random_tensor<T>(width, 3), dy = random_tensor<T>(shape, 4);
    auto y = poisoned<T>(shape), mean = poisoned<T>(statistics), rstd = poisoned<T>(statistics);
    ops::layer_norm_forward(std::as_const(x).view(), gamma, beta, T(epsilon), y, mean, rstd);
    CHECK(relative_error(y, naive::layer_norm(x, gamma, beta, epsilon)) <= tolerance);
    for (std::int64_t row = 0; row < mean.size(); ++row) {
      const auto want = naive::row_statistics(x, row, epsilon);
      CHECK(std::abs(double(mean[row]) - want.mean) <= tolerance);
      CHECK(std::abs(double(rstd[row]) / want.rstd - 1) <= tolerance);
    }

    auto dx = poisoned<T>(shape);
    Tensor<T> dgamma(width), dbeta(width);
    ops::layer_norm_backward(std::as_const(x).view(), gamma, mean, rstd, dy, dx, dgamma, dbeta);
    const auto want = naive::layer_norm_backward(x, gamma, dy, epsilon);
    CHECK(largest_difference(dx, want.dx) <= tolerance * std::max(1.0, largest(want.dx)));
    CHECK(largest_difference(dgamma, want.dweight) <= tolerance * std::max(1.0, largest(want.dweight)));
    CHECK(relative_error(dbeta, want.dbias) <= tolerance);

    // Added to, in place, from misaligned memory, with results left out.
    Tensor<T> dgamma_twice = dgamma, dbeta_twice = dbeta, in_place = dy, dgamma_alone(width), dbeta_alone(width);
    ops::layer_norm_backward(std::as_const(x).view(), gamma, mean, rstd, dy, {}, dgamma_twice, dbeta_twice);
    CHECK(same_bits(dgamma_twice, doubled(dgamma)));
    CHECK(same_bits(dbeta_twice, doubled(dbeta)));
    ops::layer_norm_backward(std::as_const(x).view(), gamma, mean, rstd, std::as_const(in_place), in_place, {}, {});
    CHECK(same_bits(in_place, dx));
    ops::layer_norm_backward(std::as_const(x).view(), gamma, mean, rstd, dy, {}, dgamma_alone, {});
    ops::layer_norm_backward(std::as_const(x).view(), gamma, mean, rstd, dy, {}, {}, dbeta_alone);
    CHECK(same_bits(dgamma_alone, dgamma));
    CHECK(same_bits(dbeta_alone, dbeta));
    const Misaligned<T> mx(x), mg(gamma), mb(beta), mdy(dy);
    Misaligned<T> my{poisoned<T>(shape)}, mdx{poisoned<T>(shape)}, mdg{Tensor<T>(width)}, mdb{Tensor<T>(width)};
    ops::layer_norm_forward(mx.view(), mg.view(), mb.view(), T(epsilon), my.view(), mean, rstd);
    ops::layer_norm_backward(mx.view(), mg.view(), mean, rstd, mdy.view(), mdx.view(), mdg.view(), mdb.view());
    CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
    CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));
    CHECK(same_bits(Tensor<T>::copy_of(mdg.view()), dgamma));
    CHECK(same_bits(Tensor<T>::copy_of(mdb.view()), dbeta));
  }
}

TEMPLATE_TEST_CASE("softmax agrees with its definition", "[ops][softmax]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 2e-6 : 4e-15;
  for (const Shape& shape : shapes)
    for (const double size : {1.0, 100.0}) {
      INFO(shape.to_string() << " of size " << size);
      const auto x = random_tensor<T>(shape, 1, size), dy = random_tensor<T>(shape, 2);
      auto y = poisoned<T>(shape), dx = poisoned<T>(shape);
      ops::softmax_forward(x.view(), y);
      CHECK(largest_difference(y, naive::softmax(x)) <= tolerance);
      ops::softmax_backward(std::as_const(y).view(), dy, dx);
      CHECK(largest_difference(dx, naive::softmax_backward(y, dy)) <= tolerance);
      Tensor<T> in_place = x, gradient_in_place = dy;
      ops::softmax_forward(std::as_const(in_place).view(), in_place);
      ops::softmax_backward(std::as_const(y).view(), std::as_const(gradient_in_place), gradient_in_place);
      CHECK(same_bits(in_place, y));
      CHECK(same_bits(gradient_in_place, dx));
      const Misaligned<T> mx(x), my_in(y), mdy(dy);
      Misaligned<T> my{poisoned<T>(shape)}, mdx{poisoned<T>(shape)};
      ops::softmax_forward(mx.view(), my.view());
      ops::softmax_backward(my_in.view(), mdy.view(), mdx.view());
      CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
      CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));
    }
}

TEMPLATE_TEST_CASE("gelu agrees with its definition", "[ops][gelu]", float, double) {
  using T = TestType;
  // Below about -5 the exact one is x times a difference of nearly equal numbers: absolute, not relative, digits.
  const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-14;
  Tensor<T> x(Shape{2001});
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(double(i - 1000) / 100);
  const auto dy = random_tensor<T>(x.shape(), 1);
  for (const ops::Gelu kind : {ops::Gelu::exact, ops::Gelu::tanh}) {
    const bool by_tanh = kind == ops::Gelu::tanh;
    auto y = poisoned<T>(x.shape()), dx = poisoned<T>(x.shape());
    ops::gelu_forward(std::as_const(x).view(), kind, y);
    ops::gelu_backward(std::as_const(x).view(), dy, kind, dx);
    const auto want = naive::gelu(x, by_tanh), want_dx = naive::gelu_backward(x, dy, by_tanh);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      CHECK(std::abs(double(y[i]) - double(want[i])) <= tolerance * std::max(1.0, std::abs(double(x[i]))));
      CHECK(std::abs(double(dx[i]) - double(want_dx[i])) <= 4 * tolerance * std::max(1.0, std::abs(double(dy[i]))));
    }
    Tensor<T> in_place = x;
    ops::gelu_forward(std::as_const(in_place).view(), kind, in_place);
    CHECK(same_bits(in_place, y));
    const Misaligned<T> mx(x);
    Misaligned<T> my{poisoned<T>(x.shape())};
    ops::gelu_forward(mx.view(), kind, my.view());
    CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
  }
  const Tensor<T> far(Shape{4}, {T(1e4), T(-1e4), T(60), T(-60)});
  for (const ops::Gelu kind : {ops::Gelu::exact, ops::Gelu::tanh}) {
    Tensor<T> y(far.shape());
    ops::gelu_forward(far.view(), kind, y);
    CHECK(largest_difference(y, Tensor<T>(Shape{4}, {T(1e4), T(0), T(60), T(0)})) == 0);
  }
}

TEMPLATE_TEST_CASE("rows have the same bits for any threads and any batch split", "[ops][rows][bits]", float, double) {
  using T = TestType;
  const Shape shape{7, 90, 70}, width{70};
  const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
  const auto gamma = random_tensor<T>(width, 3), beta = random_tensor<T>(width, 4);
  const auto run = [&](std::int64_t first, std::int64_t count, bool parameters) {
    std::vector<Tensor<T>> r;
    for (int i = 0; i < 6; ++i) r.emplace_back(shape.with_front(count));
    Tensor<T> mean(Shape{count, 90}), rstd(Shape{count, 90}), dgamma, dbeta;
    if (parameters) dgamma = dbeta = Tensor<T>(width);
    const auto in = x.view().slice(first, count), gradient = dy.view().slice(first, count);
    ops::layer_norm_forward(in, gamma, beta, T(1e-5), r[0], mean, rstd);
    ops::layer_norm_backward(in, gamma, mean, rstd, gradient, r[1], dgamma, dbeta);
    ops::softmax_forward(in, r[2]);
    ops::softmax_backward(std::as_const(r[2]).view(), gradient, r[3]);
    ops::gelu_forward(in, ops::Gelu::exact, r[4]);
    ops::gelu_backward(in, gradient, ops::Gelu::tanh, r[5]);
    if (parameters) r.push_back(dgamma), r.push_back(dbeta);
    return r;
  };
  same_for_any_threads([&] { return run(0, 7, true); });
  const Threads two(2);
  same_for_any_batch_split(7, [&](std::int64_t first, std::int64_t count) { return run(first, count, false); });
}

TEST_CASE("layer_norm, softmax and gelu say which shape they expected", "[ops][rows][errors]") {
  const Tensor<float> x(Shape{2, 6}), gamma(Shape{6}), wrong(Shape{5});
  Tensor<float> y(x.shape()), mean(Shape{2}), rstd(Shape{2}), short_one(Shape{2, 5});
  const auto forward = [&](const auto& in, const auto& g, const auto& b, auto& out, auto& m) {
    ops::layer_norm_forward(in.view(), g, b, 1e-5F, out, m, rstd);
  };
  CHECK_NOTHROW(forward(x, gamma, gamma, y, mean));
  CHECK_THROWS_WITH(forward(x, wrong, gamma, y, mean), "layer_norm gamma: expected [6], got [5]");
  CHECK_THROWS_WITH(forward(x, gamma, wrong, y, mean), "layer_norm beta: expected [6], got [5]");
  CHECK_THROWS_WITH(forward(x, gamma, gamma, short_one, mean), "layer_norm output: expected [2, 6], got [2, 5]");
  CHECK_THROWS_WITH(forward(x, gamma, gamma, y, y), "layer_norm mean: expected [2], got [2, 6]");
  CHECK_THROWS_WITH(forward(Tensor<float>(Shape{2, 0}), gamma, gamma, y, mean),
                    "layer_norm: expected [..., C], got [2, 0]");
  CHECK_THROWS_AS(ops::layer_norm_backward(x.view(), gamma, mean, rstd, short_one, y, {}, {}), ShapeError);
  CHECK_THROWS_AS(ops::layer_norm_backward(x.view(), gamma, mean, rstd, x, short_one, {}, {}), ShapeError);
  CHECK_THROWS_WITH(ops::softmax_forward(x.view(), short_one), "softmax output: expected [2, 6], got [2, 5]");
  CHECK_THROWS_AS(ops::softmax_backward(x.view(), short_one, y), ShapeError);
  CHECK_THROWS_WITH(ops::gelu_forward(x.view(), ops::Gelu::exact, short_one),
                    "gelu output: expected [2, 6], got [2, 5]");
  CHECK_THROWS_AS(ops::gelu_backward(x.view(), short_one, ops::Gelu::exact, y), ShapeError);
}

}  // namespace
