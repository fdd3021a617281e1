// A named view of a temporary, made by `view()`: clang sees it. As an argument a temporary may be viewed.

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
#if defined(MUST_NOT_COMPILE) && defined(__clang__)
#pragma clang diagnostic error "-Wdangling"
  const TensorView<const float> dangling = result().view();
  return dangling[0];
#endif
  return first(result().view());
}
