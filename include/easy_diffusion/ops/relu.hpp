/// \file
/// Rectifiers: max(x, 0), and with a slope for what is below zero.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y = max(x, 0); NaN stays NaN.
/// \param x      any shape
/// \param[out] y the same shape; may be x itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void relu_forward(TensorView<const T> x, TensorView<std::type_identity_t<T>> y) {
  expect_shape("relu output", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = x[i] < T(0) ? T(0) : x[i];
  });
}

/// y = x where x is above zero, slope x elsewhere \cite maas_2013_rectifier.
/// \param x      any shape
/// \param[out] y the same shape; may be x itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void leaky_relu_forward(TensorView<const T> x, std::type_identity_t<T> slope, TensorView<std::type_identity_t<T>> y) {
  expect_shape("leaky_relu output", x.shape(), y.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = x[i] > T(0) ? x[i] : slope * x[i];
  });
}

/// Serves both, `relu` with slope 0.
/// \param x       as given to forward
/// \param dy      the same shape
/// \param[out] dx the same shape, written; may be dy itself
/// \throw ShapeError unless the shapes are equal
template <class T>
void leaky_relu_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> dy,
                         std::type_identity_t<T> slope, TensorView<std::type_identity_t<T>> dx) {
  expect_shape("leaky_relu output gradient", x.shape(), dy.shape());
  expect_shape("leaky_relu input gradient", x.shape(), dx.shape());
  parallel_for(0, x.size(), 16384, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) dx[i] = x[i] > T(0) ? dy[i] : slope * dy[i];
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
