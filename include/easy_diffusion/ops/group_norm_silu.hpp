/// \file
/// Group normalisation and SiLU in one, with or without an embedding that is added first: one pass over memory for the
/// statistics and one for the result, and nothing in between is kept.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/group_norm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// y = silu(group_norm(x + embedding)), see `group_norm_forward` and `silu_forward`.
/// \param x          [N, H, W, C] or [N, ..., C]
/// \param embedding  [N, C], added to each pixel; empty to leave it out
/// \param gamma,beta [C]
/// \param groups     divides C
/// \param epsilon    added to the variance
/// \param[out] y         the shape of x; may be x itself
/// \param[out] mean,rstd [N, groups] of x + embedding, saved for backward
/// \throw ShapeError naming what does not fit
template <class T>
void group_norm_silu_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> embedding,
                             TensorView<const std::type_identity_t<T>> gamma,
                             TensorView<const std::type_identity_t<T>> beta, std::int64_t groups, T epsilon,
                             TensorView<std::type_identity_t<T>> y, TensorView<std::type_identity_t<T>> mean,
                             TensorView<std::type_identity_t<T>> rstd) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  g.check_forward(x, gamma, beta, y, mean, rstd);
  if (embedding) expect_shape("group_norm embedding", Shape{g.batch, g.channels}, embedding.shape());
  detail::group_norm_forward<detail::SiluActivation, T>(g, x.data(), embedding.data(), gamma.data(), beta.data(),
                                                        epsilon, y.data(), mean.data(), rstd.data());
}

/// \param x,embedding,gamma,beta,mean,rstd as in forward; x is what forward was given, not its sum with the embedding
/// \param dy                the shape of x
/// \param[out] dx           the shape of x, written; may be dy itself; empty to leave it out
/// \param[out] dembedding   [N, C], written; empty to leave it out or where there is no embedding
/// \param[out] dgamma,dbeta [C], added to; empty to leave them out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void group_norm_silu_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> embedding,
                              TensorView<const std::type_identity_t<T>> gamma,
                              TensorView<const std::type_identity_t<T>> beta,
                              TensorView<const std::type_identity_t<T>> mean,
                              TensorView<const std::type_identity_t<T>> rstd,
                              TensorView<const std::type_identity_t<T>> dy, std::int64_t groups,
                              TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dembedding,
                              TensorView<std::type_identity_t<T>> dgamma, TensorView<std::type_identity_t<T>> dbeta) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  g.check_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta);
  expect_shape("group_norm beta", Shape{g.channels}, beta.shape());
  if (embedding) expect_shape("group_norm embedding", Shape{g.batch, g.channels}, embedding.shape());
  if (dembedding) expect_shape("group_norm embedding gradient", embedding.shape(), dembedding.shape());
  detail::ParameterSums<T> sums(g);
  const auto run = [&]<bool embedded>(std::bool_constant<embedded>) {
    detail::group_norm_backward<detail::SiluActivation, embedded, T>(g, x.data(), embedding.data(), gamma.data(),
                                                                     beta.data(), mean.data(), rstd.data(), dy.data(),
                                                                     dx.data(), dembedding.data(), sums);
  };
  embedding ? run(std::true_type()) : run(std::false_type());
  sums.add_to(g, dgamma, dbeta);
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(group_norm_silu_forward<float>) group_norm_silu_forward<float>;
extern template decltype(group_norm_silu_forward<double>) group_norm_silu_forward<double>;
extern template decltype(group_norm_silu_backward<float>) group_norm_silu_backward<float>;
extern template decltype(group_norm_silu_backward<double>) group_norm_silu_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
