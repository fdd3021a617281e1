/// \file
/// Small settings for each of the zoo's architectures.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "easy_diffusion/zoo/model.hpp"

namespace easy_diffusion::test {

/// An instance with a few channels, whatever else its class has by default.
inline nlohmann::json small_settings(const std::string& architecture) {
  nlohmann::json settings = {{"architecture", architecture}};
  if (architecture == "UNet" || architecture == "UNet_res") {
    settings["channels"] = {4, 32, 32, 32};
    settings["embed_dim"] = 8;
  }
  return settings;
}

}  // namespace easy_diffusion::test
