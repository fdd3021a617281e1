// A view must not be made of a tensor that is gone in the next line; as an argument a temporary may be viewed.

#include "easy_diffusion/core/tensor.hpp"

namespace {

using easy_diffusion::Shape;
using easy_diffusion::Tensor;
using easy_diffusion::TensorView;

Tensor<float> result() { return Tensor<float>(Shape{3}); }
float first(TensorView<const float> view) { return view[0]; }

}  // namespace

float use();
float use() {
  const Tensor<float> kept = result();
  const TensorView<const float> view = kept;
#ifdef MUST_NOT_COMPILE
  const TensorView<const float> dangling = result();
  return dangling[0];
#endif
  return first(view) + first(kept) + first(result().view());
}
