// The type that stands for any of the networks, compiled once; see unet.cpp.

#include "easy_diffusion/zoo/model.hpp"

namespace easy_diffusion::zoo {
template class Model<float>;
template class Model<double>;
}  // namespace easy_diffusion::zoo
