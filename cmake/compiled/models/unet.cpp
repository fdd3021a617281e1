// The small U-Nets, compiled once: headers declare these instantiations `extern` where EASY_DIFFUSION_EXTERN_TEMPLATES is
// defined.

#include "easy_diffusion/nn/models/unet.hpp"

namespace easy_diffusion::nn {
template class UNet<float>;
template class UNet<double>;
}  // namespace easy_diffusion::nn
