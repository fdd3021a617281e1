/// \file
/// The derivative of an objective along a random direction over all parameters: by backward and by differences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

struct Derivatives {
  double analytic = 0, numeric = 0;
};

/// \param loss `loss()` of the model as it is; the gradients in the model are those of this loss
template <class Model, class Loss>
Derivatives directional_derivatives(Model& model, const Loss& loss) {
  Derivatives result;
  std::vector<Tensor<double>> direction;
  nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
    direction.push_back(
        random_tensor<double>(parameter.value.shape(), static_cast<std::uint32_t>(direction.size() + 1)));
    for (std::int64_t i = 0; i < parameter.value.size(); ++i)
      result.analytic += direction.back()[i] * parameter.grad[i];
  });
  const auto shift = [&](double h) {
    std::size_t k = 0;
    nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
      for (std::int64_t i = 0; i < parameter.value.size(); ++i) parameter.value[i] += h * direction[k][i];
      ++k;
    });
  };
  const auto at = [&](double h) {
    shift(h);
    const double value = loss();
    shift(-h);
    return value;
  };
  constexpr double h = 1e-5;
  result.numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  return result;
}

}  // namespace easy_diffusion::test
