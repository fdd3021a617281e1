/// \file
/// Small tools of the tests: random tensors, comparisons through which no NaN slips, numbers of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::test {

/// Whether the address sanitizer watches: the allocator then keeps no blocks.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool watched = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool watched = true;
#else
inline constexpr bool watched = false;
#endif
#else
inline constexpr bool watched = false;
#endif

/// Normal deviates; another `number` gives others. Rounded to float, so that float and double start alike.
template <class T>
Tensor<T> random_tensor(const Shape& shape, std::uint32_t number, double scale = 1) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  fill_normal(std::span(values), {2024, streams::user, number});
  auto result = Tensor<T>::uninitialized(shape);
  for (std::int64_t i = 0; i < result.size(); ++i)
    result[i] = static_cast<T>(static_cast<float>(scale) * values[static_cast<std::size_t>(i)]);
  return result;
}

/// A tensor whose elements begin one element past the alignment: `view()` is what a misaligned caller hands in.
template <class T>
class Misaligned {
 public:
  explicit Misaligned(const Tensor<T>& aligned) : shape_(aligned.shape()), memory_(Shape{aligned.size() + 1}) {
    std::copy(aligned.begin(), aligned.end(), memory_.begin() + 1);
  }
  [[nodiscard]] TensorView<T> view() { return {memory_.data() + 1, shape_}; }
  [[nodiscard]] TensorView<const T> view() const { return {memory_.data() + 1, shape_}; }

 private:
  Shape shape_;
  Tensor<T> memory_;
};

/// Equal shape and equal bytes.
template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && a.empty() == b.empty() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

/// Largest magnitude; NaN if there is one.
template <class T>
double largest(const Tensor<T>& x) {
  double result = 0;
  for (const T value : x) {
    const double magnitude = std::abs(static_cast<double>(value));
    if (!(magnitude <= result)) result = magnitude;
    if (std::isnan(result)) break;
  }
  return result;
}

/// max |got - want|; NaN if there is one, infinity where the shapes differ.
template <class A, class B>
double largest_difference(const Tensor<A>& got, const Tensor<B>& want) {
  if (!(got.shape() == want.shape()) || got.empty() != want.empty()) return HUGE_VAL;
  double result = 0;
  for (std::int64_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(difference <= result)) result = difference;
    if (std::isnan(result)) break;
  }
  return result;
}

/// max |got - want| / max |want|, or NaN or infinity where something is wrong. Compare with `<=`.
template <class A, class B>
double relative_error(const Tensor<A>& got, const Tensor<B>& want) {
  const double difference = largest_difference(got, want);
  const double scale = largest(want);
  return difference == 0 ? 0 : difference / scale;
}

/// What rounding may do to a sum of a few hundred terms, relative to the largest result.
template <class T>
constexpr double rounding = sizeof(T) == 4 ? 2e-6 : 4e-15;

/// The library's number of threads, set back at the end of the scope.
class Threads {
 public:
  explicit Threads(int threads) : before_(num_threads()) { set_num_threads(threads); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace easy_diffusion::test
