// Attention against its naive twin, and the promises about bits.

#include "easy_diffusion/ops/attention.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

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

struct Case {
  std::int64_t batch, queries, keys, heads, key_width, value_width;
};

template <class T>
struct Problem {
  Tensor<T> q, k, v, dout;
  T scale;

  explicit Problem(const Case& c, double size = 1)
      : q(random_tensor<T>(Shape{c.batch, c.queries, c.heads * c.key_width}, 1, size)),
        k(random_tensor<T>(Shape{c.batch, c.keys, c.heads * c.key_width}, 2, size)),
        v(random_tensor<T>(Shape{c.batch, c.keys, c.heads * c.value_width}, 3)),
        dout(random_tensor<T>(Shape{c.batch, c.queries, c.heads * c.value_width}, 4)),
        scale(static_cast<T>(1 / std::sqrt(double(c.key_width)))) {}
};

template <class T>
void compare(const Case& c, double size = 1) {
  INFO(c.batch << " x " << c.queries << " queries, " << c.keys << " keys, " << c.heads << " heads of " << c.key_width
               << " and " << c.value_width);
  const Problem<T> p(c, size);
  auto out = poisoned<T>(p.dout.shape()), lse = poisoned<T>(Shape{c.batch, c.heads, c.queries});
  auto dq = poisoned<T>(p.q.shape()), dk = poisoned<T>(p.k.shape()), dv = poisoned<T>(p.v.shape());
  ops::attention_forward(p.q.view(), p.k, p.v, c.heads, p.scale, out, lse);
  ops::attention_backward(p.q.view(), p.k, p.v, out, lse, p.dout, c.heads, p.scale, dq, dk, dv);
  const auto want = naive::attention(p.q, p.k, p.v, p.dout, c.heads, double(p.scale));
  const double tolerance = (sizeof(T) == 4 ? 1e-5 : 2e-14) * std::max(1.0, size);
  CHECK(relative_error(out, want.out) <= tolerance);
  CHECK(largest_difference(lse, want.lse) <= tolerance * std::max(1.0, largest(want.lse)));
  // Some gradients are zero but for roundoff: of one key, or of one query's share in many.
  const double scale = std::max({2.0, largest(want.dq), largest(want.dk)});
  CHECK(largest_difference(dq, want.dq) <= tolerance * scale);
  CHECK(largest_difference(dk, want.dk) <= tolerance * scale);
  CHECK(relative_error(dv, want.dv) <= tolerance);

  // The same bits in inference, from misaligned memory, and with results left out.
  auto alone = poisoned<T>(out.shape());
  ops::attention_forward(p.q.view(), p.k, p.v, c.heads, p.scale, alone, {});
  CHECK(same_bits(alone, out));
  const Misaligned<T> mq(p.q), mk(p.k), mv(p.v), mdout(p.dout), mout_in(out), mlse_in(lse);
  Misaligned<T> mout{poisoned<T>(out.shape())}, mlse{poisoned<T>(lse.shape())}, mdq{poisoned<T>(dq.shape())},
      mdk{poisoned<T>(dk.shape())}, mdv{poisoned<T>(dv.shape())};
  ops::attention_forward(mq.view(), mk.view(), mv.view(), c.heads, p.scale, mout.view(), mlse.view());
  CHECK(same_bits(Tensor<T>::copy_of(mout.view()), out));
  CHECK(same_bits(Tensor<T>::copy_of(mlse.view()), lse));
  ops::attention_backward(mq.view(), mk.view(), mv.view(), mout_in.view(), mlse_in.view(), mdout.view(), c.heads,
                          p.scale, mdq.view(), mdk.view(), mdv.view());
  CHECK(same_bits(Tensor<T>::copy_of(mdq.view()), dq));
  CHECK(same_bits(Tensor<T>::copy_of(mdk.view()), dk));
  CHECK(same_bits(Tensor<T>::copy_of(mdv.view()), dv));
  auto dq_alone = poisoned<T>(dq.shape()), dk_alone = poisoned<T>(dk.shape()), dv_alone = poisoned<T>(dv.shape());
  const TensorView<T> none;
  ops::attention_backward(p.q.view(), p.k, p.v, out, lse, p.dout, c.heads, p.scale, dq_alone, none, none);
  ops::attention_backward(p.q.view(), p.k, p.v, out, lse, p.dout, c.heads, p.scale, none, dk_alone, none);
  ops::attention_backward(p.q.view(), p.k, p.v, out, lse, p.dout, c.heads, p.scale, none, none, dv_alone);
  CHECK(same_bits(dq_alone, dq));
  CHECK(same_bits(dk_alone, dk));
  CHECK(same_bits(dv_alone, dv));
}

TEMPLATE_TEST_CASE("attention agrees with its definition", "[ops][attention]", float, double) {
  using T = TestType;
  const std::int64_t lengths[]{1, 3, 17, 65, 130}, widths[]{1, 3, 16, 17, 40, 128};
  std::int64_t turn = 0;
  for (const std::int64_t queries : lengths)
    for (const std::int64_t keys : lengths) {
      const std::int64_t key_width = widths[turn % 6], value_width = widths[(turn * 5 + 2) % 6];
      compare<T>({1 + turn % 2, queries, keys, 1 + turn % 3, key_width, value_width});
      ++turn;
    }
  for (const std::int64_t width : widths) compare<T>({2, 33, 34, 2, width, width});
  compare<T>({1, 4, 4, 1, 256, 256});
  compare<T>({1, 300, 290, 1, 24, 24});
  // Scores of some hundreds: without the largest one subtracted they would overflow.
  compare<T>({1, 40, 70, 2, 16, 8}, 12);
}

TEMPLATE_TEST_CASE("attention has the same bits for any threads and any batch split", "[ops][attention][bits]", float,
                   double) {
  using T = TestType;
  for (const Case& c : {Case{5, 150, 140, 2, 24, 24}, Case{7, 16, 16, 1, 64, 64}, Case{5, 100, 7, 3, 16, 8}}) {
    const Problem<T> p(c);
    const auto run = [&](std::int64_t first, std::int64_t count) {
      std::vector<Tensor<T>> r;
      for (const Shape& s : {p.dout.shape(), Shape{c.batch, c.heads, c.queries}, p.q.shape(), p.k.shape(), p.v.shape()})
        r.emplace_back(s.with_front(count));
      const auto q = p.q.view().slice(first, count), k = p.k.view().slice(first, count),
                 v = p.v.view().slice(first, count);
      ops::attention_forward(q, k, v, c.heads, p.scale, r[0], r[1]);
      ops::attention_backward(q, k, v, r[0], r[1], p.dout.view().slice(first, count), c.heads, p.scale, r[2], r[3],
                              r[4]);
      return r;
    };
    same_for_any_threads([&] { return run(0, c.batch); });
    const Threads two(2);
    same_for_any_batch_split(c.batch, run);
  }
}

TEST_CASE("attention says which shape it expected", "[ops][attention][errors]") {
  const Tensor<float> q(Shape{2, 3, 8}), k(Shape{2, 5, 8}), v(Shape{2, 5, 4}), dout(Shape{2, 3, 4});
  Tensor<float> out(Shape{2, 3, 4}), lse(Shape{2, 2, 3}), dq(q.shape()), dk(k.shape()), dv(v.shape());
  const auto forward = [&](const auto& a, const auto& b, const auto& c, std::int64_t heads, auto& o, auto& l) {
    ops::attention_forward(a.view(), b, c, heads, 1, o, l);
  };
  CHECK_NOTHROW(forward(q, k, v, 2, out, lse));
  CHECK_THROWS_WITH(forward(q, k, v, 3, out, lse),
                    "attention: 3 heads do not divide the widths of queries [2, 3, 8] and values [2, 5, 4]");
  CHECK_THROWS_AS(forward(q, k, v, 0, out, lse), ShapeError);
  CHECK_THROWS_WITH(forward(q, q, v, 2, out, lse), "attention values: expected [2, 3, 4], got [2, 5, 4]");
  CHECK_THROWS_WITH(forward(q, v, v, 2, out, lse), "attention keys: expected [2, 5, 8], got [2, 5, 4]");
  CHECK_THROWS_WITH(forward(q, k, v, 2, dq, lse), "attention output: expected [2, 3, 4], got [2, 3, 8]");
  CHECK_THROWS_WITH(forward(q, k, v, 2, out, out), "attention log-sum-exp: expected [2, 2, 3], got [2, 3, 4]");
  CHECK_THROWS_WITH(forward(Tensor<float>(Shape{3, 8}), k, v, 2, out, lse),
                    "attention queries: expected [N, Lq, heads Dk], got [3, 8]");
  const Tensor<float> no_keys(Shape{2, 0, 8}), no_values(Shape{2, 0, 4});
  CHECK_THROWS_WITH(forward(q, no_keys, no_values, 2, out, lse), "attention: no keys to attend to: [2, 0, 8]");
  const auto backward = [&](const auto& gradient, auto& a, auto& b, auto& c) {
    ops::attention_backward(q.view(), k, v, out, lse, gradient, 2, 1, a, b, c);
  };
  CHECK_THROWS_WITH(backward(q, dq, dk, dv), "attention output gradient: expected [2, 3, 4], got [2, 3, 8]");
  CHECK_THROWS_WITH(backward(dout, dk, dk, dv), "attention query gradient: expected [2, 3, 8], got [2, 5, 8]");
  CHECK_THROWS_WITH(backward(dout, dq, dq, dv), "attention key gradient: expected [2, 5, 8], got [2, 3, 8]");
  CHECK_THROWS_WITH(backward(dout, dq, dk, dk), "attention value gradient: expected [2, 5, 4], got [2, 5, 8]");
  // No queries are no mistake: nothing reaches the keys. Nor is an empty batch.
  const Tensor<float> none(Shape{2, 0, 8}), none_out(Shape{2, 0, 4}), none_lse(Shape{2, 2, 0});
  dk.fill(1), dv.fill(1);
  ops::attention_backward(none.view(), k, v, none_out, none_lse, none_out, 2, 1, {}, dk, dv);
  CHECK(largest(dk) == 0);
  CHECK(largest(dv) == 0);
  const Tensor<float> no_q(Shape{0, 3, 8}), no_k(Shape{0, 5, 8}), no_v(Shape{0, 5, 4});
  Tensor<float> nothing(Shape{0, 3, 4});
  for (const int threads : {1, 2}) {
    const Threads set(threads);
    CHECK_NOTHROW(ops::attention_forward(no_q.view(), no_k, no_v, 2, 1.0F, nothing, {}));
  }
}

}  // namespace
