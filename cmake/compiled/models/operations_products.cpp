// Operations, compiled once; see unet.cpp.

#include "easy_diffusion/ops/conv2d.hpp"
#include "easy_diffusion/ops/conv_transpose2d.hpp"
#include "easy_diffusion/ops/linear.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {
template decltype(conv2d_forward<float>) conv2d_forward<float>;
template decltype(conv2d_forward<double>) conv2d_forward<double>;
template decltype(conv2d_backward<float>) conv2d_backward<float>;
template decltype(conv2d_backward<double>) conv2d_backward<double>;
template decltype(conv_transpose2d_forward<float>) conv_transpose2d_forward<float>;
template decltype(conv_transpose2d_forward<double>) conv_transpose2d_forward<double>;
template decltype(conv_transpose2d_backward<float>) conv_transpose2d_backward<float>;
template decltype(conv_transpose2d_backward<double>) conv_transpose2d_backward<double>;
template decltype(linear_forward<float>) linear_forward<float>;
template decltype(linear_forward<double>) linear_forward<double>;
template decltype(linear_backward<float>) linear_backward<float>;
template decltype(linear_backward<double>) linear_backward<double>;
}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
