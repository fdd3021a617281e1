/// \file
/// A tensor somebody else owns.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "easy_diffusion/core/shape.hpp"

namespace easy_diffusion {

/// A pointer and a shape: contiguous, not owning, cheap to copy. `TensorView<const T>` reads only.
/// An empty view (null pointer) stands for an argument that is left out, such as a missing bias.
template <class T>
class TensorView {
 public:
  using value_type = std::remove_const_t<T>;

  TensorView() = default;
  TensorView(T* data, Shape shape) : data_(data), shape_(shape) {}

  /// A view that writes may be read.
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_const_v<U>) TensorView(TensorView<U> other)
      : data_(other.data()), shape_(other.shape()) {}

  [[nodiscard]] T* data() const noexcept { return data_; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::int64_t extent(std::size_t axis) const noexcept { return shape_[axis]; }
  [[nodiscard]] std::int64_t size() const noexcept { return data_ == nullptr ? 0 : shape_.numel(); }
  [[nodiscard]] bool empty() const noexcept { return data_ == nullptr; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

  [[nodiscard]] std::span<T> span() const noexcept { return {data_, static_cast<std::size_t>(size())}; }
  [[nodiscard]] T& operator[](std::int64_t i) const noexcept {
    assert(i >= 0 && i < size());
    return data_[i];
  }
  [[nodiscard]] T* begin() const noexcept { return data_; }
  [[nodiscard]] T* end() const noexcept { return data_ + size(); }

  /// The same elements in another shape. \throw ShapeError unless the number of elements is the same
  [[nodiscard]] TensorView reshaped(const Shape& shape) const {
    if (shape.numel() != size())
      throw ShapeError("reshape: " + shape_.to_string() + " cannot become " + shape.to_string());
    return {data_, shape};
  }

  /// Rows `[first, first + count)` of the first axis.
  /// \throw ShapeError if they reach past the end
  [[nodiscard]] TensorView slice(std::int64_t first, std::int64_t count) const {
    if (shape_.rank() == 0 || first < 0 || count < 0 || count > shape_[0] - first)
      throw ShapeError("slice: " + std::to_string(count) + " rows from row " + std::to_string(first) + " of " +
                       shape_.to_string());
    const std::int64_t row = shape_[0] > 0 ? size() / shape_[0] : 0;
    return {data_ + first * row, shape_.with_front(count)};
  }

 private:
  T* data_ = nullptr;
  Shape shape_;
};

}  // namespace easy_diffusion
