// Layouts that are kept: what two products may share, and what they may not.

#include "easy_diffusion/ops/weight_store.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/conv_transpose2d.hpp"
#include "easy_diffusion/ops/linear.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using Store = ops::WeightStore<float>;

Tensor<float> convolve(const Tensor<float>& x, const Tensor<float>& weight, const ops::Conv2dOptions& options,
                       Store* store) {
  Tensor<float> y(ops::conv2d_output_shape(x.shape(), weight.shape(), options));
  ops::conv2d_forward(x.view(), weight.view(), {}, options, y.view(), store);
  return y;
}

Tensor<float> transposed(const Tensor<float>& x, const Tensor<float>& weight,
                         const ops::ConvTranspose2dOptions& options, Store* store) {
  Tensor<float> y(ops::conv_transpose2d_output_shape(x.shape(), weight.shape(), options));
  ops::conv_transpose2d_forward(x.view(), weight.view(), {}, options, y.view(), store);
  return y;
}

Tensor<float> multiply(const Tensor<float>& x, TensorView<const float> weight, Store* store) {
  Tensor<float> y(ops::linear_output_shape(x.shape(), weight.shape()));
  ops::linear_forward(x.view(), weight, {}, y.view(), store);
  return y;
}

TEST_CASE("one weight in a convolution and in a transposed one shares a store, not a layout", "[ops][weight_store]") {
  struct Case {
    const char* kernels;
    std::int64_t side, channels, kernel, stride, padding;
  };
  for (const Case& c : {Case{"Winograd, 4x4", 12, 32, 3, 1, 1}, Case{"Winograd, 2x2", 4, 32, 3, 1, 1},
                        Case{"minimal filtering, 2", 4, 32, 3, 2, 1}, Case{"minimal filtering, 4", 16, 32, 3, 2, 1},
                        Case{"minimal filtering, 5", 10, 32, 3, 2, 1}, Case{"panels", 11, 12, 3, 1, 1},
                        Case{"panels of stride 2", 11, 12, 4, 2, 1}, Case{"few channels", 11, 3, 3, 1, 1}}) {
    INFO(c.kernels);
    const Tensor<float> x = random_tensor<float>({2, c.side, c.side, c.channels}, 1);
    const Tensor<float> weight = random_tensor<float>({c.kernel, c.kernel, c.channels, c.channels}, 2);
    const auto forward = [&](Store* store) { return convolve(x, weight, {c.stride, c.padding}, store); };
    const auto back = [&](Store* store) {
      return transposed(x, weight, {c.stride, c.padding, c.stride - 1, c.stride - 1}, store);
    };
    const Tensor<float> want = forward(nullptr), want_back = back(nullptr);
    Store convolution_first, transposed_first;
    for (int again = 0; again < 2; ++again) {
      CHECK(same_bits(forward(&convolution_first), want));
      CHECK(same_bits(back(&convolution_first), want_back));
      CHECK(same_bits(back(&transposed_first), want_back));
      CHECK(same_bits(forward(&transposed_first), want));
    }
  }
}

TEST_CASE("products that share a store may differ in stride, extents and weight", "[ops][weight_store]") {
  Store store;
  const Tensor<float> x = random_tensor<float>({3, 12, 12, 32}, 1);
  const Tensor<float> weight = random_tensor<float>({3, 3, 32, 32}, 2);
  const Tensor<float> other = random_tensor<float>({3, 3, 32, 32}, 3);
  const Tensor<float> rows = random_tensor<float>({200, 288}, 4), columns = random_tensor<float>({200, 32}, 5);
  // The same memory as matrices of other extents.
  const TensorView<const float> tall(weight.data(), {288, 32}), square(weight.data(), {32, 32}),
      wide(weight.data(), {32, 288});
  for (int again = 0; again < 2; ++again) {
    for (const std::int64_t stride : {1, 2, 3}) {
      CHECK(same_bits(convolve(x, weight, {stride, 1}, &store), convolve(x, weight, {stride, 1}, nullptr)));
      CHECK(same_bits(convolve(x, other, {stride, 1}, &store), convolve(x, other, {stride, 1}, nullptr)));
    }
    CHECK(same_bits(multiply(rows, tall, &store), multiply(rows, tall, nullptr)));
    CHECK(same_bits(multiply(columns, square, &store), multiply(columns, square, nullptr)));
    CHECK(same_bits(multiply(columns, wide, &store), multiply(columns, wide, nullptr)));
  }
}

TEST_CASE("a layout is made once and found again", "[ops][weight_store]") {
  Store store;
  int made = 0;
  const auto get = [&](const ops::WeightKey& key, float value) {
    return store.get(key, [&] {
      ++made;
      return Tensor<float>(Shape{2}, value);
    });
  };
  const ops::WeightKey key{.kernels = &store,
                           .weight = &made,
                           .layout = ops::WeightLayout::panels,
                           .flipped = false,
                           .extents = {1, 2, 3},
                           .strides = {6, 3, 1}};
  CHECK(get(key, 1)[0] == 1);
  CHECK(get(key, 2)[0] == 1);
  CHECK(made == 1);
  // Whatever differs makes another layout.
  std::vector<ops::WeightKey> others(6, key);
  others[0].kernels = &made;
  others[1].weight = &store;
  others[2].layout = ops::WeightLayout::dot;
  others[3].flipped = true;
  others[4].extents = {1, 3, 2};
  others[5].strides = {6, 1, 3};
  for (std::size_t i = 0; i < others.size(); ++i)
    CHECK(get(others[i], static_cast<float>(10 + i))[0] == static_cast<float>(10 + i));
  for (std::size_t i = 0; i < others.size(); ++i) CHECK(get(others[i], 0)[0] == static_cast<float>(10 + i));
  CHECK(made == 7);
  store.clear();
  CHECK(get(key, 3)[0] == 3);
}

TEST_CASE("several threads may ask a store at once", "[ops][weight_store]") {
  for (int round = 0; round < 20; ++round) {
    Store store;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (std::int64_t k = 0; k < 50; ++k) {
          const ops::WeightKey key{.kernels = nullptr,
                                   .weight = nullptr,
                                   .layout = ops::WeightLayout::panels,
                                   .flipped = false,
                                   .extents = {k, 0, 0},
                                   .strides = {}};
          const auto value = static_cast<float>(k);
          const auto kept = store.get(key, [&] { return Tensor<float>(Shape{4}, value); });
          if (kept[0] != value || kept[3] != value) ++wrong;
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("a child does not wait for a layout that another thread was making", "[ops][weight_store][fork]") {
  Store store;
  std::atomic<bool> making{false}, finish{false};
  const auto key = [](std::int64_t k) {
    return ops::WeightKey{.kernels = nullptr,
                          .weight = nullptr,
                          .layout = ops::WeightLayout::panels,
                          .flipped = false,
                          .extents = {k, 0, 0},
                          .strides = {}};
  };
  const auto make = [] { return Tensor<float>(Shape{4}, 1.0F); };
  std::thread other([&] {
    (void)store.get(key(1), [&] {
      making = true;
      while (!finish) std::this_thread::yield();
      return make();
    });
  });
  while (!making) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    const bool right = store.get(key(1), make)[0] == 1.0F && store.get(key(2), make)[3] == 1.0F;
    _exit(right ? 0 : 1);
  }
  finish = true;
  other.join();
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
#endif

}  // namespace
