/// \file
/// Scaled dot-product attention with one or more heads, in tiles: the matrix of scores is never held.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/attention.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

inline AttentionGeometry attention_geometry(const Shape& q, const Shape& k, const Shape& v, std::int64_t heads) {
  expect_rank("attention queries", 3, "[N, Lq, heads Dk]", q);
  expect_rank("attention keys", 3, "[N, Lk, heads Dk]", k);
  expect_rank("attention values", 3, "[N, Lk, heads Dv]", v);
  if (heads < 1 || q[2] < 1 || v[2] < 1 || q[2] % heads != 0 || v[2] % heads != 0)
    throw ShapeError("attention: " + std::to_string(heads) + " heads do not divide the widths of queries " +
                     q.to_string() + " and values " + v.to_string());
  expect_shape("attention keys", Shape{q[0], k[1], q[2]}, k);
  expect_shape("attention values", Shape{q[0], k[1], v[2]}, v);
  if (k[1] < 1) throw ShapeError("attention: no keys to attend to: " + k.to_string());
  return {q[0], heads, q[1], k[1], q[2] / heads, v[2] / heads};
}

}  // namespace detail

/// out = softmax(scale q k^T) v, sample by sample and head by head \cite vaswani_2017_attention, in tiles whose softmax is
/// put right as they come \cite dao_2022_flash. A head is a run of channels: head h of a row has
/// [h D, (h + 1) D).
/// \param q     [N, Lq, heads Dk]
/// \param k     [N, Lk, heads Dk], Lk > 0
/// \param v     [N, Lk, heads Dv]
/// \param scale of the scores, usually 1 / sqrt(Dk)
/// \param[out] out [N, Lq, heads Dv]
/// \param[out] lse [N, heads, Lq], the logarithm of the sum of exp(scores), which backward needs; empty to leave it out
/// \throw ShapeError where shapes do not fit
template <class T>
void attention_forward(TensorView<const T> q, TensorView<const std::type_identity_t<T>> k,
                       TensorView<const std::type_identity_t<T>> v, std::int64_t heads, std::type_identity_t<T> scale,
                       TensorView<std::type_identity_t<T>> out, TensorView<std::type_identity_t<T>> lse) {
  const auto g = detail::attention_geometry(q.shape(), k.shape(), v.shape(), heads);
  expect_shape("attention output", Shape{g.batch, g.queries, heads * g.value_width}, out.shape());
  if (lse) expect_shape("attention log-sum-exp", Shape{g.batch, heads, g.queries}, lse.shape());
  detail::attention_forward(g, q.data(), k.data(), v.data(), scale, out.data(), lse.data());
}

/// With P = softmax(scale q k^T), made again from lse, and delta = the row sums of dout out:
/// dv = P^T dout, dS = P (dout v^T - delta), dq = scale dS k, dk = scale dS^T q.
/// \param q,k,v,heads,scale as given to forward
/// \param out,lse           its results
/// \param dout              [N, Lq, heads Dv]
/// \param[out] dq,dk,dv the shapes of q, k, v, written; empty to leave them out
/// \throw ShapeError where shapes do not fit
template <class T>
void attention_backward(TensorView<const T> q, TensorView<const std::type_identity_t<T>> k,
                        TensorView<const std::type_identity_t<T>> v, TensorView<const std::type_identity_t<T>> out,
                        TensorView<const std::type_identity_t<T>> lse, TensorView<const std::type_identity_t<T>> dout,
                        std::int64_t heads, std::type_identity_t<T> scale, TensorView<std::type_identity_t<T>> dq,
                        TensorView<std::type_identity_t<T>> dk, TensorView<std::type_identity_t<T>> dv) {
  const auto g = detail::attention_geometry(q.shape(), k.shape(), v.shape(), heads);
  const Shape result{g.batch, g.queries, heads * g.value_width};
  expect_shape("attention output", result, out.shape());
  expect_shape("attention log-sum-exp", Shape{g.batch, heads, g.queries}, lse.shape());
  expect_shape("attention output gradient", result, dout.shape());
  if (dq) expect_shape("attention query gradient", q.shape(), dq.shape());
  if (dk) expect_shape("attention key gradient", k.shape(), dk.shape());
  if (dv) expect_shape("attention value gradient", v.shape(), dv.shape());
  detail::attention_backward(g, q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), scale, dq.data(),
                             dk.data(), dv.data());
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(attention_forward<float>) attention_forward<float>;
extern template decltype(attention_forward<double>) attention_forward<double>;
extern template decltype(attention_backward<float>) attention_backward<float>;
extern template decltype(attention_backward<double>) attention_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
