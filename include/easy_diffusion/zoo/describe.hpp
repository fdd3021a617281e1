/// \file
/// What a model is made of and what it costs: layers, shapes, parameters, operations, memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/trace.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/model.hpp"

namespace easy_diffusion::zoo {

/// A layer with parameters, or an attention between its projections.
struct LayerRow {
  std::string name;             ///< what its parameters' names begin with
  std::string kind;             ///< "convolution" and the like; empty where the pass does not use it
  std::int64_t parameters = 0;  ///< numbers in its weight, bias and buffers
  Shape in, out;                ///< of its first call
  double operations = 0;        ///< multiplications and additions of its matrix products, over all calls
};

/// Bytes are those of float32, measured while the model ran.
struct Description {
  std::vector<LayerRow> layers;
  Shape input, output;
  std::int64_t trained = 0;     ///< parameters that training changes
  std::int64_t parameters = 0;  ///< and those that it does not
  double operations = 0;        ///< of one forward pass
  std::uint64_t weight_bytes = 0;
  std::uint64_t inference_bytes = 0;  ///< most that a forward pass holds at a time, beside the weights
  std::uint64_t kept_bytes = 0;       ///< activations that wait for backward
  std::optional<std::uint64_t> kept_with_checkpoints;  ///< the same where blocks keep their inputs alone
};

namespace detail {

/// Runs the model on zeros. \return bytes kept for backward
inline std::uint64_t kept_for_backward(const Model<float>& model, const Tensor<float>& x, const Tensor<float>& t,
                                       const nn::Condition<float>& condition) {
  const std::uint64_t before = allocator_stats().bytes_in_use;
  Model<float>::Context ctx;
  static_cast<void>(model.forward(x, t, condition, &ctx));
  return allocator_stats().bytes_in_use - before;
}

inline std::string layer_of(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(0, dot);
}

}  // namespace detail

/// Builds the model, with zeros for weights, and runs it.
/// \param pictures [N, H, W, C] \param condition as `Model::forward` takes it
/// \throw FormatError as `read_settings`; ShapeError, ValueError where the model cannot take that
[[nodiscard]] inline Description describe(const nlohmann::json& settings, const Shape& pictures,
                                          const nn::Condition<float>& condition) {
  NetworkConfig config = read_settings(settings);
  set_checkpoints(config, false);
  Description result;
  result.input = pictures;
  const std::uint64_t before = allocator_stats().bytes_in_use;
  const Model<float> model(config);
  result.weight_bytes = allocator_stats().bytes_in_use - before;
  // Gradients are made with the weights, and are as large.
  std::uint64_t gradients = 0;
  std::map<std::string, std::size_t> place;
  std::map<const void*, std::string> owner;
  nn::for_each_parameter(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    const std::string layer = detail::layer_of(name);
    if (place.try_emplace(layer, result.layers.size()).second) result.layers.push_back({layer, "", 0, {}, {}, 0});
    result.layers[place[layer]].parameters += parameter.value.size();
    owner.try_emplace(parameter.value.data(), layer);
    result.parameters += parameter.value.size();
    if (entry.kind == nn::Kind::parameter) result.trained += parameter.value.size();
    gradients += static_cast<std::uint64_t>(parameter.grad.size()) * sizeof(float);
  });
  result.weight_bytes -= std::min(gradients, result.weight_bytes);

  const Tensor<float> x(pictures);
  const Tensor<float> t = takes_time(config) ? Tensor<float>(Shape{pictures[0]}, 0.5F) : Tensor<float>();
  {
    reset_allocator_peak();
    const std::uint64_t held = allocator_stats().bytes_in_use;
    const nn::Trace trace;
    result.output = model.forward(x, t, condition).shape();
    result.inference_bytes = allocator_stats().bytes_peak - held;
    std::map<std::string, LayerRow> attention;  // behind the layer that makes its queries
    for (const nn::TracedCall& call : trace.calls()) {
      result.operations += call.operations;
      const auto found = owner.find(call.weight);
      if (found == owner.end()) continue;
      LayerRow* row = &result.layers[place[found->second]];
      if (call.kind.ends_with("attention")) {
        row = &attention[row->name];
        row->name = detail::layer_of(found->second);
      }
      row->operations += call.operations;
      if (!row->kind.empty()) continue;
      row->kind = call.kind;
      row->in = call.in;
      row->out = call.out;
    }
    for (std::size_t i = 0; i < result.layers.size(); ++i)
      if (const auto behind = attention.extract(result.layers[i].name); !behind.empty())
        result.layers.insert(result.layers.begin() + static_cast<std::ptrdiff_t>(i) + 1, behind.mapped());
  }
  result.kept_bytes = detail::kept_for_backward(model, x, t, condition);
  if (set_checkpoints(config, true))
    result.kept_with_checkpoints = detail::kept_for_backward(Model<float>(config), x, t, condition);
  return result;
}

}  // namespace easy_diffusion::zoo
