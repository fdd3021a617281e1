// Operations, compiled once; see unet.cpp.

#include "easy_diffusion/ops/batch_norm.hpp"
#include "easy_diffusion/ops/dropout.hpp"
#include "easy_diffusion/ops/gelu.hpp"
#include "easy_diffusion/ops/group_norm.hpp"
#include "easy_diffusion/ops/group_norm_silu.hpp"
#include "easy_diffusion/ops/layer_norm.hpp"
#include "easy_diffusion/ops/resample.hpp"
#include "easy_diffusion/ops/sigmoid.hpp"
#include "easy_diffusion/ops/silu.hpp"
#include "easy_diffusion/ops/softmax.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA {
template decltype(batch_norm_statistics<float>) batch_norm_statistics<float>;
template decltype(batch_norm_statistics<double>) batch_norm_statistics<double>;
template decltype(batch_norm_forward<float>) batch_norm_forward<float>;
template decltype(batch_norm_forward<double>) batch_norm_forward<double>;
template decltype(batch_norm_backward<float>) batch_norm_backward<float>;
template decltype(batch_norm_backward<double>) batch_norm_backward<double>;
template decltype(dropout_forward<float>) dropout_forward<float>;
template decltype(dropout_forward<double>) dropout_forward<double>;
template decltype(dropout_backward<float>) dropout_backward<float>;
template decltype(dropout_backward<double>) dropout_backward<double>;
template decltype(gelu_forward<float>) gelu_forward<float>;
template decltype(gelu_forward<double>) gelu_forward<double>;
template decltype(gelu_backward<float>) gelu_backward<float>;
template decltype(gelu_backward<double>) gelu_backward<double>;
template decltype(group_norm_forward<float>) group_norm_forward<float>;
template decltype(group_norm_forward<double>) group_norm_forward<double>;
template decltype(group_norm_backward<float>) group_norm_backward<float>;
template decltype(group_norm_backward<double>) group_norm_backward<double>;
template decltype(group_norm_silu_forward<float>) group_norm_silu_forward<float>;
template decltype(group_norm_silu_forward<double>) group_norm_silu_forward<double>;
template decltype(group_norm_silu_backward<float>) group_norm_silu_backward<float>;
template decltype(group_norm_silu_backward<double>) group_norm_silu_backward<double>;
template decltype(layer_norm_forward<float>) layer_norm_forward<float>;
template decltype(layer_norm_forward<double>) layer_norm_forward<double>;
template decltype(layer_norm_backward<float>) layer_norm_backward<float>;
template decltype(layer_norm_backward<double>) layer_norm_backward<double>;
template decltype(resample_forward<float>) resample_forward<float>;
template decltype(resample_forward<double>) resample_forward<double>;
template decltype(resample_backward<float>) resample_backward<float>;
template decltype(resample_backward<double>) resample_backward<double>;
template decltype(sigmoid_forward<float>) sigmoid_forward<float>;
template decltype(sigmoid_forward<double>) sigmoid_forward<double>;
template decltype(sigmoid_backward<float>) sigmoid_backward<float>;
template decltype(sigmoid_backward<double>) sigmoid_backward<double>;
template decltype(silu_forward<float>) silu_forward<float>;
template decltype(silu_forward<double>) silu_forward<double>;
template decltype(silu_backward<float>) silu_backward<float>;
template decltype(silu_backward<double>) silu_backward<double>;
template decltype(softmax_forward<float>) softmax_forward<float>;
template decltype(softmax_forward<double>) softmax_forward<double>;
template decltype(softmax_backward<float>) softmax_backward<float>;
template decltype(softmax_backward<double>) softmax_backward<double>;
}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA
