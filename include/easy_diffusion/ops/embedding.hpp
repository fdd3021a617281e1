/// \file
/// Looks up one row of a table for each number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {
/// \throw ShapeError, ValueError as `embedding_forward`
inline void check_embedding(TensorView<const std::int64_t> numbers, const Shape& weight, const Shape& y) {
  expect_rank("embedding weight", 2, "[K, D]", weight);
  Shape expected = numbers.shape();
  expected.push_back(weight[1]);
  expect_shape("embedding output", expected, y);
  for (std::int64_t i = 0; i < numbers.size(); ++i)
    if (numbers[i] < 0 || numbers[i] >= weight[0])
      throw ValueError("embedding: expected numbers from 0 to " + std::to_string(weight[0] - 1) + ", got " +
                       std::to_string(numbers[i]) + " at place " + std::to_string(i));
}
}  // namespace detail

/// y[..., d] = weight[numbers[...], d].
/// \param numbers [...], each from 0 to K - 1
/// \param weight  [K, D]
/// \param[out] y  [..., D]
/// \throw ValueError for a number out of range, naming it and the range; ShapeError where shapes do not fit
template <class T>
void embedding_forward(TensorView<const std::int64_t> numbers, TensorView<const T> weight,
                       TensorView<std::type_identity_t<T>> y) {
  detail::check_embedding(numbers, weight.shape(), y.shape());
  const std::int64_t width = weight.extent(1);
  for (std::int64_t i = 0; i < numbers.size(); ++i)
    std::copy_n(weight.data() + numbers[i] * width, width, y.data() + i * width);
}

/// dweight[numbers[...], d] += dy[..., d]; rows that meet are added in the order of the numbers.
/// \param numbers      as given to forward
/// \param dy           [..., D]
/// \param[out] dweight [K, D], added to
/// \throw ValueError, ShapeError as forward
template <class T>
void embedding_backward(TensorView<const std::int64_t> numbers, TensorView<const T> dy,
                        TensorView<std::type_identity_t<T>> dweight) {
  detail::check_embedding(numbers, dweight.shape(), dy.shape());
  const std::int64_t width = dweight.extent(1);
  // Threads share out the columns, so that every sum has one order.
  parallel_for(0, width, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = 0; i < numbers.size(); ++i) {
      T* row = dweight.data() + numbers[i] * width;
      for (std::int64_t d = first; d < last; ++d) row[d] += dy[i * width + d];
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
