/// \file
/// A model's parameters by PyTorch's names and in PyTorch's layouts: the one place where layouts are converted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

template <class T>
struct NamedTensor {
  std::string name;
  Tensor<T> value;
};

namespace detail {

/// out[b][a][taps] = in[taps][a][b]; with taps and one of a, b equal to 1 a plain transpose.
template <class T>
Tensor<T> reverse_axes(const Tensor<T>& in, std::int64_t taps, std::int64_t a, std::int64_t b, const Shape& shape) {
  Tensor<T> out = Tensor<T>::uninitialized(shape);
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t i = 0; i < a; ++i)
      for (std::int64_t j = 0; j < b; ++j) out[(j * a + i) * taps + t] = in[(t * a + i) * b + j];
  return out;
}

}  // namespace detail

/// Shape that PyTorch gives a tensor which is `shape` here.
[[nodiscard]] inline Shape pytorch_shape(const Shape& shape, Layout layout) {
  switch (layout) {
    case Layout::linear: return {shape[1], shape[0]};
    case Layout::convolution:
    case Layout::transposed_convolution: return {shape[3], shape[2], shape[0], shape[1]};
    case Layout::plain: break;
  }
  return shape;
}

/// A copy in PyTorch's layout.
template <class T>
[[nodiscard]] Tensor<T> to_pytorch(const Tensor<T>& value, Layout layout) {
  const Shape& s = value.shape();
  if (layout == Layout::plain) return value;
  if (layout == Layout::linear) return detail::reverse_axes(value, 1, s[0], s[1], pytorch_shape(s, layout));
  return detail::reverse_axes(value, s[0] * s[1], s[2], s[3], pytorch_shape(s, layout));
}

/// A copy in this library's layout. \param shape the shape here
/// \throw ShapeError unless `value` has the shape that PyTorch gives it
template <class T>
[[nodiscard]] Tensor<T> from_pytorch(const Tensor<T>& value, Layout layout, const Shape& shape) {
  expect_shape("state_dict", pytorch_shape(shape, layout), value.shape());
  if (layout == Layout::plain) return value;
  const std::int64_t a = shape[shape.rank() - 2];
  const std::int64_t b = shape.back();
  const std::int64_t taps = layout == Layout::linear ? 1 : shape[0] * shape[1];
  Tensor<T> out = Tensor<T>::uninitialized(shape);
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t i = 0; i < a; ++i)
      for (std::int64_t j = 0; j < b; ++j) out[(t * a + i) * b + j] = value[(j * a + i) * taps + t];
  return out;
}

/// Every entry of the model, named and laid out as PyTorch does.
template <class Model>
[[nodiscard]] auto state_dict(const Model& model) {
  using T = typename Model::value_type;
  std::vector<NamedTensor<T>> result;
  for_each_parameter(model, [&](const std::string& name, const Parameter<T>& parameter, const Entry& entry) {
    result.push_back({name, to_pytorch(parameter.value, entry.layout)});
  });
  return result;
}

/// Sets the model's entries from tensors named and laid out as PyTorch does. All or nothing.
/// \throw FormatError that lists every missing, unexpected and misshapen tensor
template <class Model, class T>
void load_state_dict(Model& model, const std::map<std::string, Tensor<T>>& source) {
  std::string missing;
  std::string misshapen;
  std::map<std::string, bool> known;
  const auto append = [](std::string& list, const std::string& text) { list += (list.empty() ? "" : ", ") + text; };
  for_each_parameter(model, [&](const std::string& name, const Parameter<T>& parameter, const Entry& entry) {
    known[name] = true;
    const auto found = source.find(name);
    const Shape expected = pytorch_shape(parameter.value.shape(), entry.layout);
    if (found == source.end())
      append(missing, name);
    else if (!(found->second.shape() == expected))
      append(misshapen,
             name + " (expected " + expected.to_string() + ", got " + found->second.shape().to_string() + ")");
  });
  std::string unexpected;
  for (const auto& [name, value] : source)
    if (!known.contains(name)) append(unexpected, name);
  std::string problems;
  if (!missing.empty()) problems += "; missing: " + missing;
  if (!unexpected.empty()) problems += "; unexpected: " + unexpected;
  if (!misshapen.empty()) problems += "; wrong shape: " + misshapen;
  if (!problems.empty()) throw FormatError("state_dict does not fit the model" + problems);
  for_each_parameter(model, [&](const std::string& name, Parameter<T>& parameter, const Entry& entry) {
    parameter.release();
    parameter.value = from_pytorch(source.at(name), entry.layout, parameter.value.shape());
  });
}

}  // namespace easy_diffusion::nn
