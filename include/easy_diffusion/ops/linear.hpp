/// \file
/// Linear map of the last axis: y = x weight + bias.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/gather_gemm.hpp"
#include "easy_diffusion/ops/detail/weight_gemm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// The shape of x with its last extent, C_in, replaced by C_out.
/// \param x      [..., C_in], rank 1 to 6
/// \param weight [C_in, C_out]
/// \throw ShapeError where they do not fit
[[nodiscard]] inline Shape linear_output_shape(const Shape& x, const Shape& weight) {
  expect_rank("linear weight", 2, "[C_in, C_out]", weight);
  if (weight.numel() < 1) throw ShapeError("linear: the weight is empty: " + weight.to_string());
  if (x.rank() == 0 || x.back() != weight[0])
    throw ShapeError("linear: weight " + weight.to_string() + " expects [..., " + std::to_string(weight[0]) +
                     "], got " + x.to_string());
  Shape y(x.begin(), x.end() - 1);
  y.push_back(weight[1]);
  return y;
}

namespace detail {
/// y [rows, columns] = x [rows, channels] * B, where B's strides say how it lies in memory.
template <class T>
void rows_times_matrix(const T* x, std::int64_t rows, std::int64_t channels, StoredWeight<T> matrix,
                       std::int64_t columns,
                       PanelStrides strides, const Epilogue<T>& epilogue, T* y) {
  GatherPlan& plan = PlanWorkspace::of_thread().plan;
  plan.make_rows(rows, channels, columns);
  gather_gemm(plan, x, make_panels(matrix, 1, channels, columns, strides, rows), epilogue, y);
}
}  // namespace detail

/// \param x      [..., C_in]
/// \param weight [C_in, C_out]
/// \param bias   [C_out], or empty for none
/// \param[out] y [..., C_out]; every element is written
/// \param store keeps the weight's layouts from call to call, as long as it does not change; may be left out
/// \throw ShapeError where shapes do not fit
template <class T>
void linear_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                    TensorView<const std::type_identity_t<T>> bias, TensorView<std::type_identity_t<T>> y,
                    WeightStore<std::type_identity_t<T>>* store = nullptr) {
  expect_shape("linear output", linear_output_shape(x.shape(), weight.shape()), y.shape());
  const std::int64_t in = weight.extent(0);
  const std::int64_t out = weight.extent(1);
  if (bias) expect_shape("linear bias", Shape{out}, bias.shape());
  detail::rows_times_matrix(x.data(), x.size() / in, in, detail::StoredWeight<T>(weight.data(), store), out, {0, out, 1},
                            detail::Epilogue<T>{.bias = bias.data()}, y.data());
}

/// \param x,weight as given to forward
/// \param dy       [..., C_out]
/// \param[out] dx      [..., C_in], written; empty to leave it out
/// \param[out] dweight [C_in, C_out], added to; empty to leave it out
/// \param[out] dbias   [C_out], added to; empty to leave it out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void linear_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> weight,
                     TensorView<const std::type_identity_t<T>> dy, TensorView<std::type_identity_t<T>> dx,
                     TensorView<std::type_identity_t<T>> dweight, TensorView<std::type_identity_t<T>> dbias) {
  expect_shape("linear output gradient", linear_output_shape(x.shape(), weight.shape()), dy.shape());
  const std::int64_t in = weight.extent(0);
  const std::int64_t out = weight.extent(1);
  const std::int64_t rows = x.size() / in;
  if (dweight) {
    expect_shape("linear weight gradient", weight.shape(), dweight.shape());
    detail::GatherPlan& plan = detail::PlanWorkspace::of_thread().plan;
    plan.make_rows(rows, in, out);
    detail::weight_gemm(plan, 1, in, out, x.data(), dy.data(), dweight.data());
  }
  if (dbias) {
    expect_shape("linear bias gradient", Shape{out}, dbias.shape());
    detail::add_column_sums(dy.data(), rows, out, dbias.data());
  }
  if (dx) {
    expect_shape("linear input gradient", x.shape(), dx.shape());
    detail::rows_times_matrix(dy.data(), rows, out, detail::StoredWeight<T>(weight.data()), in, {0, 1, out},
                              detail::Epilogue<T>{}, dx.data());
  }
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(linear_forward<float>) linear_forward<float>;
extern template decltype(linear_forward<double>) linear_forward<double>;
extern template decltype(linear_backward<float>) linear_backward<float>;
extern template decltype(linear_backward<double>) linear_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
