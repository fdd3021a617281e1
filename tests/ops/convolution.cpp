// conv2d and conv_transpose2d against their naive twins, and the promises about bits.

#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/conv_transpose2d.hpp"
#include "support/catch.hpp"
#include "support/naive.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

struct Case {
  std::int64_t batch, h, w, in, out, kernel, stride, padding;
  std::int64_t extra_h = 0, extra_w = 0;  // output padding of the transposed one
  bool bias = true;
};

std::string text(const Case& c) {
  std::string s;
  for (const auto i : {c.batch, c.h, c.w, c.in, c.out, c.kernel, c.stride, c.padding, c.extra_h, c.extra_w})
    s += std::to_string(i) + " ";
  return "batch h w in out kernel stride padding extra_h extra_w: " + s + (c.bias ? "bias" : "");
}

// One interface for both, so that the same checks run on both.
struct Plain {
  static constexpr const char* name = "conv2d";
  static Shape weight_shape(const Case& c) { return {c.kernel, c.kernel, c.in, c.out}; }
  static ops::Conv2dOptions options(const Case& c) { return {c.stride, c.padding}; }
  template <class T>
  static Shape output(const Case& c, const Tensor<T>& x, const Tensor<T>& w) {
    return ops::conv2d_output_shape(x.shape(), w.shape(), options(c));
  }
  template <class T, class... Views>
  static void forward(const Case& c, TensorView<const T> x, TensorView<const T> w, TensorView<const T> b,
                      TensorView<T> y) {
    ops::conv2d_forward(x, w, b, options(c), y);
  }
  template <class T>
  static void backward(const Case& c, TensorView<const T> x, TensorView<const T> w, TensorView<const T> dy,
                       TensorView<T> dx, TensorView<T> dw, TensorView<T> db) {
    ops::conv2d_backward(x, w, dy, options(c), dx, dw, db);
  }
  template <class T>
  static Tensor<T> naive_forward(const Case& c, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& b,
                                 const Shape& out) {
    return naive::conv2d(x, w, b, c.stride, c.padding, out);
  }
  template <class T>
  static auto naive_backward(const Case& c, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& dy) {
    return naive::conv2d_backward(x, w, dy, c.stride, c.padding);
  }
};

struct Transposed {
  static constexpr const char* name = "conv_transpose2d";
  static Shape weight_shape(const Case& c) { return {c.kernel, c.kernel, c.out, c.in}; }
  static ops::ConvTranspose2dOptions options(const Case& c) { return {c.stride, c.padding, c.extra_h, c.extra_w}; }
  template <class T>
  static Shape output(const Case& c, const Tensor<T>& x, const Tensor<T>& w) {
    return ops::conv_transpose2d_output_shape(x.shape(), w.shape(), options(c));
  }
  template <class T>
  static void forward(const Case& c, TensorView<const T> x, TensorView<const T> w, TensorView<const T> b,
                      TensorView<T> y) {
    ops::conv_transpose2d_forward(x, w, b, options(c), y);
  }
  template <class T>
  static void backward(const Case& c, TensorView<const T> x, TensorView<const T> w, TensorView<const T> dy,
                       TensorView<T> dx, TensorView<T> dw, TensorView<T> db) {
    ops::conv_transpose2d_backward(x, w, dy, options(c), dx, dw, db);
  }
  template <class T>
  static Tensor<T> naive_forward(const Case& c, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& b,
                                 const Shape& out) {
    return naive::conv_transpose2d(x, w, b, c.stride, c.padding, out);
  }
  template <class T>
  static auto naive_backward(const Case& c, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& dy) {
    return naive::conv_transpose2d_backward(x, w, dy, c.stride, c.padding);
  }
};

template <class Op, class T>
struct Arguments {
  Tensor<T> x, w, b, dy;
  Shape out;

  explicit Arguments(const Case& c)
      : x(random_tensor<T>(Shape{c.batch, c.h, c.w, c.in}, 1)), w(random_tensor<T>(Op::weight_shape(c), 2, 0.3)) {
    if (c.bias) b = random_tensor<T>(Shape{c.out}, 3);
    out = Op::output(c, x, w);
    dy = random_tensor<T>(out, 4);
  }
};

// Filled with what a forgotten element would show.
template <class T>
Tensor<T> poisoned(const Shape& shape) {
  return Tensor<T>(shape, static_cast<T>(std::nan("")));
}

template <class Op, class T>
void agrees_with_naive(const Case& c) {
  INFO(Op::name << (sizeof(T) == 4 ? " float, " : " double, ") << text(c));
  const Arguments<Op, T> a(c);
  // Sums of up to a few thousand terms in float; the naive twin sums in double.
  const double tolerance = 4 * rounding<T>;

  auto y = poisoned<T>(a.out);
  Op::template forward<T>(c, a.x.view(), a.w.view(), a.b.view(), y.view());
  CHECK(relative_error(y, Op::naive_forward(c, a.x, a.w, a.b, a.out)) <= tolerance);

  auto dx = poisoned<T>(a.x.shape());
  Tensor<T> dw(a.w.shape()), db(Shape{c.out});
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), dx.view(), dw.view(), db.view());
  const auto want = Op::naive_backward(c, a.x, a.w, a.dy);
  CHECK(relative_error(dx, want.dx) <= tolerance);
  CHECK(relative_error(dw, want.dweight) <= tolerance);
  CHECK(relative_error(db, want.dbias) <= tolerance);

  // Added to what is there; the input gradient is written.
  const auto twice = [](Tensor<T> t) {
    for (T& v : t) v += v;
    return t;
  };
  auto dx_again = poisoned<T>(a.x.shape());
  Tensor<T> dw_twice = dw, db_twice = db;
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), dx_again.view(), dw_twice.view(), db_twice.view());
  CHECK(same_bits(dx_again, dx));
  CHECK(relative_error(dw_twice, twice(dw)) <= rounding<T>);
  CHECK(relative_error(db_twice, twice(db)) <= rounding<T>);

  // Misaligned views give the same bits.
  const Misaligned<T> mx(a.x), mw(a.w), mdy(a.dy);
  Misaligned<T> my(y), mdx(dx), mdw{Tensor<T>(a.w.shape())}, mdb{Tensor<T>(Shape{c.out})};
  for (T& v : my.view()) v = T(0);
  for (T& v : mdx.view()) v = T(0);
  const Misaligned<T> mb(c.bias ? a.b : Tensor<T>(Shape{c.out}));
  Op::template forward<T>(c, mx.view(), mw.view(), c.bias ? mb.view() : TensorView<const T>(), my.view());
  Op::template backward<T>(c, mx.view(), mw.view(), mdy.view(), mdx.view(), mdw.view(), mdb.view());
  CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
  CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));
  CHECK(same_bits(Tensor<T>::copy_of(mdw.view()), dw));
  CHECK(same_bits(Tensor<T>::copy_of(mdb.view()), db));

  // Results left out change none of the others.
  auto dx_alone = poisoned<T>(a.x.shape());
  Tensor<T> dw_alone(a.w.shape()), db_alone(Shape{c.out});
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), dx_alone.view(), {}, {});
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), {}, dw_alone.view(), {});
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), {}, {}, db_alone.view());
  Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), {}, {}, {});
  CHECK(same_bits(dx_alone, dx));
  CHECK(same_bits(dw_alone, dw));
  CHECK(same_bits(db_alone, db));
}

const std::vector<Case> channels_cases = [] {
  std::vector<Case> cases;
  for (const std::int64_t in : {1, 3, 17, 32, 65})
    for (const std::int64_t out : {1, 3, 17, 33, 130}) cases.push_back({1, 4, 5, in, out, 3, 2, 1, 1, 0});
  for (const std::int64_t channels : {32, 33, 64, 130}) cases.push_back({3, 3, 4, channels, 64, 1, 1, 0});
  cases.push_back({2, 3, 3, 130, 130, 1, 1, 0});
  return cases;
}();

const std::vector<Case> geometry_cases = [] {
  std::vector<Case> cases;
  for (const std::int64_t kernel : {1, 3, 5})
    for (const std::int64_t stride : {1, 2, 3})
      for (const std::int64_t padding : {0, 1, 2}) {
        // Both orders of channels: with few result channels the kernels take another way.
        cases.push_back({2, 7, 6, 3, 9, kernel, stride, padding, stride - 1, 0, (kernel + stride) % 2 == 0});
        cases.push_back({3, 5, 8, 9, 2, kernel, stride, padding, 0, stride - 1, (kernel + stride) % 2 == 1});
      }
  return cases;
}();

TEMPLATE_TEST_CASE("convolutions agree with their definition", "[ops][convolution]", float, double) {
  for (const auto* cases : {&channels_cases, &geometry_cases})
    for (const Case& c : *cases) {
      agrees_with_naive<Plain, TestType>(c);
      // Padding may cut everything away: then there is nothing to compare.
      if ((std::min(c.h, c.w) - 1) * c.stride - 2 * c.padding + c.kernel >= 1)
        agrees_with_naive<Transposed, TestType>(c);
    }
}

template <class Op, class T>
void keeps_its_bits(const Case& c) {
  INFO(Op::name << ", " << text(c));
  const Arguments<Op, T> a(c);
  same_for_any_threads([&] {
    std::vector<Tensor<T>> results;
    for (const Shape& shape : {a.out, a.x.shape(), a.w.shape(), Shape{c.out}}) results.emplace_back(shape);
    Op::template forward<T>(c, a.x.view(), a.w.view(), a.b.view(), results[0].view());
    Op::template backward<T>(c, a.x.view(), a.w.view(), a.dy.view(), results[1].view(), results[2].view(),
                             results[3].view());
    return results;
  });
  const Threads two(2);
  same_for_any_batch_split(c.batch, [&](std::int64_t first, std::int64_t count) {
    const auto x = a.x.view().slice(first, count);
    std::vector<Tensor<T>> results;
    results.emplace_back(a.out.with_front(count));
    results.emplace_back(x.shape());
    Op::template forward<T>(c, x, a.w.view(), a.b.view(), results[0].view());
    Op::template backward<T>(c, x, a.w.view(), a.dy.view().slice(first, count), results[1].view(), {}, {});
    return results;
  });
}

TEMPLATE_TEST_CASE("convolutions have the same bits for any threads and any batch split", "[ops][convolution][bits]",
                   float, double) {
  // Large enough that more than one thread gets work.
  for (const Case& c : {Case{7, 13, 11, 17, 33, 3, 2, 1, 1, 0}, Case{7, 12, 12, 33, 2, 3, 1, 1},
                        Case{7, 9, 14, 2, 40, 3, 1, 0}, Case{7, 5, 5, 64, 64, 1, 1, 0}}) {
    keeps_its_bits<Plain, TestType>(c);
    keeps_its_bits<Transposed, TestType>(c);
  }
}

TEST_CASE("a kernel smaller than the stride leaves pixels that meet nothing", "[ops][convolution]") {
  // Those of the transposed result hold the bias alone; those of the plain input get a zero gradient.
  const Case c{1, 3, 3, 5, 6, 1, 3, 0, 2, 2};
  const Arguments<Transposed, double> a(c);
  auto y = poisoned<double>(a.out);
  Transposed::forward<double>(c, a.x.view(), a.w.view(), a.b.view(), y.view());
  CHECK(a.out == Shape{1, 9, 9, 6});
  CHECK(y(0, 1, 0, 2) == a.b[2]);
  CHECK(y(0, 8, 8, 5) == a.b[5]);
  const Case p{1, 7, 7, 5, 6, 1, 3, 0};
  const Arguments<Plain, double> b(p);
  auto dx = poisoned<double>(b.x.shape());
  Plain::backward<double>(p, b.x.view(), b.w.view(), b.dy.view(), dx.view(), {}, {});
  CHECK(dx(0, 1, 0, 2) == 0);
}

TEST_CASE("an empty batch is no error", "[ops][convolution]") {
  const Case c{0, 4, 4, 3, 5, 3, 1, 1};
  for (int transposed = 0; transposed < 2; ++transposed) {
    Tensor<double> x(Shape{0, 4, 4, 3}), w(transposed ? Transposed::weight_shape(c) : Plain::weight_shape(c));
    Tensor<double> y(Shape{0, 4, 4, 5}), dx(x.shape()), dw(w.shape()), db(Shape{5});
    const Tensor<double> dy(y.shape()), b(Shape{5});
    const auto run = [&](auto op) {
      using Op = decltype(op);
      Op::template forward<double>(c, std::as_const(x).view(), std::as_const(w).view(), b.view(), y.view());
      Op::template backward<double>(c, std::as_const(x).view(), std::as_const(w).view(), dy.view(), dx.view(),
                                    dw.view(), db.view());
    };
    if (transposed)
      run(Transposed());
    else
      run(Plain());
    CHECK(largest(dw) == 0);
    CHECK(largest(db) == 0);
  }
}

TEST_CASE("convolutions say which shape they expected", "[ops][convolution][errors]") {
  const Tensor<float> x(Shape{2, 5, 5, 3}), w(Shape{3, 3, 3, 4}), wt(Shape{3, 3, 4, 3}), b(Shape{4});
  Tensor<float> y(Shape{2, 3, 3, 4}), yt(Shape{2, 7, 7, 4}), other(Shape{2, 3, 3, 5});
  const ops::Conv2dOptions plain;
  const ops::ConvTranspose2dOptions transposed;
  using View = TensorView<const float>;

  CHECK_THROWS_WITH(ops::conv2d_forward(View(x.data(), Shape{2, 5, 15}), w, b, plain, y),
                    "conv2d input: expected [N, H, W, C], got [2, 5, 15]");
  CHECK_THROWS_WITH(ops::conv2d_forward(x.view(), View(w.data(), Shape{3, 3, 12}), b, plain, y),
                    "conv2d weight: expected [KH, KW, C_in, C_out], got [3, 3, 12]");
  CHECK_THROWS_WITH(ops::conv2d_forward(x.view(), wt, b, plain, y),
                    "conv2d: weight [3, 3, 4, 3] expects 4 input channels, got [2, 5, 5, 3]");
  CHECK_THROWS_WITH(ops::conv2d_forward(View(x.data(), Shape{1, 2, 9, 3}), w, b, plain, y),
                    "conv2d: kernel [3, 3, 3, 4] is larger than the padded input [1, 2, 9, 3]");
  CHECK_THROWS_WITH(ops::conv2d_forward(x.view(), w, b, plain, other),
                    "conv2d output: expected [2, 3, 3, 4], got [2, 3, 3, 5]");
  CHECK_THROWS_WITH(ops::conv2d_forward(x.view(), w, View(w.data(), Shape{3}), plain, y),
                    "conv2d bias: expected [4], got [3]");
  CHECK_THROWS_WITH(ops::conv2d_forward(x.view(), w, b, {0, 0}, y),
                    "conv2d: expected stride >= 1 and padding >= 0, got 0 and 0");
  CHECK_THROWS_AS(ops::conv2d_forward(x.view(), w, b, {1, -1}, y), ValueError);
  const auto backward = [&](const auto& dy, auto dx, auto dw, auto db) {
    ops::conv2d_backward(x.view(), w, dy, plain, dx, dw, db);
  };
  Tensor<float> dx(x.shape()), dw(w.shape()), db(b.shape());
  CHECK_THROWS_WITH(backward(other.view(), dx.view(), dw.view(), db.view()),
                    "conv2d output gradient: expected [2, 3, 3, 4], got [2, 3, 3, 5]");
  CHECK_THROWS_WITH(backward(y.view(), dw.view(), dw.view(), db.view()),
                    "conv2d input gradient: expected [2, 5, 5, 3], got [3, 3, 3, 4]");
  CHECK_THROWS_WITH(backward(y.view(), dx.view(), dx.view(), db.view()),
                    "conv2d weight gradient: expected [3, 3, 3, 4], got [2, 5, 5, 3]");
  CHECK_THROWS_WITH(backward(y.view(), dx.view(), dw.view(), dw.view()),
                    "conv2d bias gradient: expected [4], got [3, 3, 3, 4]");

  CHECK_THROWS_WITH(ops::conv_transpose2d_forward(x.view(), w, b, transposed, yt),
                    "conv_transpose2d: weight [3, 3, 3, 4] expects 4 input channels, got [2, 5, 5, 3]");
  CHECK_THROWS_WITH(ops::conv_transpose2d_forward(x.view(), wt, b, transposed, y),
                    "conv_transpose2d output: expected [2, 7, 7, 4], got [2, 3, 3, 4]");
  CHECK_THROWS_WITH(
      ops::conv_transpose2d_forward(x.view(), wt, b, {2, 0, 2, 0}, yt),
      "conv_transpose2d: expected stride >= 1, padding >= 0, 0 <= output padding < stride, got 2, 0, 2 and 0");
  CHECK_THROWS_AS(ops::conv_transpose2d_forward(x.view(), wt, b, {2, 0, 0, -1}, yt), ValueError);
  CHECK_THROWS_WITH(ops::conv_transpose2d_forward(View(x.data(), Shape{1, 1, 5, 3}), wt, b, {1, 2, 0, 0}, yt),
                    "conv_transpose2d: nothing is left of input [1, 1, 5, 3] with weight [3, 3, 4, 3]");
  CHECK_THROWS_WITH(ops::conv_transpose2d_backward(x.view(), wt, other, transposed, dx, dw, db),
                    "conv_transpose2d output gradient: expected [2, 7, 7, 4], got [2, 3, 3, 5]");
  CHECK_THROWS_AS(ops::conv2d_forward(x.view(), wt, b, plain, y), ShapeError);
}

}  // namespace
