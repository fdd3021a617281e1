// linear and group_norm against their naive twins, and the promises about bits.

#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/ops/group_norm.hpp"
#include "easy_diffusion/ops/linear.hpp"
#include "support/catch.hpp"
#include "support/naive.hpp"
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

TEMPLATE_TEST_CASE("linear agrees with its definition", "[ops][linear]", float, double) {
  using T = TestType;
  const double tolerance = 4 * rounding<T>;
  std::vector<std::pair<Shape, std::int64_t>> cases;
  for (const std::int64_t in : {1, 3, 17, 32, 33, 64, 65, 130})
    for (const std::int64_t out : {1, 3, 17, 33, 64, 130}) cases.push_back({Shape{5, in}, out});
  cases.push_back({Shape{17}, 3});
  cases.push_back({Shape{1, 17}, 65});
  cases.push_back({Shape{3, 7, 33}, 17});
  cases.push_back({Shape{2, 3, 5, 9}, 4});
  cases.push_back({Shape{301, 10}, 5});
  bool with_bias = false;
  for (const auto& [shape, out] : cases) {
    with_bias = !with_bias;
    INFO(shape.to_string() << " to " << out);
    const auto x = random_tensor<T>(shape, 1);
    const auto w = random_tensor<T>(Shape{shape.back(), out}, 2, 0.3);
    const auto b = with_bias ? random_tensor<T>(Shape{out}, 3) : Tensor<T>();
    const Shape out_shape = ops::linear_output_shape(x.shape(), w.shape());
    const auto dy = random_tensor<T>(out_shape, 4);

    auto y = poisoned<T>(out_shape);
    ops::linear_forward(x.view(), w, b, y);
    CHECK(relative_error(y, naive::linear(x, w, b, out_shape)) <= tolerance);
    auto dx = poisoned<T>(shape);
    Tensor<T> dw(w.shape()), db(Shape{out});
    ops::linear_backward(x.view(), w, dy, dx, dw, db);
    const auto want = naive::linear_backward(x, w, dy);
    CHECK(relative_error(dx, want.dx) <= tolerance);
    CHECK(relative_error(dw, want.dweight) <= tolerance);
    CHECK(relative_error(db, want.dbias) <= tolerance);

    Tensor<T> dw_twice = dw, db_twice = db;
    ops::linear_backward(x.view(), w, dy, dx, dw_twice, db_twice);
    CHECK(relative_error(dw_twice, doubled(dw)) <= rounding<T>);
    CHECK(relative_error(db_twice, doubled(db)) <= rounding<T>);
    CHECK(relative_error(dx, want.dx) <= tolerance);

    const Misaligned<T> mx(x), mw(w), mdy(dy);
    Misaligned<T> my{Tensor<T>(out_shape)}, mdx{Tensor<T>(shape)}, mdw{Tensor<T>(w.shape())},
        mdb{Tensor<T>(Shape{out})};
    ops::linear_forward(mx.view(), mw.view(), b.view(), my.view());
    ops::linear_backward(mx.view(), mw.view(), mdy.view(), mdx.view(), mdw.view(), mdb.view());
    CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
    CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));
    CHECK(same_bits(Tensor<T>::copy_of(mdw.view()), dw));
    CHECK(same_bits(Tensor<T>::copy_of(mdb.view()), db));

    auto dx_alone = poisoned<T>(shape);
    Tensor<T> dw_alone(w.shape()), db_alone(Shape{out});
    const TensorView<T> none;
    ops::linear_backward(x.view(), w, dy, dx_alone, none, none);
    ops::linear_backward(x.view(), w, dy, none, dw_alone, none);
    ops::linear_backward(x.view(), w, dy, none, none, db_alone);
    CHECK(same_bits(dx_alone, dx));
    CHECK(same_bits(dw_alone, dw));
    CHECK(same_bits(db_alone, db));
  }
}

TEMPLATE_TEST_CASE("linear has the same bits for any threads and any batch split", "[ops][linear][bits]", float,
                   double) {
  using T = TestType;
  for (const auto& [shape, out] : {std::pair{Shape{7, 150, 33}, 65}, std::pair{Shape{7, 400, 9}, 2}}) {
    const auto x = random_tensor<T>(shape, 1);
    const auto w = random_tensor<T>(Shape{shape.back(), out}, 2);
    const auto b = random_tensor<T>(Shape{out}, 3);
    const Shape out_shape = ops::linear_output_shape(x.shape(), w.shape());
    const auto dy = random_tensor<T>(out_shape, 4);
    same_for_any_threads([&, &s = shape, n = out] {
      std::vector<Tensor<T>> r;
      for (const Shape& result : {out_shape, s, w.shape(), Shape{n}}) r.emplace_back(result);
      ops::linear_forward(x.view(), w, b, r[0]);
      ops::linear_backward(x.view(), w, dy, r[1], r[2], r[3]);
      return r;
    });
    const Threads two(2);
    same_for_any_batch_split(7, [&](std::int64_t first, std::int64_t count) {
      std::vector<Tensor<T>> r;
      r.emplace_back(out_shape.with_front(count));
      r.emplace_back(x.shape().with_front(count));
      ops::linear_forward(x.view().slice(first, count), w, b, r[0]);
      ops::linear_backward(x.view().slice(first, count), w, dy.view().slice(first, count), r[1], {}, {});
      return r;
    });
  }
}

TEST_CASE("linear says which shape it expected", "[ops][linear][errors]") {
  const Tensor<double> x(Shape{4, 5}), w(Shape{5, 3}), b(Shape{3});
  Tensor<double> y(Shape{4, 3}), dx(x.shape()), dw(w.shape()), db(b.shape()), other(Shape{4, 4});
  CHECK_THROWS_WITH(ops::linear_forward(std::as_const(y).view(), w, b, y),
                    "linear: weight [5, 3] expects [..., 5], got [4, 3]");
  CHECK_THROWS_WITH(ops::linear_forward(x.view(), b, b, y), "linear weight: expected [C_in, C_out], got [3]");
  CHECK_THROWS_WITH(ops::linear_forward(x.view(), w, b, other), "linear output: expected [4, 3], got [4, 4]");
  CHECK_THROWS_WITH(ops::linear_forward(x.view(), w, x, y), "linear bias: expected [3], got [4, 5]");
  CHECK_THROWS_WITH(ops::linear_backward(x.view(), w, other, dx, dw, db),
                    "linear output gradient: expected [4, 3], got [4, 4]");
  CHECK_THROWS_WITH(ops::linear_backward(x.view(), w, y, other, dw, db),
                    "linear input gradient: expected [4, 5], got [4, 4]");
  CHECK_THROWS_WITH(ops::linear_backward(x.view(), w, y, dx, other, db),
                    "linear weight gradient: expected [5, 3], got [4, 4]");
  CHECK_THROWS_WITH(ops::linear_backward(x.view(), w, y, dx, dw, other),
                    "linear bias gradient: expected [3], got [4, 4]");
  CHECK_THROWS_AS(ops::linear_forward(TensorView<const double>(x.data(), Shape{}), w, b, y), ShapeError);
}

TEMPLATE_TEST_CASE("group_norm agrees with its definition", "[ops][group_norm]", float, double) {
  using T = TestType;
  // Groups of two elements lose a digit or two.
  const double tolerance = sizeof(T) == 4 ? 4e-5 : 5e-14;
  const double epsilon = 1e-5;
  const std::vector<std::pair<Shape, std::int64_t>> cases{
      {{1, 3, 5, 1}, 1},  {{3, 4, 4, 3}, 1},   {{3, 2, 3, 3}, 3},   {{1, 5, 3, 17}, 17}, {{2, 3, 3, 17}, 1},
      {{3, 3, 5, 32}, 4}, {{1, 4, 3, 33}, 11}, {{2, 2, 2, 64}, 32}, {{3, 1, 3, 65}, 5},  {{1, 3, 3, 130}, 13},
      {{3, 7, 6}, 2},     {{5, 10}, 5},        {{2, 2, 3, 2, 6}, 3},
      {{2, 7, 11, 72}, 12}};
  for (const auto& [shape, groups] : cases) {
    INFO(shape.to_string() << ", " << groups << " groups");
    const auto x = [&s = shape] {
      auto values = random_tensor<T>(s, 1, 2);
      for (T& v : values) v += T(0.5);
      return values;
    }();
    const std::int64_t channels = shape.back();
    const auto gamma = random_tensor<T>(Shape{channels}, 2), beta = random_tensor<T>(Shape{channels}, 3);
    const auto dy = random_tensor<T>(shape, 4);
    auto y = poisoned<T>(shape);
    const Shape statistics{shape[0], groups};
    auto mean = poisoned<T>(statistics), rstd = poisoned<T>(statistics);
    ops::group_norm_forward(x.view(), gamma, beta, groups, static_cast<T>(epsilon), y, mean, rstd);
    const auto want_statistics = naive::group_statistics(x, groups, epsilon);
    CHECK(largest_difference(mean, want_statistics.mean) <= tolerance);
    CHECK(relative_error(rstd, want_statistics.rstd) <= tolerance);
    CHECK(relative_error(y, naive::group_norm(x, gamma, beta, groups, epsilon)) <= tolerance);

    auto dx = poisoned<T>(shape);
    Tensor<T> dgamma(gamma.shape()), dbeta(beta.shape());
    ops::group_norm_backward(x.view(), gamma, mean, rstd, dy, groups, dx, dgamma, dbeta);
    const auto want = naive::group_norm_backward(x, gamma, dy, groups, epsilon);
    CHECK(largest_difference(dx, want.dx) <= tolerance * std::max(1.0, largest(want.dx)));
    CHECK(relative_error(dgamma, want.dweight) <= tolerance);
    CHECK(relative_error(dbeta, want.dbias) <= tolerance);

    Tensor<T> dgamma_twice = dgamma, dbeta_twice = dbeta;
    ops::group_norm_backward(x.view(), gamma, mean, rstd, dy, groups, dx, dgamma_twice, dbeta_twice);
    CHECK(relative_error(dgamma_twice, doubled(dgamma)) <= rounding<T>);
    CHECK(relative_error(dbeta_twice, doubled(dbeta)) <= rounding<T>);

    const Misaligned<T> mx(x), mg(gamma), mb(beta), mdy(dy);
    Misaligned<T> my{Tensor<T>(shape)}, mdx{Tensor<T>(shape)};
    ops::group_norm_forward(mx.view(), mg.view(), mb.view(), groups, static_cast<T>(epsilon), my.view(), mean, rstd);
    ops::group_norm_backward(mx.view(), mg.view(), mean, rstd, mdy.view(), groups, mdx.view(), {}, {});
    CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
    CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));

    // In place, as documented, and with results left out.
    Tensor<T> in_place = dy, dgamma_alone(gamma.shape()), dbeta_alone(beta.shape());
    ops::group_norm_backward(x.view(), gamma, mean, rstd, std::as_const(in_place), groups, in_place, {}, {});
    CHECK(same_bits(in_place, dx));
    ops::group_norm_backward(x.view(), gamma, mean, rstd, dy, groups, {}, dgamma_alone, {});
    ops::group_norm_backward(x.view(), gamma, mean, rstd, dy, groups, {}, {}, dbeta_alone);
    CHECK(same_bits(dgamma_alone, dgamma));
    CHECK(same_bits(dbeta_alone, dbeta));
  }
}

TEMPLATE_TEST_CASE("group_norm has the same bits for any threads and any batch split", "[ops][group_norm][bits]", float,
                   double) {
  using T = TestType;
  const Shape shape{7, 9, 8, 30}, statistics{7, 6};
  const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
  const auto gamma = random_tensor<T>(Shape{30}, 3), beta = random_tensor<T>(Shape{30}, 4);
  const auto run = [&](std::int64_t first, std::int64_t count, bool parameters) {
    std::vector<Tensor<T>> r;
    for (const Shape& s : {shape, statistics, statistics, shape}) r.emplace_back(s.with_front(count));
    ops::group_norm_forward(x.view().slice(first, count), gamma, beta, 6, T(1e-5), r[0], r[1], r[2]);
    Tensor<T> dgamma, dbeta;
    if (parameters) dgamma = dbeta = Tensor<T>(Shape{30});
    ops::group_norm_backward(x.view().slice(first, count), gamma, r[1], r[2], dy.view().slice(first, count), 6, r[3],
                             dgamma, dbeta);
    if (parameters) r.push_back(dgamma), r.push_back(dbeta);
    return r;
  };
  same_for_any_threads([&] { return run(0, 7, true); });
  const Threads two(2);
  same_for_any_batch_split(7, [&](std::int64_t first, std::int64_t count) { return run(first, count, false); });
}

TEST_CASE("group_norm survives values without variance and far from zero", "[ops][group_norm]") {
  Tensor<float> x(Shape{1, 4, 4, 2}, 3.0F), y(x.shape()), statistics(Shape{1, 2}), rstd(Shape{1, 2});
  const Tensor<float> gamma(Shape{2}, 1.0F), beta(Shape{2}, 0.25F);
  ops::group_norm_forward(std::as_const(x).view(), gamma, beta, 2, 1e-5F, y, statistics, rstd);
  for (const float v : y) CHECK(std::abs(v - 0.25F) <= 2e-4F);
  // Mean 1000, deviation 1: a variance from the difference of two large sums would be lost in float.
  x = random_tensor<float>(x.shape(), 8);
  for (float& v : x) v += 1000.0F;
  ops::group_norm_forward(std::as_const(x).view(), gamma, beta, 2, 1e-5F, y, statistics, rstd);
  CHECK(relative_error(y, naive::group_norm(x, gamma, beta, 2, 1e-5)) <= 1e-6);
}

TEST_CASE("group_norm says which shape it expected", "[ops][group_norm][errors]") {
  const Tensor<double> x(Shape{2, 3, 3, 6}), gamma(Shape{6}), wrong(Shape{5});
  Tensor<double> y(x.shape()), mean(Shape{2, 3}), rstd(Shape{2, 3}), dgamma(Shape{6});
  const auto forward = [&](const auto& in, const auto& g, const auto& b, std::int64_t groups, auto& out, auto& m) {
    ops::group_norm_forward(in.view(), g, b, groups, 1e-5, out, m, rstd);
  };
  CHECK_THROWS_WITH(forward(x, gamma, gamma, 4, y, mean),
                    "group_norm: 4 groups do not divide the channels of [2, 3, 3, 6]");
  CHECK_THROWS_AS(forward(x, gamma, gamma, 0, y, mean), ShapeError);
  CHECK_THROWS_WITH(forward(wrong, gamma, gamma, 1, y, mean), "group_norm: expected [N, ..., C], got [5]");
  CHECK_THROWS_WITH(forward(x, wrong, gamma, 3, y, mean), "group_norm gamma: expected [6], got [5]");
  CHECK_THROWS_WITH(forward(x, gamma, wrong, 3, y, mean), "group_norm beta: expected [6], got [5]");
  CHECK_THROWS_WITH(forward(x, gamma, gamma, 3, mean, mean), "group_norm output: expected [2, 3, 3, 6], got [2, 3]");
  CHECK_THROWS_WITH(forward(x, gamma, gamma, 2, y, mean), "group_norm mean: expected [2, 2], got [2, 3]");
  const auto backward = [&](const auto& dy, auto& dx, const Tensor<double>& g) {
    ops::group_norm_backward(x.view(), g, mean, rstd, dy, 3, dx, dgamma, dgamma);
  };
  CHECK_THROWS_WITH(backward(gamma, y, gamma), "group_norm output gradient: expected [2, 3, 3, 6], got [6]");
  CHECK_THROWS_WITH(backward(x, mean, gamma), "group_norm input gradient: expected [2, 3, 3, 6], got [2, 3]");
  CHECK_THROWS_AS(backward(x, y, wrong), ShapeError);
}

}  // namespace
