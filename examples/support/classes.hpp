/// \file
/// Classes on the command line and in print.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "support/options.hpp"

namespace easy_diffusion::examples {

/// Classes of which the model has seen no picture, as the checkpoint remembers them.
inline std::vector<std::int64_t> unseen_classes(const nlohmann::json& training_settings) {
  std::vector<std::int64_t> unseen;
  if (training_settings.contains("unseen_classes") && training_settings["unseen_classes"].is_array())
    for (const auto& number : training_settings["unseen_classes"])
      if (number.is_number_integer()) unseen.push_back(number.get<std::int64_t>());
  return unseen;
}

/// "all" that the model has seen, or numbers with commas between. \throw ValueError naming the option
inline std::vector<std::int64_t> read_classes(const std::string& option, const std::string& text, std::int64_t classes,
                                              const std::vector<std::int64_t>& unseen) {
  const auto is_unseen = [&](std::int64_t c) { return std::find(unseen.begin(), unseen.end(), c) != unseen.end(); };
  std::vector<std::int64_t> result;
  if (text == "all") {
    for (std::int64_t c = 0; c < classes; ++c)
      if (!is_unseen(c)) result.push_back(c);
    if (result.empty()) throw ValueError(option + ": the model has seen pictures of no class");
    return result;
  }
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    std::int64_t number = -1;
    if (!detail::read_number(text.substr(at, comma - at), number) || number < 0 || number >= classes ||
        std::find(result.begin(), result.end(), number) != result.end())
      throw ValueError(option + ": expected all, or different numbers from 0 to " + std::to_string(classes - 1) +
                       " with commas between, got '" + text + "'");
    if (is_unseen(number))
      throw ValueError(option + ": the model has never seen a picture of class " + std::to_string(number));
    result.push_back(number);
    at = comma + 1;
  }
  return result;
}

/// The size of the pictures that a model was trained on, height and width; nothing where the checkpoint does not remember it.
inline std::optional<std::array<std::int64_t, 2>> trained_size(const nlohmann::json& training_settings) {
  const auto picture = training_settings.find("picture");
  if (picture == training_settings.end() || !picture->is_array() || picture->size() != 3) return std::nullopt;
  for (const auto& extent : *picture)
    if (!extent.is_number_integer() || extent.get<std::int64_t>() < 1 || extent.get<std::int64_t>() > 65536)
      return std::nullopt;
  return std::array{(*picture)[0].get<std::int64_t>(), (*picture)[1].get<std::int64_t>()};
}

/// What the data set called its classes, as the checkpoint remembers it; or nothing.
inline std::vector<std::string> class_names(const nlohmann::json& training_settings) {
  std::vector<std::string> names;
  if (training_settings.contains("class_names") && training_settings["class_names"].is_array())
    for (const auto& name : training_settings["class_names"])
      if (name.is_string()) names.push_back(name.get<std::string>());
  return names;
}

/// Its name, or where it has none its number.
inline std::string class_name(const std::vector<std::string>& names, std::int64_t number) {
  const auto i = static_cast<std::size_t>(number);
  return i < names.size() ? names[i] : std::to_string(number);
}

/// The vectors that stand for classes, [classes, width]. \throw ValueError where the model has none
inline Tensor<float> class_table(const zoo::Model<float>& model) {
  Tensor<float> table;
  nn::for_each_parameter(model, [&](const std::string& name, const nn::Parameter<float>& parameter, const nn::Entry&) {
    if (name == "cond_embed.weight") table = parameter.value;
  });
  if (table.empty()) throw ValueError("the model has no table of classes");
  return table;
}

}  // namespace easy_diffusion::examples
