// What a context keeps of its input must not become a tensor that writes.

#include "easy_diffusion/core/tensor.hpp"

float use(const easy_diffusion::Tensor<float>& x);
float use(const easy_diffusion::Tensor<float>& x) {
  const easy_diffusion::SharedTensor<float> kept = x.shared();
#ifdef MUST_NOT_COMPILE
  easy_diffusion::Tensor<float> writes = x.shared();
  writes[0] = 1;
#endif
  return kept[0];
}
