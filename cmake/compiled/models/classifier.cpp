// The classifier, compiled once; see unet.cpp.

#include "easy_diffusion/nn/models/classifier.hpp"

namespace easy_diffusion::nn {
template class Classifier<float>;
}  // namespace easy_diffusion::nn
