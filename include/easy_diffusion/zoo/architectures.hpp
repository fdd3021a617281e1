/// \file
/// The networks by the names of the original's classes, made with those classes' keyword arguments: what a config.json
/// holds, `{"architecture": "UNet", "channels": [32, 64, 128, 256], "embed_dim": 256, "sigma": 25.0}`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/zoo/keywords.hpp"

namespace easy_diffusion::zoo {

/// Settings of any network.
using NetworkConfig = std::variant<nn::UNetConfig>;

/// A class of the original.
struct Architecture {
  std::string_view name;
  NetworkConfig (*read)(Keywords&);  ///< from the class's keyword arguments
};

namespace detail {

/// `sigma` stands for the original's function argument: the output is divided by the deviation of that process; null: it
/// is not divided.
inline std::function<double(double)> read_marginal_std(Keywords& keywords, std::optional<double> otherwise) {
  const auto sigma = keywords.number_or_null("sigma", otherwise, 1.01, 1e4);
  if (!sigma) return {};
  return [process = sde::VarianceExploding(*sigma)](double t) { return process.marginal_std(t); };
}

/// The original always has one channel; `picture_channels` is this library's.
inline NetworkConfig read_unet(Keywords& keywords, nn::Skip skip) {
  nn::UNetConfig config;
  config.skip = skip;
  config.channels = keywords.wholes("channels", config.channels);
  config.embed_dim = keywords.whole("embed_dim", config.embed_dim);
  config.picture_channels = keywords.whole("picture_channels", 1);
  config.marginal_std = read_marginal_std(keywords, 25);
  return config;
}

}  // namespace detail

/// In the order of the original's files.
[[nodiscard]] inline const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> all = {
      {"UNet", [](Keywords& k) { return detail::read_unet(k, nn::Skip::concatenate); }},
      {"UNet_res", [](Keywords& k) { return detail::read_unet(k, nn::Skip::add); }},
  };
  return all;
}

/// The key "architecture" of settings. \throw FormatError where it is missing or no known class, naming those that are
[[nodiscard]] inline const Architecture& architecture_of(const nlohmann::json& settings) {
  std::string known;
  for (const Architecture& each : architectures()) known += (known.empty() ? "" : ", ") + std::string(each.name);
  if (!settings.is_object() || !settings.contains("architecture"))
    throw FormatError("model settings: expected an object with the key \"architecture\", one of " + known);
  const nlohmann::json& name = settings["architecture"];
  for (const Architecture& each : architectures())
    if (name.is_string() && name.get<std::string>() == each.name) return each;
  throw FormatError("architecture: expected one of " + known + ", got " +
                    name.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

/// \param settings "architecture" and its keyword arguments
/// \throw FormatError naming the architecture, and the key that is unknown or has another type, with what is allowed
[[nodiscard]] inline NetworkConfig read_settings(const nlohmann::json& settings) {
  const Architecture& architecture = architecture_of(settings);
  Keywords keywords(std::string(architecture.name), settings);
  keywords.unused("architecture");
  NetworkConfig config = architecture.read(keywords);
  keywords.finish();
  return config;
}

/// Channels of the pictures that the network takes and gives.
[[nodiscard]] inline std::int64_t picture_channels(const NetworkConfig& config) {
  return std::visit([](const auto& settings) { return settings.picture_channels; }, config);
}

/// The condition that a network takes.
[[nodiscard]] inline nn::ConditionConfig condition_of(const NetworkConfig& config) {
  return std::visit(
      [](const auto& settings) -> nn::ConditionConfig {
        if constexpr (requires { settings.condition; }) return settings.condition;
        return {};
      },
      config);
}

/// Whether the network is told a time.
[[nodiscard]] inline bool takes_time(const NetworkConfig& config) {
  return std::visit([](const auto& settings) { return requires { settings.embed_dim; }; }, config);
}

/// Height and width of a picture that suits the network.
[[nodiscard]] inline std::int64_t usual_size(const NetworkConfig& config) {
  return std::visit(
      [](const auto& settings) -> std::int64_t {
        if constexpr (requires { settings.resolution; }) return settings.resolution;
        if constexpr (requires { settings.halvings(); })
          return std::max<std::int64_t>(32, std::int64_t{1} << settings.halvings());
        return 28;
      },
      config);
}

/// Switches gradient checkpointing on or off. \return false where the network does not have it
inline bool set_checkpoints(NetworkConfig& config, bool on) {
  return std::visit(
      [on](auto& settings) {
        if constexpr (requires { settings.checkpoint = on; }) {
          settings.checkpoint = on;
          return true;
        } else {
          return false;
        }
      },
      config);
}

}  // namespace easy_diffusion::zoo
