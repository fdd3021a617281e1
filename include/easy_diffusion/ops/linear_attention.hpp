/// \file
/// Linear attention: keys are normalised over the positions, so that a small matrix stands between keys and values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

namespace detail {

struct LinearAttentionGeometry {
  std::int64_t batch, positions, heads, width;

  LinearAttentionGeometry(const Shape& qkv, std::int64_t head_count) {
    expect_rank("linear_attention input", 3, "[N, L, 3 heads D]", qkv);
    if (head_count < 1 || qkv[2] < 1 || qkv[2] % (3 * head_count) != 0)
      throw ShapeError("linear_attention: " + qkv.to_string() + " is not [N, L, 3 heads D] with " +
                       std::to_string(head_count) + " heads");
    if (qkv[1] < 1) throw ShapeError("linear_attention: no positions to attend to: " + qkv.to_string());
    batch = qkv[0], positions = qkv[1], heads = head_count, width = qkv[2] / (3 * head_count);
  }

  /// So many heads are worth a thread's while.
  [[nodiscard]] std::int64_t grain() const {
    return std::max<std::int64_t>(1, (1 << 16) / (positions * width * width));
  }
};

/// key[l, d] = exp(k[l, d] - max over l) / sum over l, one head of one sample.
/// \param k           the head's keys; a position is `stride` apart from the next
/// \param[out] key    [L, D]
template <class T>
void normalised_keys(const LinearAttentionGeometry& g, const T* k, std::int64_t stride, T* key) {
  Tensor<T> largest(Shape{g.width});
  Tensor<T> sum(Shape{g.width});
  std::copy_n(k, g.width, largest.data());
  for (std::int64_t l = 1; l < g.positions; ++l)
    for (std::int64_t d = 0; d < g.width; ++d) largest[d] = std::max(largest[d], k[l * stride + d]);
  for (std::int64_t l = 0; l < g.positions; ++l)
    for (std::int64_t d = 0; d < g.width; ++d)
      sum[d] += key[l * g.width + d] = std::exp(k[l * stride + d] - largest[d]);
  for (std::int64_t l = 0; l < g.positions; ++l)
    for (std::int64_t d = 0; d < g.width; ++d) key[l * g.width + d] /= sum[d];
}

}  // namespace detail

/// With s = softmax of the keys over the positions: memory = s^T v, a [D, D] matrix a head, and out = q memory
/// \cite shen_2018_efficient.
/// \param qkv          [N, L, 3 heads D]: all queries, then all keys, then all values
/// \param heads        divides a third of the channels
/// \param[out] out    [N, L, heads D]
/// \param[out] memory [N, heads, D, D], saved for backward
/// \throw ShapeError where shapes do not fit
template <class T>
void linear_attention_forward(TensorView<const T> qkv, std::int64_t heads, TensorView<std::type_identity_t<T>> out,
                              TensorView<std::type_identity_t<T>> memory) {
  const detail::LinearAttentionGeometry g(qkv.shape(), heads);
  expect_shape("linear_attention output", Shape{g.batch, g.positions, heads * g.width}, out.shape());
  expect_shape("linear_attention memory", Shape{g.batch, heads, g.width, g.width}, memory.shape());
  const std::int64_t row = heads * g.width;
  parallel_for(0, g.batch * heads, g.grain(), [&](std::int64_t first, std::int64_t last) {
    Tensor<T> keys = Tensor<T>::uninitialized(Shape{g.positions, g.width});
    for (std::int64_t item = first; item < last; ++item) {
      const T* q = qkv.data() + item / heads * g.positions * 3 * row + item % heads * g.width;
      const T* v = q + 2 * row;
      T* m = memory.data() + item * g.width * g.width;
      T* o = out.data() + item / heads * g.positions * row + item % heads * g.width;
      detail::normalised_keys(g, q + row, 3 * row, keys.data());
      std::fill_n(m, g.width * g.width, T(0));
      for (std::int64_t l = 0; l < g.positions; ++l)
        for (std::int64_t d = 0; d < g.width; ++d)
          for (std::int64_t e = 0; e < g.width; ++e) m[d * g.width + e] += keys[l * g.width + d] * v[l * 3 * row + e];
      for (std::int64_t l = 0; l < g.positions; ++l) {
        std::fill_n(o + l * row, g.width, T(0));
        for (std::int64_t d = 0; d < g.width; ++d)
          for (std::int64_t e = 0; e < g.width; ++e) o[l * row + e] += q[l * 3 * row + d] * m[d * g.width + e];
      }
    }
  });
}

/// dq = dout memory^T, dmemory = q^T dout, dv = s dmemory, ds = v dmemory^T, and through the softmax
/// dk = s (ds - sum over the positions of s ds), whose sum is that of memory dmemory over e.
/// \param qkv,heads as given to forward
/// \param memory    its result
/// \param dout      [N, L, heads D]
/// \param[out] dqkv the shape of qkv, written
/// \throw ShapeError where shapes do not fit
template <class T>
void linear_attention_backward(TensorView<const T> qkv, std::int64_t heads,
                               TensorView<const std::type_identity_t<T>> memory,
                               TensorView<const std::type_identity_t<T>> dout,
                               TensorView<std::type_identity_t<T>> dqkv) {
  const detail::LinearAttentionGeometry g(qkv.shape(), heads);
  expect_shape("linear_attention memory", Shape{g.batch, heads, g.width, g.width}, memory.shape());
  expect_shape("linear_attention output gradient", Shape{g.batch, g.positions, heads * g.width}, dout.shape());
  expect_shape("linear_attention input gradient", qkv.shape(), dqkv.shape());
  const std::int64_t row = heads * g.width;
  const std::int64_t w = g.width;
  parallel_for(0, g.batch * heads, g.grain(), [&](std::int64_t first, std::int64_t last) {
    Tensor<T> keys = Tensor<T>::uninitialized(Shape{g.positions, w});
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t at = item / heads * g.positions * 3 * row + item % heads * w;
      const T* q = qkv.data() + at;
      const T* v = q + 2 * row;
      const T* m = memory.data() + item * w * w;
      const T* gradient = dout.data() + item / heads * g.positions * row + item % heads * w;
      T* dq = dqkv.data() + at;
      detail::normalised_keys(g, q + row, 3 * row, keys.data());
      Tensor<T> dm(Shape{w, w});
      Tensor<T> mean(Shape{w});
      for (std::int64_t l = 0; l < g.positions; ++l)
        for (std::int64_t d = 0; d < w; ++d)
          for (std::int64_t e = 0; e < w; ++e) dm[d * w + e] += q[l * 3 * row + d] * gradient[l * row + e];
      for (std::int64_t i = 0; i < w * w; ++i) mean[i / w] += m[i] * dm[i];
      for (std::int64_t l = 0; l < g.positions; ++l) {
        T* dq_of = dq + l * 3 * row;
        T* dk_of = dq_of + row;
        T* dv_of = dk_of + row;
        std::fill_n(dv_of, w, T(0));
        for (std::int64_t d = 0; d < w; ++d) {
          const T s = keys[l * w + d];
          T sum_q = 0;
          T sum_s = 0;
          for (std::int64_t e = 0; e < w; ++e) {
            sum_q += gradient[l * row + e] * m[d * w + e];
            sum_s += v[l * 3 * row + e] * dm[d * w + e];
            dv_of[e] += s * dm[d * w + e];
          }
          dq_of[d] = sum_q;
          dk_of[d] = s * (sum_s - mean[d]);
        }
      }
    }
  });
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(linear_attention_forward<float>) linear_attention_forward<float>;
extern template decltype(linear_attention_forward<double>) linear_attention_forward<double>;
extern template decltype(linear_attention_backward<float>) linear_attention_backward<float>;
extern template decltype(linear_attention_backward<double>) linear_attention_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
