/// \file
/// Gradients as a whole: their norm, scaling, clipping.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

/// Euclidean norm over the gradients of all trained parameters. Summed in double over a fixed partition, so that it
/// does not depend on threads.
template <class Model>
[[nodiscard]] double gradient_norm(Model& model) {
  double total = 0;
  for_each_trained(model, [&](const Name&, auto& parameter, const Entry&) {
    constexpr std::int64_t piece = 8192;
    const std::int64_t size = parameter.grad.size();
    const std::int64_t pieces = (size + piece - 1) / piece;
    Tensor<double> sums(Shape{pieces});
    parallel_for(0, pieces, 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t k = first; k < last; ++k) {
        // Sums side by side, as many on every machine: one alone would wait for itself at each addition.
        constexpr std::int64_t lanes = 32;
        double sum[lanes] = {};
        const auto* const g = parameter.grad.data() + k * piece;
        const std::int64_t count = std::min(piece, size - k * piece);
        std::int64_t i = 0;
        for (; i + lanes <= count; i += lanes)
          for (std::int64_t j = 0; j < lanes; ++j)
            sum[j] += static_cast<double>(g[i + j]) * static_cast<double>(g[i + j]);
        for (std::int64_t j = 0; i < count; ++i, ++j) sum[j] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
        sums[k] = 0;
        for (const double part : sum) sums[k] += part;
      }
    });
    for (const double sum : sums) total += sum;
  });
  return std::sqrt(total);
}

/// All gradients times a number.
template <class Model>
void scale_gradients(Model& model, double scale) {
  for_each_trained(model, [&](const Name&, auto& parameter, const Entry&) {
    auto* const g = parameter.grad.data();
    const auto factor = static_cast<std::remove_reference_t<decltype(*g)>>(scale);
    parallel_for(0, parameter.grad.size(), 16384, [=](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) g[i] *= factor;
    });
  });
}

/// Scales all gradients so that their norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_`.
/// \return the norm before
template <class Model>
double clip_gradient_norm(Model& model, double max_norm) {
  const double norm = gradient_norm(model);
  const double scale = max_norm / (norm + 1e-6);
  if (scale < 1) scale_gradients(model, scale);
  return norm;
}

}  // namespace easy_diffusion::nn
