/// \file
/// Gradient-norm clipping.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

/// Euclidean norm over the gradients of all trained parameters. Summed in double over a fixed partition, so that it
/// does not depend on threads.
template <class Model>
[[nodiscard]] double gradient_norm(Model& model) {
  double total = 0;
  for_each_trained(model, [&](const std::string&, auto& parameter, const Entry&) {
    constexpr std::int64_t piece = 8192;
    const std::int64_t size = parameter.grad.size();
    const std::int64_t pieces = (size + piece - 1) / piece;
    Tensor<double> sums(Shape{pieces});
    parallel_for(0, pieces, 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        double sum = 0;
        for (std::int64_t i = k * piece; i < std::min(size, (k + 1) * piece); ++i) {
          const double g = static_cast<double>(parameter.grad[i]);
          sum += g * g;
        }
        sums[k] = sum;
      }
    });
    for (const double sum : sums) total += sum;
  });
  return std::sqrt(total);
}

/// Scales all gradients so that their norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_`.
/// \return the norm before
template <class Model>
double clip_gradient_norm(Model& model, double max_norm) {
  const double norm = gradient_norm(model);
  const double scale = max_norm / (norm + 1e-6);
  if (scale < 1) {
    for_each_trained(model, [&](const std::string&, auto& parameter, const Entry&) {
      for (auto& g : parameter.grad) g *= static_cast<std::remove_reference_t<decltype(g)>>(scale);
    });
  }
  return norm;
}

}  // namespace easy_diffusion::nn
