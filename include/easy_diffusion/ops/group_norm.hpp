/// \file
/// Group normalisation over channels-last pictures.
#pragma once

#include <cstdint>
#include <type_traits>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/ops/detail/group_norm.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {

/// Group normalisation \cite wu_2018_groupnorm: each sample's channels are cut into groups, and each group is brought
/// to mean 0 and variance 1 (biased) over its channels and pixels; then y = x_hat gamma + beta.
/// \param x          [N, H, W, C] or [N, ..., C]
/// \param gamma,beta [C]
/// \param groups     divides C
/// \param epsilon    added to the variance
/// \param[out] y         the shape of x; may be x itself
/// \param[out] mean,rstd [N, groups], saved for backward
/// \throw ShapeError naming what does not fit
template <class T>
void group_norm_forward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                        TensorView<const std::type_identity_t<T>> beta, std::int64_t groups, T epsilon,
                        TensorView<std::type_identity_t<T>> y, TensorView<std::type_identity_t<T>> mean,
                        TensorView<std::type_identity_t<T>> rstd) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  g.check_forward(x, gamma, beta, y, mean, rstd);
  detail::group_norm_forward<detail::NoActivation, T>(g, x.data(), nullptr, gamma.data(), beta.data(), epsilon,
                                                      y.data(), mean.data(), rstd.data());
}

/// With x_hat = (x - mean) rstd and averages over the group's elements:
/// dx = rstd (gamma dy - mean(gamma dy) - x_hat mean(gamma dy x_hat)).
/// \param x,gamma,mean,rstd as in forward
/// \param dy                the shape of x
/// \param[out] dx           the shape of x, written; may be dy itself; empty to leave it out
/// \param[out] dgamma,dbeta [C], added to; empty to leave them out
/// \throw ShapeError where a shape does not match forward's
template <class T>
void group_norm_backward(TensorView<const T> x, TensorView<const std::type_identity_t<T>> gamma,
                         TensorView<const std::type_identity_t<T>> mean, TensorView<const std::type_identity_t<T>> rstd,
                         TensorView<const std::type_identity_t<T>> dy, std::int64_t groups,
                         TensorView<std::type_identity_t<T>> dx, TensorView<std::type_identity_t<T>> dgamma,
                         TensorView<std::type_identity_t<T>> dbeta) {
  const detail::GroupNormGeometry g(x.shape(), groups);
  g.check_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta);
  detail::ParameterSums<T> sums(g);
  detail::group_norm_backward<detail::NoActivation, false, T>(g, x.data(), nullptr, gamma.data(), nullptr, mean.data(),
                                                              rstd.data(), dy.data(), dx.data(), nullptr, sums);
  sums.add_to(g, dgamma, dbeta);
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template decltype(group_norm_forward<float>) group_norm_forward<float>;
extern template decltype(group_norm_forward<double>) group_norm_forward<double>;
extern template decltype(group_norm_backward<float>) group_norm_backward<float>;
extern template decltype(group_norm_backward<double>) group_norm_backward<double>;
#endif

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
