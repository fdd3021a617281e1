/// \file
/// `Tensor<T>`: an owning, contiguous, 64-byte aligned array of numbers with a shape.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion {

namespace detail {

/// Counted block of memory. The header lies in the first 64 bytes, the elements behind it.
struct Block {
  std::atomic<std::size_t> owners;
  std::size_t bytes;

  static Block* create(std::size_t payload) {
    void* memory = CachingAllocator::instance().allocate(payload + alignment);
    return new (memory) Block{{1}, payload + alignment};
  }
  [[nodiscard]] void* payload() noexcept { return reinterpret_cast<std::byte*>(this) + alignment; }
  void acquire() noexcept { owners.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::size_t total = bytes;
      CachingAllocator::instance().deallocate(this, total);
    }
  }
};
static_assert(sizeof(Block) <= alignment);

}  // namespace detail

template <class T>
class SharedTensor;

/// Owning, contiguous, 64-byte aligned; pictures are channels last, `[N, H, W, C]`. A value type: a copy has
/// elements of its own. `shared()` is the exception that layers use to keep an input for backward without
/// copying it. Memory comes from the caching allocator.
template <class T>
class Tensor {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;

  /// No elements; `empty()` is true. Stands for something left out.
  Tensor() = default;

  /// Elements are zero.
  explicit Tensor(const Shape& shape) : Tensor(shape, T{}) {}
  Tensor(const Shape& shape, T value) : Tensor(uninitialized(shape)) { fill(value); }

  /// Elements in the order of memory. \throw ShapeError unless there are as many as the shape says
  Tensor(const Shape& shape, std::initializer_list<T> values) : Tensor(uninitialized(shape)) {
    if (static_cast<std::int64_t>(values.size()) != size())
      throw ShapeError("tensor: " + shape.to_string() + " has " + std::to_string(size()) + " elements, got " +
                       std::to_string(values.size()));
    std::copy(values.begin(), values.end(), begin());
  }

  Tensor(const Tensor& other) {
    if (other.empty()) return;
    *this = uninitialized(other.shape_);
    std::copy_n(other.data(), other.size(), data());
  }
  Tensor(Tensor&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), shape_(std::exchange(other.shape_, Shape{})) {}
  Tensor& operator=(const Tensor& other) {
    if (this == &other) return *this;
    if (is_only_owner() && !other.empty() && size() == other.size()) {
      shape_ = other.shape_;  // reuse the memory at hand
      std::copy_n(other.data(), other.size(), data());
    } else {
      *this = Tensor(other);
    }
    return *this;
  }
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(shape_, other.shape_);
    return *this;
  }
  ~Tensor() {
    if (block_ != nullptr) block_->release();
  }

  /// Memory with whatever is in it, for results that are written whole.
  [[nodiscard]] static Tensor uninitialized(const Shape& shape) {
    Tensor result;
    result.block_ = detail::Block::create(static_cast<std::size_t>(shape.numel()) * sizeof(T));
    result.shape_ = shape;
    return result;
  }

  template <class U>
  [[nodiscard]] static Tensor copy_of(TensorView<U> view) {
    if (view.empty()) return {};
    Tensor result = uninitialized(view.shape());
    std::transform(view.begin(), view.end(), result.begin(), [](U value) { return static_cast<T>(value); });
    return result;
  }

  /// A second owner of the same elements that only reads them: no copy is made, and it sees what is written here.
  [[nodiscard]] SharedTensor<T> shared() const noexcept;

  /// Makes this a tensor of that shape whose elements are not initialised; keeps the memory where it can.
  void resize(const Shape& shape) {
    if (is_only_owner() && shape.numel() == size()) {
      shape_ = shape;
    } else {
      *this = uninitialized(shape);
    }
  }

  [[nodiscard]] T* data() noexcept { return block_ ? static_cast<T*>(block_->payload()) : nullptr; }
  [[nodiscard]] const T* data() const noexcept { return block_ ? static_cast<const T*>(block_->payload()) : nullptr; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::int64_t extent(std::size_t axis) const noexcept { return shape_[axis]; }
  [[nodiscard]] std::int64_t size() const noexcept { return block_ ? shape_.numel() : 0; }
  [[nodiscard]] bool empty() const noexcept { return block_ == nullptr; }

  /// Whether nobody shares the elements, so that they may be overwritten. False for an empty tensor.
  [[nodiscard]] bool is_only_owner() const noexcept { return block_ != nullptr && block_->owners.load() == 1; }

  [[nodiscard]] T& operator[](std::int64_t i) noexcept { return data()[i]; }
  [[nodiscard]] const T& operator[](std::int64_t i) const noexcept { return data()[i]; }

  /// Element by its indices: `picture(n, y, x, c)`. For tests and small loops; not checked beyond an assert.
  template <class... Index>
  [[nodiscard]] T& operator()(Index... index) noexcept {
    return data()[offset(index...)];
  }
  template <class... Index>
  [[nodiscard]] const T& operator()(Index... index) const noexcept {
    return data()[offset(index...)];
  }

  [[nodiscard]] T* begin() noexcept { return data(); }
  [[nodiscard]] T* end() noexcept { return data() + size(); }
  [[nodiscard]] const T* begin() const noexcept { return data(); }
  [[nodiscard]] const T* end() const noexcept { return data() + size(); }
  [[nodiscard]] std::span<T> span() noexcept { return {data(), static_cast<std::size_t>(size())}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data(), static_cast<std::size_t>(size())}; }

  [[nodiscard]] TensorView<T> view() & noexcept { return {data(), shape_}; }
  [[nodiscard]] TensorView<const T> view() const& noexcept { return {data(), shape_}; }
#if defined(__clang__)  // which then turns down `auto view = temporary().view();`
  [[nodiscard]] TensorView<const T> view() const&& noexcept [[clang::lifetimebound]] { return {data(), shape_}; }
#else
  [[nodiscard]] TensorView<const T> view() const&& noexcept { return {data(), shape_}; }
#endif
  operator TensorView<T>() & noexcept { return view(); }
  operator TensorView<const T>() const& noexcept { return view(); }
  /// A view of a temporary would see memory that is gone. As an argument of a call: `temporary().view()`.
  operator TensorView<const T>() const&& = delete;

  void fill(T value) noexcept { std::fill(begin(), end(), value); }

  /// The same elements in another shape, without a copy of them when called on an rvalue.
  [[nodiscard]] Tensor reshaped(const Shape& shape) && {
    if (shape.numel() != size())
      throw ShapeError("reshape: " + shape_.to_string() + " cannot become " + shape.to_string());
    shape_ = shape;
    return std::move(*this);
  }
  [[nodiscard]] Tensor reshaped(const Shape& shape) const& { return Tensor(*this).reshaped(shape); }

  /// Element by element: `f(x[i], others[i]...)`. This is what makes a tensor a state of the integrators.
  /// \throw ShapeError unless all shapes are equal
  template <class F, class... Others>
  requires(std::is_same_v<std::remove_const_t<Others>, Tensor>&&...) friend void for_each_element(F&& f, Tensor& x,
                                                                                                  Others&... others) {
    (expect_shape("for_each_element", x.shape(), others.shape()), ...);
    for_each_in(f, x.size(), x.data(), others.data()...);
  }
  template <class F, class... Others>
  requires(std::is_same_v<std::remove_const_t<Others>, Tensor>&&...) friend void for_each_element(F&& f,
                                                                                                  const Tensor& x,
                                                                                                  Others&... others) {
    (expect_shape("for_each_element", x.shape(), others.shape()), ...);
    for_each_in(f, x.size(), x.data(), others.data()...);
  }

 private:
  friend class SharedTensor<T>;

  [[nodiscard]] Tensor alias() const noexcept {
    Tensor result;
    if (block_ != nullptr) block_->acquire();
    result.block_ = block_;
    result.shape_ = shape_;
    return result;
  }

  template <class F, class... Pointers>
  static void for_each_in(F& f, std::int64_t n, Pointers... p) {
    for (std::int64_t i = 0; i < n; ++i) f(p[i]...);
  }

  template <class... Index>
  [[nodiscard]] std::int64_t offset(Index... index) const noexcept {
    std::int64_t result = 0;
    std::size_t axis = 0;
    ((result = result * shape_[axis++] + static_cast<std::int64_t>(index)), ...);
    assert(axis == shape_.rank() && result >= 0 && result < size());
    return result;
  }

  detail::Block* block_ = nullptr;
  Shape shape_;
};

/// An owner that reads and never writes: what a context keeps of its input. Copies share too. `*x` is the tensor.
template <class T>
class SharedTensor {
 public:
  using value_type = T;

  SharedTensor() = default;
  /// Nobody writes to that tensor from now on, unless somebody shares it.
  SharedTensor(Tensor<T>&& tensor) noexcept : tensor_(std::move(tensor)) {}
  SharedTensor(const SharedTensor& other) noexcept : tensor_(other.tensor_.alias()) {}
  SharedTensor(SharedTensor&& other) noexcept = default;
  SharedTensor& operator=(const SharedTensor& other) noexcept {
    tensor_ = other.tensor_.alias();
    return *this;
  }
  SharedTensor& operator=(SharedTensor&& other) noexcept = default;
  ~SharedTensor() = default;

  [[nodiscard]] const Tensor<T>& operator*() const& noexcept { return tensor_; }
  [[nodiscard]] const Tensor<T>& operator*() && = delete;  // it would be gone
  [[nodiscard]] const Tensor<T>* operator->() const noexcept { return &tensor_; }

  [[nodiscard]] const T* data() const noexcept { return tensor_.data(); }
  [[nodiscard]] const T& operator[](std::int64_t i) const noexcept { return tensor_[i]; }
  [[nodiscard]] const Shape& shape() const noexcept { return tensor_.shape(); }
  [[nodiscard]] std::int64_t extent(std::size_t axis) const noexcept { return tensor_.extent(axis); }
  [[nodiscard]] std::int64_t size() const noexcept { return tensor_.size(); }
  [[nodiscard]] bool empty() const noexcept { return tensor_.empty(); }
  [[nodiscard]] bool is_only_owner() const noexcept { return tensor_.is_only_owner(); }
  [[nodiscard]] TensorView<const T> view() const& noexcept { return tensor_.view(); }
  [[nodiscard]] TensorView<const T> view() && = delete;  // of memory that may be gone

  /// The same elements in another shape. \throw ShapeError unless the number of elements is the same
  [[nodiscard]] SharedTensor reshaped(const Shape& shape) const { return tensor_.alias().reshaped(shape); }

  /// A tensor of one's own: these elements where nobody else has them, a copy where somebody does.
  [[nodiscard]] Tensor<T> owned() && {
    Tensor<T> given = std::move(tensor_);  // from now on this is no owner, also where a copy is made
    if (given.is_only_owner()) return given;
    return Tensor<T>(std::as_const(given));
  }

 private:
  Tensor<T> tensor_;
};

template <class T>
SharedTensor<T> Tensor<T>::shared() const noexcept {
  return alias();
}

}  // namespace easy_diffusion
