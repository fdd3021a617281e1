// silu, add, embedding_add, concat and fourier_features against their naive twins.

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/concat.hpp"
#include "easy_diffusion/ops/embedding_add.hpp"
#include "easy_diffusion/ops/fourier.hpp"
#include "easy_diffusion/ops/silu.hpp"
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

TEMPLATE_TEST_CASE("silu agrees with its definition at every length and offset", "[ops][silu]", float, double) {
  using T = TestType;
  // Relative to each value: the exponential is good to a few units in the last place.
  const T ulps = 8 * std::numeric_limits<T>::epsilon();
  const auto close = [ulps](const Tensor<T>& got, const Tensor<T>& want, T least) {
    for (std::int64_t i = 0; i < got.size(); ++i)
      if (!(std::abs(got[i] - want[i]) <= ulps * std::max(std::abs(want[i]), least))) return false;
    return true;
  };
  const auto long_x = random_tensor<T>(Shape{300}, 1, 3), long_dy = random_tensor<T>(Shape{300}, 2);
  const auto long_y = naive::silu(long_x), long_dx = naive::silu_backward(long_x, long_dy);
  Tensor<T> all_y(long_x.shape()), all_dx(long_x.shape());
  ops::silu_forward(long_x.view(), all_y);
  ops::silu_backward(long_x.view(), long_dy, all_dx);
  CHECK(close(all_y, long_y, T(1e-3)));
  CHECK(close(all_dx, long_dx, T(1)));  // the derivative crosses zero at -1.28
  for (std::int64_t offset = 0; offset < 4; ++offset)
    for (const std::int64_t n : {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 65, 130}) {
      INFO("offset " << offset << ", length " << n);
      const TensorView<const T> x = long_x.view().slice(offset, n), dy = long_dy.view().slice(offset, n);
      auto memory = poisoned<T>(Shape{140});
      const auto y = memory.view().slice(offset + 1, n);
      ops::silu_forward(x, y);
      const auto here = [&](const Tensor<T>& whole) { return Tensor<T>::copy_of(whole.view().slice(offset, n)); };
      CHECK(same_bits(Tensor<T>::copy_of(y), here(all_y)));  // an element's bits do not depend on its place
      ops::silu_backward(x, dy, y);
      CHECK(same_bits(Tensor<T>::copy_of(y), here(all_dx)));
      CHECK(std::isnan(memory[offset]));  // nothing is written beside the view
      CHECK(std::isnan(memory[offset + 1 + n]));
    }
  // In place, as documented.
  Tensor<T> y = long_x, dx = long_dy;
  ops::silu_forward(std::as_const(y).view(), y);
  ops::silu_backward(long_x.view(), std::as_const(dx), dx);
  CHECK(same_bits(y, all_y));
  CHECK(same_bits(dx, all_dx));
}

TEMPLATE_TEST_CASE("silu far from zero is x or zero, never NaN", "[ops][silu]", float, double) {
  using T = TestType;
  const Tensor<T> x(Shape{8}, {T(0), T(-30), T(30), T(-90), T(90), T(-1e4), T(1e4), T(-1e30)});
  const Tensor<T> one(x.shape(), T(1));
  Tensor<T> y(x.shape()), dx(x.shape());
  ops::silu_forward(x.view(), y);
  ops::silu_backward(x.view(), one, dx);
  CHECK(largest_difference(y, naive::silu(x)) <= 1e-3 * 1e-7);
  for (const std::int64_t i : {0, 1, 3, 5}) CHECK(std::abs(y[i]) <= T(1e-10));
  for (const std::int64_t i : {2, 4, 6}) {
    CHECK(std::abs(y[i] - x[i]) <= x[i] * T(1e-6));
    CHECK(std::abs(dx[i] - T(1)) <= T(1e-6));
  }
  for (const std::int64_t i : {3, 5}) CHECK(std::abs(dx[i]) <= T(1e-30));
  CHECK(dx[0] == T(0.5));
}

TEMPLATE_TEST_CASE("elementwise operations agree with their definition", "[ops]", float, double) {
  using T = TestType;
  const double tolerance = rounding<T>;
  for (const std::int64_t batch : {1, 3})
    for (const std::int64_t c : {1, 3, 17, 33, 64, 130}) {
      INFO("batch " << batch << ", channels " << c);
      const Shape shape{batch, 3, 5, c};
      const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
      const auto e = random_tensor<T>(Shape{batch, c}, 3);
      auto y = poisoned<T>(shape);
      ops::embedding_add_forward(x.view(), e, y);
      CHECK(same_bits(y, naive::embedding_add(x, e)));
      Tensor<T> in_place = x;
      ops::embedding_add_forward(std::as_const(in_place).view(), e, in_place);
      CHECK(same_bits(in_place, y));
      Misaligned<T> misaligned(x);
      ops::embedding_add_forward(std::as_const(misaligned).view(), e, misaligned.view());
      CHECK(same_bits(Tensor<T>::copy_of(misaligned.view()), y));
      auto de = poisoned<T>(e.shape());  // written, not added to
      ops::embedding_add_backward(dy.view(), de);
      CHECK(relative_error(de, naive::embedding_add_backward(dy)) <= tolerance);

      Tensor<T> sum = x;
      ops::add_to(sum.view(), dy);
      for (std::int64_t i = 0; i < sum.size(); ++i)
        if (sum[i] != x[i] + dy[i]) FAIL_CHECK("add_to is wrong at " << i);

      const auto b = random_tensor<T>(Shape{batch, 3, 5, 7}, 4);
      const Shape joined_shape{batch, 3, 5, c + 7};
      auto joined = poisoned<T>(joined_shape);
      ops::concat_forward(x.view(), b, joined);
      CHECK(same_bits(joined, naive::concat(x, b, joined_shape)));
      auto da = poisoned<T>(shape), db = poisoned<T>(b.shape());
      ops::concat_backward(std::as_const(joined).view(), da, db);
      CHECK(same_bits(da, x));
      CHECK(same_bits(db, b));

      const auto t = random_tensor<T>(Shape{batch}, 5), w = random_tensor<T>(Shape{c}, 6, 3);
      const auto dfeatures = random_tensor<T>(Shape{batch, 2 * c}, 7);
      auto features = poisoned<T>(Shape{batch, 2 * c});
      auto dt = poisoned<T>(Shape{batch});
      ops::fourier_features_forward(t.view(), w, features);
      // The angle's own rounding: up to 2 pi * 30 radians.
      CHECK(largest_difference(features, naive::fourier_features(t, w)) <= (sizeof(T) == 4 ? 2e-5 : 4e-14));
      ops::fourier_features_backward(std::as_const(features).view(), w, dfeatures, dt);
      CHECK(relative_error(dt, naive::fourier_features_backward(t, w, dfeatures)) <= (sizeof(T) == 4 ? 1e-4 : 1e-12));
    }
}

TEMPLATE_TEST_CASE("elementwise operations have the same bits for any threads and any batch split", "[ops][bits]",
                   float, double) {
  using T = TestType;
  const Shape shape{7, 31, 30, 11};  // more than one piece of every parallel loop
  const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
  const auto e = random_tensor<T>(Shape{7, 11}, 3);
  const auto run = [&](std::int64_t first, std::int64_t count) {
    const auto xs = x.view().slice(first, count), dys = dy.view().slice(first, count);
    std::vector<Tensor<T>> r;
    for (const Shape& s : {shape, shape, shape, Shape{7, 11}, Shape{7, 31, 30, 22}, shape, shape, shape})
      r.emplace_back(s.with_front(count));
    ops::silu_forward(xs, r[0]);
    ops::silu_backward(xs, dys, r[1]);
    ops::embedding_add_forward(xs, e.view().slice(first, count), r[2]);
    ops::embedding_add_backward(dys, r[3]);
    ops::concat_forward(xs, dys, r[4]);
    ops::concat_backward(std::as_const(r[4]).view(), r[5], r[6]);
    ops::add_to(r[7].view(), xs);
    return r;
  };
  same_for_any_threads([&] { return run(0, 7); });
  const Threads two(2);
  same_for_any_batch_split(7, run);
}

TEST_CASE("elementwise operations say which shape they expected", "[ops][errors]") {
  const Tensor<float> x(Shape{2, 3, 3, 4}), e(Shape{2, 4}), b(Shape{2, 3, 3, 2}), t(Shape{5}), w(Shape{3});
  Tensor<float> y(Shape{2, 3, 3, 6}), same(x.shape()), dt(Shape{5}), features(Shape{5, 6});
  CHECK_THROWS_WITH(ops::silu_forward(x.view(), y), "silu output: expected [2, 3, 3, 4], got [2, 3, 3, 6]");
  CHECK_THROWS_WITH(ops::silu_backward(x.view(), b, same),
                    "silu output gradient: expected [2, 3, 3, 4], got [2, 3, 3, 2]");
  CHECK_THROWS_WITH(ops::silu_backward(x.view(), x, y), "silu input gradient: expected [2, 3, 3, 4], got [2, 3, 3, 6]");
  CHECK_THROWS_WITH(ops::add_to(same.view(), b), "add_to: expected [2, 3, 3, 4], got [2, 3, 3, 2]");
  CHECK_THROWS_WITH(ops::embedding_add_forward(e.view(), e, same),
                    "embedding_add input: expected [N, H, W, C], got [2, 4]");
  CHECK_THROWS_WITH(ops::embedding_add_forward(x.view(), t, same), "embedding_add embedding: expected [2, 4], got [5]");
  CHECK_THROWS_WITH(ops::embedding_add_forward(x.view(), e, y),
                    "embedding_add output: expected [2, 3, 3, 4], got [2, 3, 3, 6]");
  CHECK_THROWS_WITH(ops::embedding_add_backward(x.view(), dt),
                    "embedding_add embedding gradient: expected [2, 4], got [5]");
  CHECK_THROWS_WITH(ops::concat_forward(x.view(), e, y), "concat: [2, 3, 3, 4] and [2, 4] differ in rank");
  CHECK_THROWS_WITH(ops::concat_forward(x.view(), TensorView<const float>(b.data(), Shape{2, 3, 2, 3}), y),
                    "concat: extents before the channels: expected [2, 3, 3], got [2, 3, 2]");
  CHECK_THROWS_WITH(ops::concat_forward(x.view(), b, same), "concat: expected [2, 3, 3, 6], got [2, 3, 3, 4]");
  CHECK_THROWS_AS(ops::concat_backward(x.view(), same, same), ShapeError);
  CHECK_THROWS_WITH(ops::fourier_features_forward(e.view(), w, features),
                    "fourier_features times: expected [N], got [2, 4]");
  CHECK_THROWS_WITH(ops::fourier_features_forward(t.view(), e, features),
                    "fourier_features frequencies: expected [D], got [2, 4]");
  CHECK_THROWS_WITH(ops::fourier_features_forward(t.view(), w, same),
                    "fourier_features output: expected [5, 6], got [2, 3, 3, 4]");
  CHECK_THROWS_AS(ops::fourier_features_backward(e.view(), w, e, dt), ShapeError);
}

}  // namespace
