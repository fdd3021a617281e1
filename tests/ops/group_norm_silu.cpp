// group_norm_silu against the naive twins of its parts, and the promises about bits.

#include "easy_diffusion/ops/group_norm_silu.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/ops/group_norm.hpp"
#include "support/catch.hpp"
#include "support/naive.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

template <class T>
Tensor<double> in_double(const Tensor<T>& x) {
  return Tensor<double>::copy_of(x.view());
}

/// x [N, ..., C] plus embedding [N, C], in double; an empty embedding leaves x as it is.
template <class T>
Tensor<double> embedded(const Tensor<T>& x, const Tensor<T>& embedding) {
  Tensor<double> h = in_double(x);
  if (embedding.empty()) return h;
  const std::int64_t channels = x.shape().back(), sample = x.size() / x.extent(0);
  for (std::int64_t i = 0; i < h.size(); ++i) h[i] += double(embedding[i / sample * channels + i % channels]);
  return h;
}

struct Want {
  Tensor<double> y, dx, dembedding, dgamma, dbeta;
};

template <class T>
Want reference(const Tensor<T>& x, const Tensor<T>& embedding, const Tensor<T>& gamma, const Tensor<T>& beta,
               std::int64_t groups, const Tensor<T>& dy) {
  const auto h = embedded(x, embedding), g = in_double(gamma);
  const auto u = naive::group_norm(h, g, in_double(beta), groups, 1e-5);
  auto gradients = naive::group_norm_backward(h, g, naive::silu_backward(u, in_double(dy)), groups, 1e-5);
  Tensor<double> dembedding(Shape{x.extent(0), x.shape().back()});
  const std::int64_t channels = x.shape().back(), sample = x.size() / x.extent(0);
  for (std::int64_t i = 0; i < x.size(); ++i) dembedding[i / sample * channels + i % channels] += gradients.dx[i];
  return {naive::silu(u), std::move(gradients.dx), std::move(dembedding), std::move(gradients.dweight),
          std::move(gradients.dbias)};
}

TEMPLATE_TEST_CASE("group_norm_silu agrees with its definition", "[ops][group_norm]", float, double) {
  using T = TestType;
  const double tolerance = sizeof(T) == 4 ? 4e-5 : 5e-14;
  const T epsilon = T(1e-5);
  const std::vector<std::pair<Shape, std::int64_t>> cases{
      {{1, 3, 5, 1}, 1},   {{3, 4, 4, 3}, 1},   {{2, 3, 11, 3}, 3}, {{1, 5, 3, 17}, 17}, {{3, 3, 5, 32}, 4},
      {{2, 2, 2, 64}, 32}, {{3, 5, 13, 65}, 5}, {{5, 10}, 5},       {{3, 70, 6}, 2},     {{2, 9, 7, 144}, 12}};
  for (const auto& [shape, groups] : cases)
    for (const bool with_embedding : {false, true}) {
      INFO(shape.to_string() << ", " << groups << " groups" << (with_embedding ? ", embedding" : ""));
      const std::int64_t channels = shape.back();
      const auto x = random_tensor<T>(shape, 1, 2), dy = random_tensor<T>(shape, 4);
      const auto gamma = random_tensor<T>(Shape{channels}, 2), beta = random_tensor<T>(Shape{channels}, 3);
      const auto embedding = with_embedding ? random_tensor<T>(Shape{shape[0], channels}, 5) : Tensor<T>();
      const Want want = reference(x, embedding, gamma, beta, groups, dy);

      const T nan = static_cast<T>(std::nan(""));
      Tensor<T> y(shape, nan), mean(Shape{shape[0], groups}, nan), rstd(mean.shape(), nan);
      ops::group_norm_silu_forward(x.view(), embedding, gamma, beta, groups, epsilon, y, mean, rstd);
      const auto statistics = naive::group_statistics(embedded(x, embedding), groups, double(epsilon));
      CHECK(largest_difference(mean, statistics.mean) <= tolerance);
      CHECK(relative_error(rstd, statistics.rstd) <= tolerance);
      CHECK(relative_error(y, want.y) <= tolerance);

      Tensor<T> dx(shape, nan), dembedding, dgamma(gamma.shape()), dbeta(beta.shape());
      if (with_embedding) dembedding = Tensor<T>(embedding.shape(), nan);
      const auto backward = [&, &count = groups](TensorView<const T> grad, TensorView<T> to_x,
                                                 TensorView<T> to_embedding, TensorView<T> to_gamma,
                                                 TensorView<T> to_beta) {
        ops::group_norm_silu_backward(x.view(), embedding, gamma, beta, mean, rstd, grad, count, to_x, to_embedding,
                                      to_gamma, to_beta);
      };
      backward(dy, dx, dembedding, dgamma, dbeta);
      CHECK(largest_difference(dx, want.dx) <= tolerance * std::max(1.0, largest(want.dx)));
      if (with_embedding)
        CHECK(largest_difference(dembedding, want.dembedding) <= tolerance * std::max(1.0, largest(want.dembedding)));
      CHECK(relative_error(dgamma, want.dgamma) <= tolerance);
      CHECK(relative_error(dbeta, want.dbeta) <= tolerance);

      // In place, misaligned, and with results left out.
      Tensor<T> in_place = x, grad_in_place = dy;
      ops::group_norm_silu_forward(std::as_const(in_place).view(), embedding, gamma, beta, groups, epsilon, in_place,
                                   mean, rstd);
      CHECK(same_bits(in_place, y));
      backward(grad_in_place, grad_in_place, dembedding, {}, {});
      CHECK(same_bits(grad_in_place, dx));
      const Misaligned<T> mx(x), mg(gamma), mb(beta), mdy(dy);
      Misaligned<T> my{Tensor<T>(shape)}, mdx{Tensor<T>(shape)};
      ops::group_norm_silu_forward(mx.view(), embedding.view(), mg.view(), mb.view(), groups, epsilon, my.view(), mean,
                                   rstd);
      CHECK(same_bits(Tensor<T>::copy_of(my.view()), y));
      backward(mdy.view(), mdx.view(), {}, {}, {});
      CHECK(same_bits(Tensor<T>::copy_of(mdx.view()), dx));
      Tensor<T> dgamma_twice = dgamma, dbeta_alone(beta.shape()), dembedding_alone;
      if (with_embedding) dembedding_alone = Tensor<T>(embedding.shape());
      backward(dy, {}, dembedding_alone, dgamma_twice, {});
      backward(dy, {}, {}, {}, dbeta_alone);
      CHECK(same_bits(dbeta_alone, dbeta));
      CHECK(same_bits(dembedding_alone, dembedding));
      for (T& v : dgamma_twice) v /= 2;
      CHECK(relative_error(dgamma_twice, dgamma) <= rounding<T>);
    }
}

TEMPLATE_TEST_CASE("group_norm_silu has the same bits for any threads and any batch split", "[ops][group_norm][bits]",
                   float, double) {
  using T = TestType;
  // Above the size from which blocks, rather than samples, are shared out.
  for (const auto& [shape, groups] : {std::pair{Shape{5, 20, 21, 48}, 6}, std::pair{Shape{5, 3, 2, 30}, 5}}) {
    const std::int64_t channels = shape.back();
    const Shape statistics{5, groups}, embeddings{5, channels};
    const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2), e = random_tensor<T>(embeddings, 5);
    const auto gamma = random_tensor<T>(Shape{channels}, 3), beta = random_tensor<T>(Shape{channels}, 4);
    const auto run = [&, &s = shape, n = groups](std::int64_t first, std::int64_t count, bool parameters) {
      std::vector<Tensor<T>> r;
      for (const Shape& result : {s, statistics, statistics, s, embeddings}) r.emplace_back(result.with_front(count));
      const auto xs = x.view().slice(first, count), es = e.view().slice(first, count);
      ops::group_norm_silu_forward(xs, es, gamma, beta, n, T(1e-5), r[0], r[1], r[2]);
      Tensor<T> dgamma, dbeta;
      if (parameters) dgamma = dbeta = Tensor<T>(Shape{channels});
      ops::group_norm_silu_backward(xs, es, gamma, beta, r[1], r[2], dy.view().slice(first, count), n, r[3], r[4],
                                    dgamma, dbeta);
      if (parameters) r.push_back(dgamma), r.push_back(dbeta);
      return r;
    };
    same_for_any_threads([&] { return run(0, 5, true); });
    const Threads two(2);
    same_for_any_batch_split(5, [&](std::int64_t first, std::int64_t count) { return run(first, count, false); });
  }
}

TEST_CASE("group_norm is exact far from zero, over many blocks", "[ops][group_norm]") {
  // Mean 1000, deviation 1, and a first pixel that is no guide to the others.
  auto x = random_tensor<float>(Shape{1, 30, 31, 6}, 8);
  for (float& v : x) v += 1000.0F;
  for (std::int64_t c = 0; c < 6; ++c) x[c] = -3000;
  const Tensor<float> gamma(Shape{6}, 1.0F), beta(Shape{6}, 0.25F), none;
  Tensor<float> y(x.shape()), mean(Shape{1, 3}), rstd(Shape{1, 3});
  const auto wanted = [&] { return naive::group_norm(in_double(x), in_double(gamma), in_double(beta), 3, 1e-5); };
  ops::group_norm_forward(std::as_const(x).view(), gamma, beta, 3, 1e-5F, y, mean, rstd);
  CHECK(relative_error(y, wanted()) <= 1e-6);
  for (std::int64_t c = 0; c < 6; ++c) x[c] = 1000;
  ops::group_norm_forward(std::as_const(x).view(), gamma, beta, 3, 1e-5F, y, mean, rstd);
  CHECK(relative_error(y, wanted()) <= 1e-6);
  const auto statistics = naive::group_statistics(x, 3, 1e-5);
  CHECK(relative_error(mean, statistics.mean) <= 1e-7);
  CHECK(relative_error(rstd, statistics.rstd) <= 1e-6);
}

TEST_CASE("group_norm_silu says which shape it expected", "[ops][group_norm][errors]") {
  const Tensor<double> x(Shape{2, 3, 3, 6}), gamma(Shape{6}), wrong(Shape{5}), e(Shape{2, 6}), none;
  Tensor<double> y(x.shape()), mean(Shape{2, 3}), rstd(Shape{2, 3}), dgamma(Shape{6}), de(Shape{2, 6});
  CHECK_THROWS_WITH(ops::group_norm_silu_forward(x.view(), wrong, gamma, gamma, 3, 1e-5, y, mean, rstd),
                    "group_norm embedding: expected [2, 6], got [5]");
  CHECK_THROWS_WITH(ops::group_norm_silu_forward(x.view(), none, wrong, gamma, 3, 1e-5, y, mean, rstd),
                    "group_norm gamma: expected [6], got [5]");
  CHECK_THROWS_WITH(ops::group_norm_silu_forward(x.view(), none, gamma, gamma, 4, 1e-5, y, mean, rstd),
                    "group_norm: 4 groups do not divide the channels of [2, 3, 3, 6]");
  const auto backward = [&](const auto& embedding, const auto& beta, auto& dembedding, auto& dbeta) {
    ops::group_norm_silu_backward(x.view(), embedding, gamma, beta, mean, rstd, x, 3, y, dembedding, dgamma, dbeta);
  };
  CHECK_THROWS_WITH(backward(wrong, gamma, de, dgamma), "group_norm embedding: expected [2, 6], got [5]");
  CHECK_THROWS_WITH(backward(e, wrong, de, dgamma), "group_norm beta: expected [6], got [5]");
  CHECK_THROWS_WITH(backward(e, gamma, dgamma, dgamma), "group_norm embedding gradient: expected [2, 6], got [6]");
  CHECK_THROWS_WITH(backward(e, gamma, de, de), "group_norm beta gradient: expected [6], got [2, 6]");
}

}  // namespace
