// The small products and vector functions that attention is made of, against plain loops.

#include "easy_diffusion/ops/detail/panel_product.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "easy_diffusion/ops/detail/exponential.hpp"
#include "easy_diffusion/ops/detail/rows.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "support/worst.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
namespace detail = easy_diffusion::ops::detail;

TEMPLATE_TEST_CASE("panel_product agrees with plain loops", "[ops][panel_product]", float, double) {
  using T = TestType;
  for (const std::int64_t rows : {1, 2, 5, 8, 23})
    for (const std::int64_t columns : {1, 3, 16, 17, 40, 64, 65, 130})
      for (const std::int64_t steps : {1, 16, 33}) {
        INFO(rows << " x " << steps << " x " << columns);
        const auto a = random_tensor<T>(Shape{rows, steps}, 1), b = random_tensor<T>(Shape{steps, columns}, 2);
        Tensor<T> a_turned(Shape{steps, rows}), b_turned(Shape{columns, steps});
        for (std::int64_t s = 0; s < steps; ++s) {
          for (std::int64_t r = 0; r < rows; ++r) a_turned(s, r) = a(r, s);
          for (std::int64_t c = 0; c < columns; ++c) b_turned(c, s) = b(s, c);
        }
        const std::int64_t width = detail::padded<T>(columns);
        Tensor<T> panels(Shape{steps * width}), turned(panels.shape());
        detail::pack_rows(b.data(), steps, columns, columns, panels.data());
        detail::pack_transposed(b_turned.data(), steps, columns, steps, turned.data());
        CHECK(same_bits(panels, turned));

        Tensor<T> c(Shape{rows, width}), by_columns(c.shape()), in_parts(c.shape());
        detail::panel_product(rows, steps, columns, a.data(), {steps, 1}, panels.data(), c.data(), width, false);
        Tensor<T> got(Shape{rows, columns}), want(got.shape());
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t k = 0; k < columns; ++k) {
            double sum = 0;
            for (std::int64_t s = 0; s < steps; ++s) sum += double(a(r, s)) * double(b(s, k));
            want(r, k) = static_cast<T>(sum);
            got(r, k) = c(r, k);
          }
        CHECK(relative_error(got, want) <= 4 * rounding<T>);

        // A by columns, and the steps in two parts through memory: not a bit changes.
        detail::panel_product(rows, steps, columns, a_turned.data(), {1, rows}, panels.data(), by_columns.data(), width,
                              false);
        CHECK(same_bits(by_columns, c));
        const std::int64_t half = steps / 2;
        detail::pack_rows(b.data(), half, columns, columns, panels.data());
        detail::panel_product(rows, half, columns, a.data(), {steps, 1}, panels.data(), in_parts.data(), width, false);
        detail::pack_rows(b.data() + half * columns, steps - half, columns, columns, panels.data());
        detail::panel_product(rows, steps - half, columns, a.data() + half, {steps, 1}, panels.data(), in_parts.data(),
                              width, true);
        CHECK(same_bits(in_parts, c));
      }
}

TEMPLATE_TEST_CASE("exp2_nonpositive agrees with std::exp2", "[ops][exponential]", float, double) {
  using T = TestType;
  using P = detail::Pack<T>;
  const auto power = [](T x) {
    T lanes[P::lanes];
    detail::exp2_nonpositive(P(x)).store(lanes);
    return lanes[P::lanes - 1];
  };
  Worst worst;
  for (int i = 0; i <= 10000; ++i) {
    const T x = static_cast<T>(-0.0121 * i);
    const double error = std::abs(double(power(x)) / std::exp2(double(x)) - 1);
    worst.see(error);
  }
  CHECK(worst.value() <= (sizeof(T) == 4 ? 2e-7 : 5e-16));
  CHECK(power(T(0)) == 1);
  for (const T far : {T(-5000), std::numeric_limits<T>::lowest(), -std::numeric_limits<T>::infinity()}) {
    CHECK(power(far) >= 0);
    CHECK(power(far) <= 4 * std::numeric_limits<T>::min());
  }
  CHECK(std::isnan(power(std::numeric_limits<T>::quiet_NaN())));
}

TEMPLATE_TEST_CASE("sums and maxima of rows agree with plain loops", "[ops][rows]", float, double) {
  using T = TestType;
  for (const std::int64_t n : {1, 3, 16, 17, 40, 65, 130}) {
    const auto x = random_tensor<T>(Shape{n}, 1);
    double sum = 0, largest_one = -HUGE_VAL, size = 0;
    for (const T v : x) {
      sum += double(v) + 1;
      largest_one = std::max(largest_one, double(v));
      size += std::abs(double(v)) + 1;
    }
    using P = detail::Pack<T>;
    // f(0) = 1: what fills a short vector must not be counted.
    const T got = detail::sum_packs<T>(
        n, [](P v) { return v + P(T(1)); }, x.data());
    CHECK(std::abs(double(got) - sum) <= rounding<T> * size);
    CHECK(double(detail::largest_of_row(n, x.data())) == largest_one);
  }
}

}  // namespace
