/// \file
/// The original's own values that may lie beside a checkout: a network with the original's weights, run forward and
/// backward, against what the original got.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/paths.hpp"

namespace easy_diffusion::test {

template <class T>
using NamedTensors = std::map<std::string, Tensor<T>>;

/// \param run  `run(model, inputs, w, got)`: forward and backward of sum(w * output); puts "output", "grad_input.x" and
///             so on into `got`, pictures channels last
/// \param want the file with the original's results
template <class T, class Model, class Run>
Agreement compare_with_reference(const std::filesystem::path& folder, const std::string& want_file, Model model,
                                 const Run& run) {
  const auto inputs = io::SafetensorsFile::open(folder / "inputs.safetensors");
  const auto outputs = io::SafetensorsFile::open(folder / want_file);
  const auto weights = io::SafetensorsFile::open(folder / "weights.safetensors");
  NamedTensors<T> parameters, got;
  for (const std::string& name : weights.names()) parameters[name] = weights.read<T>(name);
  nn::load_state_dict(model, parameters);
  run(model, inputs, channels_last(inputs.read<T>("grad_output")), got);
  nn::for_each_trained(model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
    got["grad." + name] = nn::to_pytorch(parameter.grad, entry.layout);
  });
  Agreement result;
  for (const std::string& name : outputs.names()) {
    if (!got.contains(name)) FAIL_CHECK("the model has no " << name);
    // Parameter gradients are in PyTorch's layouts on both sides; pictures are not.
    auto want = outputs.read<double>(name);
    if (!name.starts_with("grad.")) want = channels_last(want);
    result.compare(name, got[name], want);
  }
  if (want_file == "outputs.safetensors") CHECK(result.count() == got.size());
  return result;
}

/// Both precisions, by the measure that goes with the values.
/// \param name  folder of the case in the reference material
/// \param model `model.template operator()<T>()` makes the network
/// \param run   as above, generic
template <class MakeModel, class Run>
void check_reference(const std::string& name, const MakeModel& model, const Run& run) {
  const auto folder = shared_data("reference/" + name);
  if (!folder) return;
  const Agreement in_float =
      compare_with_reference<float>(*folder, "outputs.safetensors", model.template operator()<float>(), run);
  INFO("float: " << in_float);
  CHECK(in_float.worst() <= 1e-3);
  const Agreement in_double =
      compare_with_reference<double>(*folder, "outputs_f64.safetensors", model.template operator()<double>(), run);
  INFO("double: " << in_double);
  CHECK(in_double.worst() <= 1e-8);
  if (std::getenv("EASY_DIFFUSION_TEST_VERBOSE") != nullptr)
    WARN("reference/" << name << ", float: " << in_float << "; double: " << in_double);
}

}  // namespace easy_diffusion::test
