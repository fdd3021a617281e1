/// \file
/// What an integrator needs of a state: reaching its elements, several states in step, and making room.
///
/// A state is a value (a copy has elements of its own) of floating-point elements. A `float` or `double`, a
/// `std::array` (also of arrays), a `std::vector`, a plain Eigen array or matrix and a tensor are states as they
/// are. A type of yours becomes one by a function beside it, found by argument lookup:
///
///     struct Particle { double q, p; };
///     template <class F, class P, class... Q>
///       requires(std::is_same_v<std::remove_const_t<P>, Particle>)
///     void for_each_element(F&& f, P& x, Q&... others) { f(x.q, others.q...); f(x.p, others.p...); }
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"

namespace easy_diffusion::sde {

namespace detail {

template <class S>
inline constexpr bool is_std_array = false;
template <class T, std::size_t n>
inline constexpr bool is_std_array<std::array<T, n>> = true;

template <class S>
inline constexpr bool is_std_vector = false;
template <class T, class Allocator>
inline constexpr bool is_std_vector<std::vector<T, Allocator>> = true;

/// Eigen's arrays and matrices, known by their members. Expressions are none: they own no elements.
template <class S>
concept EigenLike = requires(S& x, const S& c, std::ptrdiff_t i) {
  typename S::Scalar;
  typename S::PlainObject;
  requires std::is_same_v<typename S::PlainObject, S>;
  { c.size() } -> std::convertible_to<std::int64_t>;
  x.coeffRef(i);
  c.coeff(i);
};

/// Elements lie one behind the other and belong to the state: a view, whose constness does not reach its
/// elements, is none.
template <class S>
concept Contiguous = requires(S& x, const S& c) {
  { c.size() } -> std::convertible_to<std::int64_t>;
  requires std::is_pointer_v<decltype(x.data())>;
  requires std::floating_point<std::remove_pointer_t<decltype(x.data())>>;
  requires std::is_const_v<std::remove_pointer_t<decltype(c.data())>>;
}
&&(EigenLike<S> || is_std_vector<S> || requires(S & x) { requires std::is_pointer_v<decltype(x.begin())>; });

namespace lookup {
void for_each_element() = delete;

template <class S>
concept HasOwn = requires(S& x, const S& y) {
  for_each_element([](auto&, const auto&) {}, x, y);
};

template <class F, class... States>
void call(F& f, States&... states) {
  for_each_element(f, states...);
}
}  // namespace lookup

template <class S>
concept OfWholeNumbers = requires {
  requires std::is_integral_v<typename S::value_type>;
};

template <class S>
struct IsState
    : std::bool_constant<std::floating_point<S> || Contiguous<S> || (lookup::HasOwn<S> && !OfWholeNumbers<S>)> {};
template <class T, std::size_t n>
struct IsState<std::array<T, n>> : IsState<T> {};

/// Throws unless the two have the same extents.
template <class S>
[[nodiscard]] bool same_extents(const S& a, const S& b);

template <class S>
void expect_same_extents(const S& a, const S& b) {
  if (!same_extents(a, b)) {
    std::string message = "states: expected the same extents";
    if constexpr (Contiguous<S>)
      message += ", got " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " elements";
    throw ShapeError(message);
  }
}

template <class F, class... Pointers>
inline void loop(F& f, std::int64_t first, std::int64_t last, Pointers... p) {
  for (std::int64_t i = first; i < last; ++i) f(p[i]...);
}

struct ForEachElement {
  template <class F, class S, class... Others>
  requires(IsState<std::remove_const_t<S>>::value &&
           (std::same_as<std::remove_const_t<S>, std::remove_const_t<Others>> && ...)) constexpr void
  operator()(F&& f, S& x, Others&... others) const {
    using State = std::remove_const_t<S>;
    if constexpr (std::floating_point<State>) {
      f(x, others...);
    } else if constexpr (is_std_array<State> && Contiguous<State>) {
      for (std::size_t i = 0; i < x.size(); ++i) f(x[i], others[i]...);
    } else if constexpr (is_std_array<State>) {
      for (std::size_t i = 0; i < x.size(); ++i) (*this)(f, x[i], others[i]...);
    } else if constexpr (lookup::HasOwn<State>) {
      lookup::call(f, x, others...);
    } else {
      (expect_same_extents(x, others), ...);
      loop(f, 0, static_cast<std::int64_t>(x.size()), x.data(), others.data()...);
    }
  }
};

}  // namespace detail

/// What integrators can move.
/// | expression                        | meaning                                                    |
/// |-----------------------------------|------------------------------------------------------------|
/// | `S y(x); y = x;`                  | a copy with elements of its own                            |
/// | `for_each_element(f, x)`          | calls `f(element)` for every element, always in one order  |
/// | `for_each_element(f, x, y, ...)`  | calls `f(x_i, y_i, ...)`, for states of equal extents      |
template <class S>
concept State = std::copyable<S> && detail::IsState<S>::value;

/// `for_each_element(f, x, others...)`: `f(x_i, others_i...)` for every element, in order, on this thread.
/// The states have one type; each may be const.
/// \throw ShapeError where extents differ
inline constexpr detail::ForEachElement for_each_element{};

/// Type of the elements. Specialise it for a state of yours whose elements are not double and that has no
/// `value_type`; it only chooses accumulators and buffers.
template <class S>
struct ScalarOf {
  using type = double;
};
template <std::floating_point S>
struct ScalarOf<S> {
  using type = S;
};
template <detail::Contiguous S>
struct ScalarOf<S> {
  using type = std::remove_const_t<std::remove_pointer_t<decltype(std::declval<S&>().data())>>;
};
template <class T, std::size_t n>
requires(!std::floating_point<T>) struct ScalarOf<std::array<T, n>> : ScalarOf<T> {
};

template <class S>
using scalar_t = typename ScalarOf<S>::type;

/// Number of elements.
template <State S>
[[nodiscard]] constexpr std::int64_t element_count(const S& x) {
  if constexpr (std::floating_point<S>) {
    return 1;
  } else if constexpr (detail::Contiguous<S>) {
    return static_cast<std::int64_t>(x.size());
  } else {
    std::int64_t count = 0;
    for_each_element([&count](const auto&) { ++count; }, x);
    return count;
  }
}

namespace detail {

template <class S>
bool same_extents(const S& a, const S& b) {
  if constexpr (requires { a.shape() == b.shape(); }) {
    return a.size() == b.size() && a.shape() == b.shape();
  } else if constexpr (EigenLike<S>) {
    return a.rows() == b.rows() && a.cols() == b.cols();
  } else {
    return element_count(a) == element_count(b);
  }
}

/// States whose number of elements is part of the type never need room.
template <class S>
inline constexpr bool fixed_extents = std::floating_point<S>;
template <class T, std::size_t n>
inline constexpr bool fixed_extents<std::array<T, n>> = fixed_extents<T>;

/// From this many elements on, loops go over threads; a piece has at least as many.
inline constexpr std::int64_t parallel_grain = 16384;

}  // namespace detail

/// The same as `for_each_element`, over threads where the state is contiguous and large. `f` is called from
/// several threads at once, in no order: it may write its own elements only. The result does not depend on the
/// number of threads.
/// \throw ShapeError where extents differ
template <class F, class S, class... Others>
requires(State<std::remove_const_t<S>> && (std::same_as<std::remove_const_t<S>, std::remove_const_t<Others>> &&
                                           ...)) void update_elements(F&& f, S& x, Others&... others) {
  if constexpr (detail::Contiguous<std::remove_const_t<S>> && !detail::is_std_array<std::remove_const_t<S>>) {
    const auto n = static_cast<std::int64_t>(x.size());
    if (n > detail::parallel_grain) {
      (detail::expect_same_extents(x, others), ...);
      const auto pieces = [&f](auto*... p) {
        return [&f, p...](std::int64_t first, std::int64_t last) { detail::loop(f, first, last, p...); };
      };
      parallel_for(0, n, detail::parallel_grain, pieces(x.data(), others.data()...));
      return;
    }
  }
  for_each_element(f, x, others...);
}

/// A state of the same extents; its elements are unspecified.
template <State S>
[[nodiscard]] S make_like(const S& x) {
  return x;
}

/// Gives a work state the extents of `x`; its elements are unspecified afterwards. Allocates only when the extents
/// differ.
template <State S>
void make_room(S& work, const S& x) {
  if constexpr (!detail::fixed_extents<S>) {
    if (!detail::same_extents(work, x)) work = x;
  }
}

/// Sets every element.
template <State S>
void fill(S& x, double value) {
  update_elements([value](auto& e) { e = static_cast<std::remove_reference_t<decltype(e)>>(value); }, x);
}

}  // namespace easy_diffusion::sde
