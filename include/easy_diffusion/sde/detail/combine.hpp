/// \file
/// Linear combinations of states, in one pass over their elements.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde::detail {

/// a b + c, rounded once where the processor has an instruction for it. Said outright, as a compiler that may fuse
/// products into sums decides anew in every loop: the bits of an element are the same for every kind of state, and
/// wherever in a vector loop it lies.
template <class T>
T multiply_add(T a, T b, T c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <std::size_t n>
struct Combination {
  std::array<double, n> c;

  template <class T, class... K>
  void operator()(T& out, const T& x, const K&... k) const {
    static_assert(sizeof...(K) == n);
    out = sum(std::make_index_sequence<n>{}, x, k...);
  }

 private:
  template <std::size_t... i, class T, class... K>
  T sum(std::index_sequence<i...>, T total, const K&... k) const {
    ((total = multiply_add(static_cast<T>(c[i]), k, total)), ...);
    return total;
  }
};

template <std::size_t n>
struct Addition {
  Combination<n> combination;
  template <class T, class... K>
  void operator()(T& x, const K&... k) const {
    const T before = x;
    combination(x, before, k...);
  }
};

/// out = x + c_0 k_0 + c_1 k_1 + ...
template <State S, class... K>
void combine(S& out, const S& x, const std::array<double, sizeof...(K)>& c, const K&... k) {
  update_elements(Combination<sizeof...(K)>{c}, out, x, k...);
}

/// x += c_0 k_0 + c_1 k_1 + ...
template <State S, class... K>
void add_combination(S& x, const std::array<double, sizeof...(K)>& c, const K&... k) {
  update_elements(Addition<sizeof...(K)>{{c}}, x, k...);
}

/// Places of the coefficients that are not zero, of a type with a constant array `c`.
template <class Row>
consteval auto places_in_use() {
  constexpr std::size_t count = [] {
    std::size_t n = 0;
    for (const double value : Row::c) n += value != 0.0 ? 1 : 0;
    return n;
  }();
  std::array<std::size_t, count> places{};
  std::size_t n = 0;
  for (std::size_t i = 0; i < Row::c.size(); ++i)
    if (Row::c[i] != 0.0) places[n++] = i;
  return places;
}

/// f(integral_constant<place>...) for the coefficients of `Row` that are not zero.
template <class Row, class F>
void with_places_in_use(F&& f) {
  constexpr auto places = places_in_use<Row>();
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    f(std::integral_constant<std::size_t, places[i]>{}...);
  }
  (std::make_index_sequence<places.size()>{});
}

/// f(integral_constant<0>), ..., f(integral_constant<n - 1>).
template <std::size_t n, class F>
void unrolled(F&& f) {
  [&]<std::size_t... i>(std::index_sequence<i...>) { (f(std::integral_constant<std::size_t, i>{}), ...); }
  (std::make_index_sequence<n>{});
}

}  // namespace easy_diffusion::sde::detail
