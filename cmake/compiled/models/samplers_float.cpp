// The samplers by name, compiled once; see unet.cpp.

#include "easy_diffusion/diffusion/samplers/registry.hpp"

namespace easy_diffusion::diffusion {
template AnySampler<Tensor<float>> make_sampler(std::string_view, const SamplerOptions&);
}  // namespace easy_diffusion::diffusion
