/// \file
/// Extents of a tensor, with readable errors.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion {

/// Extents of a tensor of rank 0 to 6, slowest first: `[N, H, W, C]` for pictures.
/// Every extent is >= 0; rank 0 is a single number.
class Shape {
 public:
  static constexpr std::size_t max_rank = 6;

  Shape() = default;
  /// \throw ShapeError for a negative extent, more than six of them, or a product that overflows
  Shape(std::initializer_list<std::int64_t> extents) : Shape(extents.begin(), extents.end()) {}

  template <class Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) push_back(static_cast<std::int64_t>(*first));
  }

  [[nodiscard]] std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::int64_t operator[](std::size_t axis) const noexcept {
    assert(axis < rank_);
    return extents_[axis];
  }
  [[nodiscard]] const std::int64_t* begin() const noexcept { return extents_.data(); }
  [[nodiscard]] const std::int64_t* end() const noexcept { return extents_.data() + rank_; }

  /// Extent counted from the back: `back(0)` is the fastest axis (channels).
  [[nodiscard]] std::int64_t back(std::size_t i = 0) const noexcept { return extents_[rank_ - 1 - i]; }

  /// Number of elements; 1 for rank 0.
  [[nodiscard]] std::int64_t numel() const noexcept {
    std::int64_t n = 1;
    for (const std::int64_t extent : *this) n *= extent;
    return n;
  }

  /// The same shape with another first extent (the batch). \throw ShapeError as the constructor, and for rank 0
  [[nodiscard]] Shape with_front(std::int64_t extent) const {
    if (rank_ == 0) throw ShapeError("shape: a single number has no first extent");
    Shape result;
    result.push_back(extent);
    for (std::size_t axis = 1; axis < rank_; ++axis) result.push_back(extents_[axis]);
    return result;
  }

  void push_back(std::int64_t extent) {
    if (rank_ == max_rank) throw ShapeError("shape: more than 6 extents");
    if (extent < 0) throw ShapeError("shape: extent " + std::to_string(extent) + " is negative");
    if (extent > INT64_MAX / 64) throw ShapeError("shape: extent " + std::to_string(extent) + " is too large");
    // A zero extent makes the product harmless, so the bound is taken over the others.
    std::int64_t n = extent > 0 ? extent : 1;
    for (const std::int64_t other : *this) {
      if (other > 0 && n > INT64_MAX / 64 / other) throw ShapeError("shape: number of elements overflows");
      n *= other > 0 ? other : 1;
    }
    extents_[rank_++] = extent;
  }

  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (std::size_t i = 0; i < a.rank_; ++i)
      if (a.extents_[i] != b.extents_[i]) return false;
    return true;
  }

  /// `[64, 28, 28, 1]`
  [[nodiscard]] std::string to_string() const {
    std::string text = "[";
    for (std::size_t i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(extents_[i]);
    return text + "]";
  }

 private:
  std::array<std::int64_t, max_rank> extents_{};
  std::size_t rank_ = 0;
};

/// \throw ShapeError "<who>: expected [..], got [..]" unless the two are equal
inline void expect_shape(std::string_view who, const Shape& expected, const Shape& got) {
  if (!(expected == got))
    throw ShapeError(std::string(who) + ": expected " + expected.to_string() + ", got " + got.to_string());
}

/// \throw ShapeError unless `got` has rank `rank`; `names` says what the axes mean, such as "[N, H, W, C]"
inline void expect_rank(std::string_view who, std::size_t rank, std::string_view names, const Shape& got) {
  if (got.rank() != rank)
    throw ShapeError(std::string(who) + ": expected " + std::string(names) + ", got " + got.to_string());
}

}  // namespace easy_diffusion
