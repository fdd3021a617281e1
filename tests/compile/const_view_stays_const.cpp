// A view that only reads must not become one that writes.

#include "easy_diffusion/core/view.hpp"

void use(easy_diffusion::TensorView<float> view);
void use(easy_diffusion::TensorView<float> view) {
  const easy_diffusion::TensorView<const float> reads = view;
#ifdef MUST_NOT_COMPILE
  const easy_diffusion::TensorView<float> writes = reads;
  (void)writes;
#endif
  (void)reads;
}
