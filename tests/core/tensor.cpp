// Shapes, views, tensors and the allocator behind them.

#include "easy_diffusion/core/tensor.hpp"

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/view.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEST_CASE("a shape knows its extents", "[core][shape]") {
  const Shape s{64, 28, 27, 3};
  CHECK(s.rank() == 4);
  CHECK(s[2] == 27);
  CHECK(s.back() == 3);
  CHECK(s.back(1) == 27);
  CHECK(s.numel() == 64 * 28 * 27 * 3);
  CHECK(s.to_string() == "[64, 28, 27, 3]");
  CHECK(s.with_front(5) == Shape{5, 28, 27, 3});
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{}.to_string() == "[]");
  CHECK(Shape{3, 0, 5}.numel() == 0);
  CHECK_FALSE(Shape{3} == Shape{3, 1});
  CHECK_FALSE(Shape{3, 4} == Shape{4, 3});
  CHECK(Shape(s.begin(), s.end()) == s);
}

TEST_CASE("a shape says what is wrong with it", "[core][shape][errors]") {
  CHECK_THROWS_WITH((Shape{2, -3}), "shape: extent -3 is negative");
  CHECK_THROWS_WITH((Shape{1, 1, 1, 1, 1, 1, 1}), "shape: more than 6 extents");
  CHECK_THROWS_WITH((Shape{1LL << 31, 1LL << 31}), "shape: number of elements overflows");
  CHECK_THROWS_WITH((Shape{1LL << 40, 0, 1LL << 40}), "shape: number of elements overflows");
  CHECK_NOTHROW(Shape{1LL << 31, 1LL << 20});
  CHECK_THROWS_WITH(Shape{}.with_front(2), "shape: a single number has no first extent");
  CHECK_THROWS_WITH(expect_shape("conv", Shape{2, 3}, Shape{3, 2}), "conv: expected [2, 3], got [3, 2]");
  CHECK_THROWS_WITH(expect_rank("conv", 4, "[N, H, W, C]", Shape{3, 2}), "conv: expected [N, H, W, C], got [3, 2]");
  CHECK_THROWS_AS(expect_shape("conv", Shape{2}, Shape{3}), ShapeError);
  CHECK_THROWS_AS(expect_shape("conv", Shape{2}, Shape{3}), Error);
  CHECK_NOTHROW(expect_shape("conv", Shape{2}, Shape{2}));
}

TEST_CASE("a with_front that overflows is an error too", "[core][shape][errors]") {
  CHECK_THROWS_AS((Shape{1, 1LL << 40}.with_front(-1)), ShapeError);
  CHECK_THROWS_AS((Shape{1, 1LL << 40}.with_front(1LL << 40)), ShapeError);
}

TEST_CASE("a tensor is a value", "[core][tensor]") {
  Tensor<float> a(Shape{2, 3}, {1, 2, 3, 4, 5, 6});
  Tensor<float> b = a;
  b[0] = 10;
  CHECK(a[0] == 1);
  CHECK(b(0, 0) == 10);
  CHECK(b(1, 2) == 6);
  CHECK(b.data() != a.data());
  const float* memory = b.data();
  b = a;  // same size: the memory is kept
  CHECK(b.data() == memory);
  CHECK(same_bits(a, b));
  Tensor<float> c = std::move(b);
  CHECK(c.data() == memory);
  CHECK(same_bits(a, c));
  CHECK(b.empty());  // NOLINT(bugprone-use-after-move): what is left is documented
  CHECK(b.size() == 0);
  auto& self = c;
  c = self;
  CHECK(same_bits(a, c));
  c = Tensor<float>(Shape{1});
  CHECK(c.shape() == Shape{1});
  CHECK(c[0] == 0);
  c = Tensor<float>();
  CHECK(c.empty());
  c = a;
  CHECK(same_bits(a, c));
  Tensor<float> of_empty = Tensor<float>();
  CHECK(of_empty.empty());
  c = of_empty;
  CHECK(c.empty());
}

TEST_CASE("a new tensor is zero, or what is asked for", "[core][tensor]") {
  { const Tensor<double> dirt(Shape{50}, 3.5); }  // its memory is handed out again
  const Tensor<double> zero(Shape{50});
  CHECK(largest(zero) == 0);
  CHECK(Tensor<double>(Shape{2}, 7.0)[1] == 7);
  CHECK(Tensor<double>(Shape{}).size() == 1);
  CHECK(Tensor<double>(Shape{0, 3}).size() == 0);
  CHECK_FALSE(Tensor<double>(Shape{0, 3}).empty());
  CHECK_THROWS_WITH(Tensor<double>(Shape{2, 2}, {1, 2, 3}), "tensor: [2, 2] has 4 elements, got 3");
}

TEST_CASE("shared() is a second owner that only reads", "[core][tensor]") {
  Tensor<float> a(Shape{3}, {1, 2, 3});
  SharedTensor<float> b = a.shared();
  CHECK(b.data() == a.data());
  CHECK(b->data() == a.data());
  static_assert(std::is_const_v<std::remove_reference_t<decltype(*b)>>);
  static_assert(std::is_same_v<decltype(b.view()), TensorView<const float>>);
  static_assert(std::is_same_v<decltype(b[0]), const float&>);
  static_assert(!std::is_convertible_v<SharedTensor<float>, Tensor<float>>);
  a[1] = 9;
  CHECK(b[1] == 9);
  // Assigning to one of two owners leaves the other's elements alone, whatever the size.
  a = Tensor<float>(Shape{3}, {7, 8, 9});
  CHECK(b[0] == 1);
  b = a.shared();
  const Tensor<float> other(Shape{3}, {4, 5, 6});
  a = other;
  CHECK(b[0] == 7);
  CHECK(a[0] == 4);
  b = a.shared();
  a.resize(Shape{3});
  a.fill(0);
  CHECK(b[0] == 4);
  b = a.shared();
  a = Tensor<float>();
  CHECK(b[2] == 0);
  CHECK(Tensor<float>().shared().empty());
  // Copies share, a copy of the tensor is a value again.
  const SharedTensor<float> c = b;
  CHECK(c.data() == b.data());
  Tensor<float> copy = *c;
  copy[0] = 100;
  CHECK(c[0] == 0);
  const SharedTensor<float> row = c.reshaped(Shape{1, 3});
  CHECK(row.data() == c.data());
  CHECK(row.shape() == Shape{1, 3});
  CHECK_THROWS_AS(c.reshaped(Shape{4}), ShapeError);
}

TEST_CASE("owned() gives the memory of the only owner, and a copy to one of several", "[core][tensor]") {
  Tensor<float> a(Shape{3}, {1, 2, 3});
  const float* const memory = a.data();
  SharedTensor<float> b = a.shared();
  Tensor<float> copy = std::move(b).owned();
  CHECK(copy.data() != memory);
  copy.fill(7);
  CHECK(a[0] == 1);
  SharedTensor<float> only = std::move(a);
  CHECK(only.data() == memory);
  CHECK(only.is_only_owner());
  CHECK(std::move(only).owned().data() == memory);
  CHECK(SharedTensor<float>().empty());
  CHECK_FALSE(SharedTensor<float>().is_only_owner());
}

TEST_CASE("resize keeps its memory where it can", "[core][tensor]") {
  Tensor<float> a(Shape{4, 6});
  const float* memory = a.data();
  a.resize(Shape{3, 8});
  CHECK(a.data() == memory);
  CHECK(a.shape() == Shape{3, 8});
  a.resize(Shape{100});
  CHECK(a.size() == 100);
}

TEST_CASE("reshaped and slice give the same elements another form", "[core][tensor][view]") {
  Tensor<float> a(Shape{2, 3}, {1, 2, 3, 4, 5, 6});
  const float* memory = a.data();
  const auto copied = a.reshaped(Shape{3, 2});
  CHECK(copied.data() != memory);
  CHECK(copied(2, 1) == 6);
  auto moved = std::move(a).reshaped(Shape{6});
  CHECK(moved.data() == memory);
  CHECK_THROWS_WITH(moved.reshaped(Shape{4}), "reshape: [6] cannot become [4]");
  CHECK_THROWS_WITH(std::move(moved).reshaped(Shape{7}), "reshape: [6] cannot become [7]");
  CHECK(moved.size() == 6);  // NOLINT(bugprone-use-after-move): the error left it alone

  const Tensor<float> b(Shape{3, 2}, {1, 2, 3, 4, 5, 6});
  const auto rows = b.view().slice(1, 2);
  CHECK(rows.shape() == Shape{2, 2});
  CHECK(rows[0] == 3);
  CHECK(rows.end()[-1] == 6);
  CHECK(rows.reshaped(Shape{4})[3] == 6);
  CHECK(b.view().slice(3, 0).size() == 0);
  CHECK_THROWS_WITH(b.view().slice(2, 2), "slice: 2 rows from row 2 of [3, 2]");
  CHECK_THROWS_AS(b.view().slice(INT64_MAX, 1), ShapeError);
  CHECK_THROWS_AS(Shape{std::int64_t{1} << 62}, ShapeError);
  CHECK_THROWS_AS(b.view().slice(1, INT64_MAX), ShapeError);
  CHECK_THROWS_AS(b.view().slice(-1, 1), ShapeError);
  CHECK_THROWS_AS(b.view().slice(0, -1), ShapeError);
  CHECK_THROWS_WITH(rows.reshaped(Shape{5}), "reshape: [2, 2] cannot become [5]");
  CHECK(TensorView<float>().empty());
  CHECK(TensorView<float>().size() == 0);
  CHECK_FALSE(static_cast<bool>(TensorView<const float>()));
}

TEST_CASE("copy_of converts", "[core][tensor]") {
  const Tensor<float> a(Shape{2}, {1.5F, -2});
  CHECK(Tensor<double>::copy_of(a.view())[0] == 1.5);
  CHECK(Tensor<int>::copy_of(a.view())[1] == -2);
  CHECK(Tensor<double>::copy_of(TensorView<const float>()).empty());
}

TEST_CASE("every tensor is aligned to 64 bytes", "[core][tensor]") {
  std::vector<Tensor<float>> kept;
  for (std::int64_t n = 0; n < 200; n += 7) {
    kept.emplace_back(Shape{n});
    CHECK(reinterpret_cast<std::uintptr_t>(kept.back().data()) % 64 == 0);
  }
  kept.clear();
  for (std::int64_t n = 200; n > 0; n -= 3)
    CHECK(reinterpret_cast<std::uintptr_t>(Tensor<double>(Shape{n}).data()) % 64 == 0);
}

TEST_CASE("for_each_element reaches the elements of all tensors together", "[core][tensor]") {
  Tensor<double> x(Shape{2, 2}, {1, 2, 3, 4});
  const Tensor<double> a(Shape{2, 2}, {10, 20, 30, 40}), b(Shape{2, 2}, 0.5);
  for_each_element([](double& out, double u, double v) { out += u * v; }, x, a, b);
  CHECK(same_bits(x, Tensor<double>(Shape{2, 2}, {6, 12, 18, 24})));
  double sum = 0;
  for_each_element([&](double v) { sum += v; }, a);
  CHECK(sum == 100);
  Tensor<double> wrong(Shape{4});
  CHECK_THROWS_WITH(for_each_element([](double&, double) {}, x, wrong), "for_each_element: expected [2, 2], got [4]");
}

TEST_CASE("the second round of a loop asks the system for nothing", "[core][allocator]") {
  if (watched) {
    skip("the address sanitizer must see every block: nothing is kept");
    return;
  }
  const auto round = [] {
    std::vector<Tensor<float>> tensors;
    for (std::int64_t n = 1; n < 100000; n = n * 3 + 1) tensors.emplace_back(Shape{n});
    Tensor<double> copy(Shape{77});
    Tensor<double> another = copy;
    another[0] = 1;
  };
  round();
  const AllocatorStats before = allocator_stats();
  round();
  const AllocatorStats after = allocator_stats();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.cache_hits == before.cache_hits + 13);
  CHECK(after.bytes_in_use == before.bytes_in_use);
  CHECK(after.bytes_cached == before.bytes_cached);
  CHECK(after.bytes_cached > 0);
  release_cached_memory();
  CHECK(allocator_stats().bytes_cached == 0);
  round();
  CHECK(allocator_stats().system_allocations > after.system_allocations);
}

TEST_CASE("the allocator counts what is in use and its peak", "[core][allocator]") {
  reset_allocator_peak();
  const AllocatorStats start = allocator_stats();
  CHECK(start.bytes_peak == start.bytes_in_use);
  {
    const Tensor<float> a(Shape{1000});
    const std::uint64_t held = allocator_stats().bytes_in_use - start.bytes_in_use;
    CHECK(held >= 4000);
    CHECK(held <= (4000 + 64) * 9 / 8 + 64);  // the header, and steps of an eighth
    { const Tensor<float> b(Shape{100000}); }
    CHECK(allocator_stats().bytes_in_use == start.bytes_in_use + held);
  }
  const AllocatorStats end = allocator_stats();
  CHECK(end.bytes_in_use == start.bytes_in_use);
  CHECK(end.bytes_peak >= start.bytes_in_use + 404000);
  CHECK(end.bytes_peak <= start.bytes_in_use + 470000);
  reset_allocator_peak();
  CHECK(allocator_stats().bytes_peak == end.bytes_in_use);
}

TEST_CASE("blocks are large enough for every size", "[core][allocator]") {
  // Writes every byte; the address sanitizer would see one too many.
  for (std::int64_t bytes = 0; bytes < 5000; bytes += 17) Tensor<unsigned char>(Shape{bytes}).fill(255);
  for (std::int64_t power = 1; power < 1 << 20; power *= 2)
    for (const std::int64_t bytes : {power - 1, power, power + 1}) Tensor<unsigned char>(Shape{bytes}).fill(255);
}

TEST_CASE("tensors may be made and freed by several threads", "[core][allocator]") {
  const std::uint64_t before = allocator_stats().bytes_in_use;
  {
    const Tensor<int> common(Shape{100}, 7);
    std::vector<std::thread> threads;
    std::vector<int> sums(4);
    for (std::size_t k = 0; k < 4; ++k)
      threads.emplace_back([&, k] {
        for (int i = 0; i < 300; ++i) {
          const SharedTensor<int> mine = common.shared(), copy = mine;
          sums[k] += copy[i % 100];
        }
      });
    for (auto& thread : threads) thread.join();
    for (const int sum : sums) CHECK(sum == 2100);
  }
  CHECK(allocator_stats().bytes_in_use == before);
}

}  // namespace
