/// \file
/// What every layer goes through: gradients at every entry, and the promises about contexts.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

inline Tensor<double> random(const Shape& shape, std::uint32_t number) { return random_tensor<double>(shape, number); }

/// `a` and `b` are inputs of different batch sizes.
template <class Layer, std::size_t N>
void check_layer(const std::string& name, Layer layer, Inputs<N> a, Inputs<N> b) {
  randomise(layer);
  const GradientReport report = check_gradients(layer, a);
  INFO(name << ": " << report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(layer, a, b)) FAIL_CHECK(name << ": " << promise);
}

template <class Layer>
void check_on_pictures(const std::string& name, const Layer& layer, const Shape& sample) {
  check_layer(name, layer, Inputs<1>{random(sample.with_front(2), 1)}, Inputs<1>{random(sample.with_front(1), 2)});
}

}  // namespace easy_diffusion::test
