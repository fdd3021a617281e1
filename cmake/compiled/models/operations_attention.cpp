// Operations, compiled once; see unet.cpp.

#include "easy_diffusion/ops/attention.hpp"
#include "easy_diffusion/ops/linear_attention.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {
template decltype(attention_forward<float>) attention_forward<float>;
template decltype(attention_forward<double>) attention_forward<double>;
template decltype(attention_backward<float>) attention_backward<float>;
template decltype(attention_backward<double>) attention_backward<double>;
template decltype(linear_attention_forward<float>) linear_attention_forward<float>;
template decltype(linear_attention_forward<double>) linear_attention_forward<double>;
template decltype(linear_attention_backward<float>) linear_attention_backward<float>;
template decltype(linear_attention_backward<double>) linear_attention_backward<double>;
}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
