/// \file
/// Settings of a score or diffusion model that is about to be trained on pictures, perhaps with classes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/zoo/architectures.hpp"

namespace easy_diffusion::zoo {

/// The class that a short name stands for: unet, unet_res, unet_transformer. Others are returned as they are.
[[nodiscard]] inline std::string architecture_name(const std::string& name) {
  if (name == "unet") return "UNet";
  if (name == "unet_res") return "UNet_res";
  if (name == "unet_transformer") return "UNet_Tranformer";  // as the original spells it
  return name;
}

/// A network that is told the time, and of pictures with classes, where it is made for them, the class.
/// \param name     of an architecture, short or not
/// \param channels of the pictures
/// \param classes  of the pictures; 0: they have none
/// \param sigma    of the variance-exploding process \cite song_2021_score by whose deviation a score model divides its
///                 output; nothing: the output is the prediction as it is
/// \throw FormatError for an architecture that is not known; ValueError for one that cannot be such a model
[[nodiscard]] inline nlohmann::json timed_model_settings(const std::string& name, std::int64_t channels,
                                                         std::int64_t classes, std::optional<double> sigma) {
  nlohmann::json settings = {{"architecture", architecture_name(name)},
                             {"sigma", sigma ? nlohmann::json(*sigma) : nlohmann::json()}};
  static_cast<void>(architecture_of(settings));  // so that an unknown name is not called an unknown key
  const std::string architecture = settings["architecture"];
  if (architecture.ends_with("AutoEncoder") || architecture == "AutoEncoderKL")
    throw ValueError("architecture: expected a network that is told the time, got " + architecture);
  const auto condition = condition_of(read_settings(settings));
  if (condition.kind == nn::ConditionKind::sequence)
    throw ValueError("architecture: expected a network that is told a class or nothing, got " + architecture +
                     ", which is told a sequence of embeddings");
  const bool residual = architecture.find("ResBlock") != std::string::npos;
  if (condition.kind == nn::ConditionKind::classes) {
    if (classes < 1) throw ValueError("architecture: " + architecture + " needs pictures with classes");
    settings[residual ? "nclass" : "nClass"] = classes;
  }
  settings[residual                                           ? "in_channels"
           : architecture.find("_Arch") != std::string::npos ? "input_channels"
                                                              : "picture_channels"] = channels;
  return settings;
}

/// A score model of the variance-exploding process. \throw as `timed_model_settings`
[[nodiscard]] inline nlohmann::json score_model_settings(const std::string& name, std::int64_t channels,
                                                         std::int64_t classes, double sigma) {
  return timed_model_settings(name, channels, classes, sigma);
}

}  // namespace easy_diffusion::zoo
