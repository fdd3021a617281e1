// Compiled for this machine's processor; main.cpp is not.

#include <easy_diffusion/core/tensor.hpp>

float fast_sum(const easy_diffusion::Tensor<float>& x);

float fast_sum(const easy_diffusion::Tensor<float>& x) {
  float sum = 0.0f;
  for (const float value : x.view().span()) sum += value;
  return sum;
}
