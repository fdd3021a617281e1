/// \file
/// Compares layers with the cases of a golden file: outputs and all gradients.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

namespace easy_diffusion::test {

template <class T>
inline constexpr double agreement = sizeof(T) == 4 ? 1e-5 : 1e-12;

template <class T>
void list(std::vector<Tensor<T>>& out, Tensor<T> gradient) {
  out.push_back(std::move(gradient));
}
template <class T, class Gradients>
void list(std::vector<Tensor<T>>& out, Gradients gradients) {
  auto& [first, second] = gradients;
  out.push_back(std::move(first));
  out.push_back(std::move(second));
}

/// Runs `layer` on the case's inputs of those names and compares everything with PyTorch.
template <class T, class Layer, std::size_t N>
void compare(const io::SafetensorsFile& file, const std::string& name, Layer& layer,
             const std::array<std::string, N>& inputs) {
  const GoldenCase<T> golden(file, name);
  nn::load_state_dict(layer, golden.parameters());
  typename Layer::Context ctx;
  Agreement result;
  const Tensor<T> y = [&]<std::size_t... i>(std::index_sequence<i...>) {
    return layer.forward(golden(inputs[i])..., &ctx);
  }
  (std::make_index_sequence<N>());
  result.compare("y", y, golden.want("y"));
  std::vector<Tensor<T>> gradients;
  list(gradients, layer.backward(golden("w"), ctx));
  for (std::size_t i = 0; i < gradients.size(); ++i)
    result.compare("grad." + inputs[i], gradients[i], golden.want("grad." + inputs[i]));
  golden.compare_gradients(result, layer);
  INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
  CHECK(result.worst() <= agreement<T>);
}

/// For each case of that kind, `make(case)` gives the layer.
template <class T, std::size_t N, class Make>
void compare_all(const io::SafetensorsFile& file, const std::string& kind, std::size_t at_least,
                 const std::array<std::string, N>& inputs, Make&& make) {
  const auto names = cases_of(file, kind + "_");
  CHECK(names.size() >= at_least);
  for (const std::string& name : names) {
    auto layer = make(GoldenCase<T>(file, name));
    compare<T>(file, name, layer, inputs);
  }
}

}  // namespace easy_diffusion::test
