/// \file
/// GELU \cite hendrycks_2016_gelu: x Phi(x), Phi being the normal distribution function, exact or by tanh.
#pragma once

#include <cstdint>
#include <numbers>
#include <type_traits>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/simd.hpp"

namespace easy_diffusion::ops {

/// How Phi is computed.
enum class Gelu {
  exact,  ///< (1 + erf(x / sqrt 2)) / 2
  tanh    ///< (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
};

}  // namespace easy_diffusion::ops

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

inline constexpr double gelu_cubic = 0.044715;
inline constexpr double gelu_slope = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // 2 sqrt(2 / pi)

/// Phi in float from one polynomial, to 2e-7: 1/2 + x Q(x^2) with Q the minimax polynomial for |x| <= 5.25; beyond that
/// Phi is 0 or 1 to the last digit that counts. xsimd's erf, which serves for double, takes more than twice the time.
inline Pack<float> gelu_exact_phi(Pack<float> x) {
  using P = Pack<float>;
  constexpr float end = 5.25F;
  constexpr float q[]{0.134659364F,   -0.0671266521F,  0.0496438969F,  -0.0397686312F,  0.0320642788F,
                      -0.024994962F,  0.0183259094F,   -0.0129542498F, 0.00907057602F,  -0.00512026427F,
                      0.00186923656F, -0.00132607403F, 0.00145669219F, -0.000561054305F};
  const P inside = max(P(-end), min(P(end), x));
  const P v = fma(inside * inside, P(2 / (end * end)), P(-1.0F));  // from [0, end^2] to [-1, 1]
  P sum(q[13]);
  for (int i = 12; i >= 0; --i) sum = fma(sum, v, P(q[i]));
  const P phi = fma(inside, sum, P(0.5F));
  return select_less(x, P(-end), P(0.0F), select_less(P(end), x, P(1.0F), phi));
}

inline Pack<double> gelu_exact_phi(Pack<double> x) {
  const Pack<double> half(0.5);
  return fma(half, erf(x * Pack<double>(1 / std::numbers::sqrt2)), half);
}

/// (1 + tanh(u)) / 2 is the logistic function of 2 u.
template <class T>
inline Pack<T> gelu_tanh_phi(Pack<T> x) {
  const Pack<T> one(T(1));
  const Pack<T> twice_u = Pack<T>(T(gelu_slope)) * x * fma(Pack<T>(T(gelu_cubic)) * x, x, one);
  return one / (one + exp(Pack<T>(T(0)) - twice_u));
}

}  // namespace detail

/// \param x      any shape
/// \param[out] y the same shape; may be x itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void gelu_forward(TensorView<const T> x, Gelu kind, TensorView<std::type_identity_t<T>> y) {
  using P = detail::Pack<T>;
  expect_shape("gelu output", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    if (kind == Gelu::exact)
      detail::map_packs(
          last - first, y.data() + first, [](P v) { return v * detail::gelu_exact_phi(v); }, x.data() + first);
    else
      detail::map_packs(
          last - first, y.data() + first, [](P v) { return v * detail::gelu_tanh_phi(v); }, x.data() + first);
  });
}

/// dx = dy (Phi(x) + x Phi'(x)).
/// \param x       as given to forward
/// \param dy      the same shape
/// \param[out] dx the same shape, written; may be dy itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void gelu_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> dy, Gelu kind,
                   TensorView<std::type_identity_t<T>> dx) {
  using P = detail::Pack<T>;
  expect_shape("gelu output gradient", x.shape(), dy.shape());
  expect_shape("gelu input gradient", x.shape(), dx.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    const auto map = [&](auto f) {
      detail::map_packs(last - first, dx.data() + first, f, x.data() + first, dy.data() + first);
    };
    if (kind == Gelu::exact)
      map([](P v, P g) {
        const P density = P(T(0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi)) * exp(P(T(-0.5)) * v * v);
        return g * fma(v, density, detail::gelu_exact_phi(v));
      });
    else
      map([](P v, P g) {
        const P one(T(1));
        const P phi = detail::gelu_tanh_phi(v);
        const P slope = P(T(detail::gelu_slope)) * fma(P(T(3 * detail::gelu_cubic)) * v, v, one);
        return g * fma(v * phi * (one - phi), slope, phi);
      });
  });
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(gelu_forward<float>) gelu_forward<float>;
extern template decltype(gelu_forward<double>) gelu_forward<double>;
extern template decltype(gelu_backward<float>) gelu_backward<float>;
extern template decltype(gelu_backward<double>) gelu_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
