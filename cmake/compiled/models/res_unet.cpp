// The residual U-Nets, compiled once; see unet.cpp.

#include "easy_diffusion/nn/models/res_unet.hpp"

namespace easy_diffusion::nn {
template class ResUNet<float>;
template class ResUNet<double>;
}  // namespace easy_diffusion::nn
