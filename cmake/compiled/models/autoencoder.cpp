// The autoencoders, compiled once; see unet.cpp.

#include "easy_diffusion/latent/autoencoder_kl.hpp"
#include "easy_diffusion/latent/simple_autoencoder.hpp"

namespace easy_diffusion::latent {
template class AutoEncoderKL<float>;
template class AutoEncoderKL<double>;
template class SimpleAutoEncoder<float>;
template class SimpleAutoEncoder<double>;
}  // namespace easy_diffusion::latent
