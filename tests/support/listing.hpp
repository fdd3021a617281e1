/// \file
/// Names and shapes of everything a model holds, beside PyTorch's.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/paths.hpp"

namespace easy_diffusion::test {

/// "name shape" of every entry, in PyTorch's layouts and in the order of the visit.
template <class Model>
std::vector<std::string> listing(const Model& model) {
  std::vector<std::string> lines;
  nn::for_each_parameter(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    lines.push_back(name + " " + nn::pytorch_shape(parameter.value.shape(), entry.layout).to_string());
  });
  return lines;
}

/// The lines of tests/golden/<class>.state_dict.txt.
inline std::vector<std::string> golden_listing(const std::string& name) {
  std::ifstream file(test_data() / (name + ".state_dict.txt"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace easy_diffusion::test
