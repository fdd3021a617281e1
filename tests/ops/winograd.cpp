// Convolutions that go by Winograd's algorithm: against the plain definition, their error, their bits.

#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/detail/convolution.hpp"
#include "support/catch.hpp"
#include "support/naive.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using ops::detail::UnitMethod;

struct Case {
  std::int64_t batch, h, w, in, out, padding;
  UnitMethod method;
};

std::string text(const Case& c) {
  std::string s;
  for (const auto i : {c.batch, c.h, c.w, c.in, c.out, c.padding}) s += std::to_string(i) + " ";
  return "batch h w in out padding: " + s;
}

template <class T>
struct Arguments {
  Tensor<T> x, w, b;
  Shape out;

  explicit Arguments(const Case& c)
      : x(random_tensor<T>(Shape{c.batch, c.h, c.w, c.in}, 1)),
        w(random_tensor<T>(Shape{3, 3, c.in, c.out}, 2, 0.3)),
        b(random_tensor<T>(Shape{c.out}, 3)),
        out(ops::conv2d_output_shape(x.shape(), w.shape(), {1, c.padding})) {}
};

// Odd sizes, tiles cut off at the edges, channels that fill no vector, every padding.
const std::vector<Case> cases{{2, 4, 6, 32, 32, 1, UnitMethod::winograd_2},   {1, 8, 11, 33, 40, 0, UnitMethod::winograd_2},
                              {2, 6, 8, 65, 32, 2, UnitMethod::winograd_2},   {1, 9, 8, 48, 130, 1, UnitMethod::winograd_2},
                              {2, 12, 12, 32, 64, 1, UnitMethod::winograd_4}, {1, 15, 17, 40, 33, 0, UnitMethod::winograd_4},
                              {1, 13, 14, 33, 32, 2, UnitMethod::winograd_4}, {3, 16, 13, 64, 48, 1, UnitMethod::winograd_4}};

TEMPLATE_TEST_CASE("Winograd convolutions agree with their definition", "[ops][winograd]", float, double) {
  for (const Case& c : cases) {
    INFO(text(c));
    const Arguments<TestType> a(c);
    REQUIRE(ops::detail::choose_unit_method(c.in, c.out, a.out[1], a.out[2]) == c.method);
    // The larger transforms lose a few bits.
    const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 2e-14;
    Tensor<TestType> y(a.out, static_cast<TestType>(std::nan("")));
    ops::conv2d_forward(a.x.view(), a.w.view(), a.b.view(), {1, c.padding}, y.view());
    CHECK(relative_error(y, naive::conv2d(a.x, a.w, a.b, 1, c.padding, a.out)) <= tolerance);

    const auto dy = random_tensor<TestType>(a.out, 4);
    Tensor<TestType> dx(a.x.shape(), static_cast<TestType>(std::nan(""))), dw(a.w.shape(), TestType(1));
    ops::conv2d_backward(a.x.view(), a.w.view(), dy.view(), {1, c.padding}, dx.view(), dw.view(), {});
    const auto want = naive::conv2d_backward(a.x, a.w, dy, 1, c.padding);
    CHECK(relative_error(dx, want.dx) <= tolerance);
    for (TestType& v : dw) v -= TestType(1);  // it was added
    CHECK(relative_error(dw, want.dweight) <= tolerance);
  }
}

TEMPLATE_TEST_CASE("Winograd convolutions add bias, residual and what is there", "[ops][winograd]", float, double) {
  using namespace ops::detail;
  const Case c = cases[5];
  const Arguments<TestType> a(c);
  const auto residual = random_tensor<TestType>(a.out, 5);
  auto y = random_tensor<TestType>(a.out, 6);
  Tensor<TestType> want = y;
  const auto product = naive::conv2d(a.x, a.w, a.b, 1, c.padding, a.out);
  for (std::int64_t i = 0; i < want.size(); ++i) want[i] += static_cast<TestType>(product[i]) + residual[i];
  const ConvolutionGeometry g{c.batch, c.h, c.w, c.in, a.out[1], a.out[2], c.out, 3, 3, 1, c.padding};
  convolve_large_to_small(g, a.x.data(), a.w.data(), Epilogue<TestType>{a.b.data(), residual.data(), true}, y.data());
  CHECK(relative_error(y, want) <= (sizeof(TestType) == 4 ? 1e-5 : 2e-14));
}

// Tiles of every size, cut off at the edges, with and without padding and output padding.
struct StridedCase {
  std::int64_t batch, large_h, large_w, small_h, small_w, large_c, small_c, padding;
  int tile;
};
const std::vector<StridedCase> strided_cases{{3, 5, 5, 2, 2, 32, 64, 0, 2},     {2, 4, 4, 2, 2, 33, 40, 1, 2},
                                             {3, 11, 12, 5, 5, 48, 33, 0, 5},   {2, 26, 25, 12, 12, 32, 48, 0, 4},
                                             {1, 16, 15, 8, 8, 65, 32, 1, 4},   {2, 20, 19, 10, 10, 40, 64, 1, 5},
                                             {1, 18, 24, 8, 12, 32, 130, 0, 4}, {2, 15, 15, 8, 8, 32, 32, 1, 4}};

TEMPLATE_TEST_CASE("minimal filtering of strided convolutions agrees with their definition", "[ops][winograd]", float,
                   double) {
  using namespace ops::detail;
  for (const auto& c : strided_cases) {
    INFO("large " << c.large_h << "x" << c.large_w << "x" << c.large_c << ", small " << c.small_h << "x" << c.small_w
                  << "x" << c.small_c << ", padding " << c.padding);
    const ConvolutionGeometry g{c.batch, c.large_h, c.large_w, c.large_c, c.small_h, c.small_w, c.small_c, 3, 3, 2, c.padding};
    REQUIRE(choose_strided_tile(g) == c.tile);
    const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 2e-14;
    const auto large = random_tensor<TestType>(Shape{c.batch, c.large_h, c.large_w, c.large_c}, 1);
    const auto small = random_tensor<TestType>(Shape{c.batch, c.small_h, c.small_w, c.small_c}, 2);
    const auto w = random_tensor<TestType>(Shape{3, 3, c.large_c, c.small_c}, 3, 0.3);
    const auto b_small = random_tensor<TestType>(Shape{c.small_c}, 4);
    const auto b_large = random_tensor<TestType>(Shape{c.large_c}, 5);

    auto y = random_tensor<TestType>(small.shape(), 6);
    const auto want = naive::conv2d(large, w, b_small, 2, c.padding, small.shape());
    auto sum = y;
    for (std::int64_t i = 0; i < sum.size(); ++i) sum[i] += small[i] + static_cast<TestType>(want[i]);
    convolve_large_to_small(g, large.data(), w.data(), Epilogue<TestType>{b_small.data(), small.data(), true}, y.data());
    CHECK(relative_error(y, sum) <= tolerance);
    y.fill(static_cast<TestType>(std::nan("")));
    convolve_large_to_small(g, large.data(), w.data(), Epilogue<TestType>{b_small.data()}, y.data());
    CHECK(relative_error(y, want) <= tolerance);

    auto x = random_tensor<TestType>(large.shape(), 7);
    const auto wanted = naive::conv_transpose2d(small, w, b_large, 2, c.padding, large.shape());
    auto total = x;
    for (std::int64_t i = 0; i < total.size(); ++i) total[i] += large[i] + static_cast<TestType>(wanted[i]);
    convolve_small_to_large(g, small.data(), w.data(), Epilogue<TestType>{b_large.data(), large.data(), true}, x.data());
    CHECK(relative_error(x, total) <= tolerance);
    x.fill(static_cast<TestType>(std::nan("")));
    convolve_small_to_large(g, small.data(), w.data(), Epilogue<TestType>{b_large.data()}, x.data());
    CHECK(relative_error(x, wanted) <= tolerance);
  }
}

TEMPLATE_TEST_CASE("minimal filtering of strided convolutions has the same bits for any threads and batch split",
                   "[ops][winograd][bits]", float, double) {
  using namespace ops::detail;
  for (const auto& c : strided_cases) {
    const std::int64_t batch = 5;
    const auto large = random_tensor<TestType>(Shape{batch, c.large_h, c.large_w, c.large_c}, 1);
    const auto small = random_tensor<TestType>(Shape{batch, c.small_h, c.small_w, c.small_c}, 2);
    const auto w = random_tensor<TestType>(Shape{3, 3, c.large_c, c.small_c}, 3, 0.3);
    const auto run = [&](std::int64_t first, std::int64_t count) {
      const ConvolutionGeometry g{count, c.large_h, c.large_w, c.large_c, c.small_h, c.small_w, c.small_c, 3, 3, 2, c.padding};
      std::vector<Tensor<TestType>> results;
      results.emplace_back(small.shape().with_front(count));
      results.emplace_back(large.shape().with_front(count));
      convolve_large_to_small(g, large.view().slice(first, count).data(), w.data(), Epilogue<TestType>{}, results[0].data());
      convolve_small_to_large(g, small.view().slice(first, count).data(), w.data(), Epilogue<TestType>{}, results[1].data());
      return results;
    };
    same_for_any_threads([&] { return run(0, batch); });
    const Threads two(2);
    same_for_any_batch_split(batch, run);
  }
}

TEST_CASE("Winograd's error on the sizes of the U-Nets stays below 1e-5", "[ops][winograd]") {
  double largest_error = 0;
  for (const Case& c : {Case{1, 32, 32, 128, 64, 1, UnitMethod::winograd_4}, Case{1, 16, 16, 512, 32, 1, UnitMethod::winograd_4},
                        Case{1, 8, 8, 512, 64, 1, UnitMethod::winograd_2}}) {
    INFO(text(c));
    const Arguments<float> a(c);
    REQUIRE(ops::detail::choose_unit_method(c.in, c.out, a.out[1], a.out[2]) == c.method);
    Tensor<float> y(a.out);
    ops::conv2d_forward(a.x.view(), a.w.view(), {}, {1, c.padding}, y.view());
    const double error = relative_error(y, naive::conv2d(a.x, a.w, Tensor<float>(), 1, c.padding, a.out));
    CHECK(error < 1e-5);
    largest_error = std::max(largest_error, error);
  }
  CHECK(largest_error > 0);
}

TEMPLATE_TEST_CASE("Winograd convolutions have the same bits for any threads and any batch split",
                   "[ops][winograd][bits]", float, double) {
  for (const Case& c : {Case{5, 8, 9, 33, 64, 1, UnitMethod::winograd_2}, Case{5, 13, 12, 48, 40, 1, UnitMethod::winograd_4}}) {
    INFO(text(c));
    const Arguments<TestType> a(c);
    const auto dy = random_tensor<TestType>(a.out, 4);
    const auto run = [&](std::int64_t first, std::int64_t count) {
      const auto x = a.x.view().slice(first, count);
      std::vector<Tensor<TestType>> results;
      results.emplace_back(a.out.with_front(count));
      results.emplace_back(x.shape());
      ops::conv2d_forward(x, a.w.view(), a.b.view(), {1, c.padding}, results[0].view());
      ops::conv2d_backward(x, a.w.view(), dy.view().slice(first, count), {1, c.padding}, results[1].view(), {}, {});
      return results;
    };
    same_for_any_threads([&] {
      auto results = run(0, c.batch);
      results.emplace_back(a.w.shape());
      ops::conv2d_backward(a.x.view(), a.w.view(), dy.view(), {1, c.padding}, {}, results.back().view(), {});
      return results;
    });
    const Threads two(2);
    same_for_any_batch_split(c.batch, run);
  }
}

}  // namespace
