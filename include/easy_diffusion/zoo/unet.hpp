/// \file
/// The small U-Nets by their architecture names, with their settings from and to JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/nn/models/unet.hpp"

namespace easy_diffusion::zoo {

/// Everything that makes a score network, as it is written beside its weights:
/// `{"architecture": "UNet", "channels": [32, 64, 128, 256], "embed_dim": 256, "picture_channels": 1, "sigma": 25}`.
struct ScoreModelConfig {
  std::string architecture = "UNet";  ///< or "UNet_res"
  std::vector<std::int64_t> channels{32, 64, 128, 256};
  std::int64_t embed_dim = 256;
  std::int64_t picture_channels = 1;
  double sigma = 25;  ///< of the variance-exploding process it is trained for

  /// \param marginal_std of that process, by which the output is divided
  /// \throw ValueError for an architecture that is not known, naming those that are
  [[nodiscard]] nn::UNetConfig network(std::function<double(double)> marginal_std) const {
    nn::UNetConfig config;
    if (architecture == "UNet")
      config = nn::UNetConfig::unet(std::move(marginal_std));
    else if (architecture == "UNet_res")
      config = nn::UNetConfig::unet_res(std::move(marginal_std));
    else
      throw ValueError("architecture: expected UNet or UNet_res, got \"" + architecture + "\"");
    config.channels = channels;
    config.embed_dim = embed_dim;
    config.picture_channels = picture_channels;
    return config;
  }

  [[nodiscard]] nlohmann::json to_json() const {
    return {{"architecture", architecture},
            {"channels", channels},
            {"embed_dim", embed_dim},
            {"picture_channels", picture_channels},
            {"sigma", sigma}};
  }

  /// Keys that are left out keep their defaults, except the architecture.
  /// \throw FormatError naming a key that is missing, unknown or of another type
  static ScoreModelConfig from_json(const nlohmann::json& json) {
    ScoreModelConfig config;
    if (!json.is_object() || !json.contains("architecture"))
      throw FormatError("model settings: expected an object with the key \"architecture\", got " + json.dump());
    for (const auto& [key, value] : json.items()) {
      try {
        if (key == "architecture")
          config.architecture = value.get<std::string>();
        else if (key == "channels")
          config.channels = extents(key, value);
        else if (key == "embed_dim")
          config.embed_dim = extent(key, value);
        else if (key == "picture_channels")
          config.picture_channels = extent(key, value);
        else if (key == "sigma")
          config.sigma = value.get<double>();
        else
          throw FormatError("model settings: unknown key \"" + key + "\"");
      } catch (const nlohmann::json::exception&) {
        throw FormatError("model settings: \"" + key + "\" cannot be " + value.dump());
      }
    }
    return config;
  }

 private:
  static std::int64_t extent(const std::string& key, const nlohmann::json& value) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 1 || value.get<std::int64_t>() > 65536)
      throw FormatError("model settings: \"" + key + "\": expected a whole number from 1 to 65536, got " + value.dump());
    return value.get<std::int64_t>();
  }
  static std::vector<std::int64_t> extents(const std::string& key, const nlohmann::json& value) {
    if (!value.is_array()) throw FormatError("model settings: \"" + key + "\": expected a list, got " + value.dump());
    std::vector<std::int64_t> result;
    for (const auto& item : value) result.push_back(extent(key, item));
    return result;
  }
};

}  // namespace easy_diffusion::zoo
