/// \file
/// Numbers drawn by name, the same here and in tests/golden/make_resnet_golden.py: parameters and inputs that golden
/// files need not hold. Everything is drawn in PyTorch's layouts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/golden.hpp"

namespace easy_diffusion::test {

/// Uniform in [-1, 1), 20 bits.
template <class T>
Tensor<T> drawn(const std::string& name, const Shape& shape) {
  std::uint64_t key = 0xCBF29CE484222325U;
  for (const char c : name) key = (key ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  auto result = Tensor<T>::uninitialized(shape);
  for (std::int64_t i = 0; i < result.size(); ++i) {
    std::uint64_t z = key + static_cast<std::uint64_t>(i + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    result[i] = static_cast<T>(std::ldexp(static_cast<double>(z >> 44), -19) - 1);
  }
  return result;
}

/// An input of a golden case, channels last.
template <class T>
Tensor<T> drawn_input(const std::string& name, const Shape& pytorch) {
  Tensor<T> x = drawn<T>(name, pytorch);
  for (T& value : x) value *= T(2);
  return channels_last(x);
}

/// The weight w of sum(w * output), for a result of that shape (channels last where it is a picture).
template <class T>
Tensor<T> drawn_weight(const std::string& name, const Shape& s) {
  return channels_last(drawn<T>(name + "/w", s.rank() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s));
}

/// Sets everything the model holds.
template <class Model>
void draw_state(Model& model) {
  nn::for_each_parameter(model, [](const std::string& name, auto& parameter, const nn::Entry& entry) {
    using T = typename std::remove_reference_t<decltype(parameter.value)>::value_type;
    const Shape shape = nn::pytorch_shape(parameter.value.shape(), entry.layout);
    Tensor<T> value = drawn<T>(name, shape);
    const std::string last = name.substr(name.rfind('.') + 1);
    if (last == "num_batches_tracked") {
      value.fill(T(3));
    } else if (shape.rank() > 1) {
      const double fan = static_cast<double>(std::max<std::int64_t>(1, shape.numel() / shape[0]));
      for (T& v : value) v *= static_cast<T>(std::exp2(-std::floor(0.5 * std::log2(fan) - 0.5)));
    } else if (last != "W") {
      for (T& v : value) v = v * T(0.5) + (last == "weight" || last == "running_var" ? T(1) : T(0));
    }
    parameter.value = nn::from_pytorch(value, entry.layout, parameter.value.shape());
  });
}

/// Three weighted sums of each trained parameter's gradient against PyTorch's.
template <class T, class Model>
void compare_sums(Agreement& agreement, const GoldenCase<T>& golden, Model& model) {
  const Tensor<double> want = golden.want("sums");
  std::int64_t row = 0;
  nn::for_each_trained(model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
    const Tensor<T> gradient = nn::to_pytorch(parameter.grad, entry.layout);
    Tensor<double> got(Shape{3}), wanted(Shape{3});
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto weight = drawn<double>(name + "#" + std::to_string(i), gradient.shape());
      for (std::int64_t k = 0; k < weight.size(); ++k) got[i] += weight[k] * static_cast<double>(gradient[k]);
      wanted[i] = 3 * row + i < want.size() ? want[3 * row + i] : std::nan("");
    }
    ++row;
    agreement.compare("grad." + name, got, wanted);
  });
  agreement.compare("number of gradients", Tensor<double>(Shape{1}, {static_cast<double>(row)}),
                    Tensor<double>(Shape{1}, {static_cast<double>(want.extent(0))}));
}

}  // namespace easy_diffusion::test
