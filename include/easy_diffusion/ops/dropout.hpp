/// \file
/// Dropout whose mask is a pure function of an address: nothing is kept for backward but the address.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y[i] = 0 with probability p, x[i] / (1 - p) otherwise \cite srivastava_2014_dropout. Element i is dropped where the
/// uniform float number `first + i` of the address is below p; float and double have the same masks.
/// \param x       any shape
/// \param p       from 0 to 1
/// \param address of the noise
/// \param first   number of the first element's deviate
/// \param[out] y  the same shape; may be x itself
/// \throw ValueError for another p, ShapeError unless the shapes are equal
template <class T>
void dropout_forward(TensorView<const T> x, double p, const NoiseAddress& address, std::uint64_t first,
                     TensorView<std::type_identity_t<T>> y) {
  if (!(p >= 0 && p <= 1)) throw ValueError("dropout: expected 0 <= p <= 1, got " + number_text(p));
  expect_shape("dropout output", x.shape(), y.shape());
  const T scale = p < 1 ? static_cast<T>(1 / (1 - p)) : T(0);
  const auto threshold = static_cast<float>(p);
  parallel_for(0, x.size(), 16384, [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t piece = 1024;
    float deviates[piece];
    for (std::int64_t at = begin; at < end; at += piece) {
      const std::int64_t count = std::min(piece, end - at);
      fill_uniform(std::span<float>(deviates, static_cast<std::size_t>(count)), address,
                   first + static_cast<std::uint64_t>(at));
      for (std::int64_t i = 0; i < count; ++i) y[at + i] = deviates[i] < threshold ? T(0) : x[at + i] * scale;
    }
  });
}

/// The same mask and scale for the gradient.
/// \param dy               any shape
/// \param p,address,first  as given to forward
/// \param[out] dx          the same shape, written; may be dy itself
/// \throw ValueError, ShapeError as forward
template <class T>
void dropout_backward(TensorView<const T> dy, double p, const NoiseAddress& address, std::uint64_t first,
                      TensorView<std::type_identity_t<T>> dx) {
  dropout_forward(dy, p, address, first, dx);
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(dropout_forward<float>) dropout_forward<float>;
extern template decltype(dropout_forward<double>) dropout_forward<double>;
extern template decltype(dropout_backward<float>) dropout_backward<float>;
extern template decltype(dropout_backward<double>) dropout_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
