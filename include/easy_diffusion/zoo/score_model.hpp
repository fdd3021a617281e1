/// \file
/// Settings of a score or diffusion model that is about to be trained on pictures, perhaps with classes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/zoo/architectures.hpp"

namespace easy_diffusion::zoo {

/// The class that a short name stands for: unet, unet_res, unet_transformer. Others are returned as they are.
[[nodiscard]] inline std::string architecture_name(const std::string& name) {
  if (name == "unet") return "UNet";
  if (name == "unet_res") return "UNet_res";
  if (name == "unet_transformer") return "UNet_Tranformer";  // as the original spells it
  return name;
}

/// Whether a network is told the class of each picture.
enum class Told { class_if_it_can, nothing };

/// A network that is told the time and, where it is made for that, the class of each picture.
/// \param name     of an architecture, short or not
/// \param channels of the pictures
/// \param classes  of the pictures; 0: they have none
/// \param sigma    of the variance-exploding process \cite song_2021_score by whose deviation a score model divides its
///                 output; nothing: the output is the prediction as it is
/// \param told     nothing: a network that is made for a condition looks at the picture alone
/// \throw FormatError for an architecture that is not known; ValueError for one that cannot be such a model
[[nodiscard]] inline nlohmann::json timed_model_settings(const std::string& name, std::int64_t channels,
                                                         std::int64_t classes, std::optional<double> sigma,
                                                         Told told = Told::class_if_it_can) {
  nlohmann::json settings = {{"architecture", architecture_name(name)},
                             {"sigma", sigma ? nlohmann::json(*sigma) : nlohmann::json()}};
  static_cast<void>(architecture_of(settings));  // so that an unknown name is not called an unknown key
  const std::string architecture = settings["architecture"];
  if (architecture.ends_with("AutoEncoder") || architecture == "AutoEncoderKL")
    throw ValueError("architecture: expected a network that is told the time, got " + architecture);
  const bool residual = architecture.find("ResBlock") != std::string::npos;
  if (told == Told::nothing && condition_of(read_settings(settings)).kind != nn::ConditionKind::none)
    settings[residual ? "context_dim" : "text_dim"] = nullptr;
  const auto condition = condition_of(read_settings(settings));
  if (condition.kind == nn::ConditionKind::sequence)
    throw ValueError("architecture: expected a network that is told a class or nothing, got " + architecture +
                     ", which is told a sequence of embeddings");
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

/// The process of a score model. \throw FormatError for settings of another kind of model
[[nodiscard]] inline sde::VarianceExploding score_process(const nlohmann::json& settings) {
  if (settings.contains("diffusion")) throw FormatError("expected a score model, got a diffusion model");
  if (!takes_time(read_settings(settings))) throw FormatError("expected a score model, got a network that is told no time");
  const auto sigma = settings.find("sigma");
  if (sigma != settings.end() && sigma->is_null()) throw FormatError("expected a score model with a sigma, got null");
  return sde::VarianceExploding(sigma == settings.end() ? 25.0 : sigma->get<double>());
}

}  // namespace easy_diffusion::zoo
