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
#include "easy_diffusion/io/json.hpp"
#include "easy_diffusion/latent/autoencoder_kl.hpp"
#include "easy_diffusion/latent/simple_autoencoder.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/nn/models/res_unet_config.hpp"
#include "easy_diffusion/nn/models/unet_config.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/zoo/keywords.hpp"

namespace easy_diffusion::zoo {

/// Settings of any network.
using NetworkConfig =
    std::variant<nn::UNetConfig, nn::ResUNetConfig, latent::SimpleAutoEncoderConfig, latent::AutoEncoderKLConfig>;

/// A class of the original.
struct Architecture {
  std::string_view name;
  NetworkConfig (*read)(Keywords&);  ///< from the class's keyword arguments
};

namespace detail {

/// Of a level. Settings from a file must not make a model of millions of layers.
inline constexpr std::int64_t most_blocks = 64;

/// `sigma` stands for the original's function argument: the output is divided by the deviation of that process; null: it
/// is not divided.
inline std::function<double(double)> read_marginal_std(Keywords& keywords, std::optional<double> otherwise) {
  const auto sigma = keywords.number_or_null("sigma", otherwise, 1.01, 1e4);
  if (!sigma) return {};
  return [process = sde::VarianceExploding(*sigma)](double t) { return process.marginal_std(t); };
}

/// What all small U-Nets take. `out_channels` and `picture_channels` are this library's: those of the original's classes
/// that have no argument for it always have one channel.
inline void read_small(Keywords& keywords, nn::UNetConfig& config, const char* picture_channels) {
  config.channels = keywords.wholes("channels", config.channels);
  config.embed_dim = keywords.whole("embed_dim", config.embed_dim);
  config.picture_channels = keywords.whole(picture_channels, 1);
  config.out_channels = keywords.whole("out_channels", config.picture_channels);
  config.marginal_std = read_marginal_std(keywords, 25);
}

inline NetworkConfig read_unet(Keywords& keywords, nn::UNetConfig config) {
  read_small(keywords, config, "picture_channels");
  return config;
}

/// A condition of that width, or none for null. \param inputs number of classes, or width of embeddings
inline nn::ConditionConfig read_condition(Keywords& keywords, const char* width, nn::ConditionConfig otherwise,
                                          const char* inputs) {
  const auto tokens = keywords.whole_or_null(width, otherwise.width);
  otherwise.inputs = keywords.whole(inputs, otherwise.inputs);
  if (!tokens) return {};
  otherwise.width = *tokens;
  return otherwise;
}

inline NetworkConfig read_unet_transformer(Keywords& keywords, nn::UNetConfig config) {
  read_small(keywords, config, config.padded ? "input_channels" : "picture_channels");
  config.condition = read_condition(keywords, "text_dim", config.condition,
                                    config.condition.kind == nn::ConditionKind::classes ? "nClass" : "text_embeding");
  config.heads = keywords.whole("num_heads", config.heads);
  if (config.padded) {
    const std::int64_t image_size = keywords.whole("image_size", 256);
    config.pool_ratio = keywords.whole("psp_ratio", config.pool_ratio);
    if (keywords.flag("use_psp", false)) {
      if (image_size < 8)
        throw FormatError(keywords.who() + ": \"image_size\": use_psp needs at least 8, got " +
                          std::to_string(image_size));
      config.pool_sizes = nn::UNetConfig::pool_sizes_of(image_size);
    }
  }
  return config;
}

/// What all residual U-Nets take. `checkpoint` and `out_channels` are this library's.
inline void read_residual(Keywords& keywords, nn::ResUNetConfig& config) {
  config.picture_channels = keywords.whole("in_channels", config.picture_channels);
  config.out_channels = keywords.whole("out_channels", config.picture_channels);
  config.model_channels = keywords.whole("model_channels", config.model_channels);
  config.embed_dim = keywords.whole("embed_dim", config.embed_dim);
  config.dropout = keywords.number("dropout", config.dropout, 0, 1);
  config.heads = keywords.whole("num_heads", config.heads);
  config.condition = read_condition(keywords, "context_dim", config.condition,
                                    config.condition.kind == nn::ConditionKind::classes ? "nclass" : "context_embeding");
  config.resample_blocks = keywords.flag("resblock_updown", false);
  config.resample_convolved = keywords.flag("conv_resample", true);
  config.checkpoint = keywords.flag("checkpoint", false);
  config.marginal_std = read_marginal_std(keywords, std::nullopt);
  keywords.only("dims", 2, "pictures have two dimensions");
  for (const char* key : {"image_size", "psp_ratio"}) keywords.unused(key);
}

inline NetworkConfig read_arch_res_block(Keywords& keywords, nn::ResUNetConfig config) {
  read_residual(keywords, config);
  config.channels = keywords.wholes("channels", config.channels);
  config.blocks = keywords.whole("res_num", config.blocks, most_blocks);
  for (const char* key : {"text_dim", "use_psp"}) keywords.unused(key);
  return config;
}

inline NetworkConfig read_res_block_arch(Keywords& keywords, nn::ResUNetConfig config) {
  read_residual(keywords, config);
  config.attention_resolutions = keywords.wholes("attention_resolutions", *config.attention_resolutions);
  config.channels = nn::ResUNetConfig::ratios(config.model_channels, keywords.wholes("channels_ratio", {1, 2, 3, 5}));
  config.blocks = keywords.whole("res_blocks", config.blocks, most_blocks);
  keywords.only("use_psp", false, "the original fails with it");
  keywords.only("use_spatial_transformer", true, "the original fails without it");
  return config;
}

inline NetworkConfig read_simple_autoencoder(Keywords& keywords) {
  latent::SimpleAutoEncoderConfig config;
  config.picture_channels = keywords.whole("in_channel", config.picture_channels);
  const auto channels = keywords.wholes("channels", {config.channels.begin(), config.channels.end()});
  if (channels.size() != config.channels.size())
    throw FormatError(keywords.who() + ": \"channels\": expected three numbers, got " + std::to_string(channels.size()));
  std::copy(channels.begin(), channels.end(), config.channels.begin());
  return config;
}

/// `ddconfig` stands for both of the original's, which must fit each other in any case. `halving` is this library's.
inline NetworkConfig read_autoencoder_kl(Keywords& keywords) {
  latent::AutoEncoderKLConfig config;
  config.embed_dim = keywords.whole("embed_dim", config.embed_dim);
  keywords.only("sample_posterior", false, "the most likely latent picture is decoded");
  Keywords coder = keywords.object("ddconfig");
  config.channels = coder.whole("ch", config.channels);
  config.out_channels = coder.whole("out_ch", config.out_channels);
  config.factors = coder.wholes("ch_mult", {1, 2, 4, 8});
  config.blocks = coder.whole("num_res_blocks", config.blocks, most_blocks);
  config.attention_resolutions = coder.wholes("attn_resolutions", config.attention_resolutions);
  config.dropout = coder.number("dropout", config.dropout, 0, 1);
  config.resample_convolved = coder.flag("resamp_with_conv", true);
  config.picture_channels = coder.whole("in_channels", config.picture_channels);
  config.resolution = coder.whole("resolution", config.resolution);
  config.latent_channels = coder.whole("z_channels", config.latent_channels);
  const std::string attention = coder.text("attn_type", "vanilla", {"vanilla", "linear", "none"});
  config.attention = coder.flag("use_linear_attn", false) || attention == "linear" ? latent::AttentionKind::linear
                     : attention == "vanilla"                                      ? latent::AttentionKind::vanilla
                                                                                   : latent::AttentionKind::none;
  coder.only("double_z", true, "the latent picture has a mean and a variance");
  coder.only("give_pre_end", false, "the result is a picture");
  coder.only("tanh_out", false, "the result is not squashed");
  coder.finish();
  config.checkpoint = keywords.flag("checkpoint", false);
  if (keywords.text("halving", "around", {"around", "corner"}) == "corner")
    config.halving = nn::DownsamplePadding::corner;
  return config;
}

}  // namespace detail

/// In the order of the original's files.
[[nodiscard]] inline const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> all = {
      {"UNet", [](Keywords& k) { return detail::read_unet(k, nn::UNetConfig::unet()); }},
      {"UNet_res", [](Keywords& k) { return detail::read_unet(k, nn::UNetConfig::unet_res()); }},
      {"UNet_Tranformer",
       [](Keywords& k) { return detail::read_unet_transformer(k, nn::UNetConfig::unet_transformer()); }},
      {"UNet_Tranformer_Arch",
       [](Keywords& k) { return detail::read_unet_transformer(k, nn::UNetConfig::unet_transformer_arch()); }},
      {"UNet_Tranformer_Arch_Embeding",
       [](Keywords& k) { return detail::read_unet_transformer(k, nn::UNetConfig::unet_transformer_arch_embedding()); }},
      {"UNetTransformerArchResBlock",
       [](Keywords& k) { return detail::read_arch_res_block(k, nn::ResUNetConfig::unet_transformer_arch_res_block()); }},
      {"UNetTransformerArchResBlock2",
       [](Keywords& k) { return detail::read_arch_res_block(k, nn::ResUNetConfig::unet_transformer_arch_res_block2()); }},
      {"UNetTransformerArchResBlockEmbeding",
       [](Keywords& k) {
         return detail::read_arch_res_block(k, nn::ResUNetConfig::unet_transformer_arch_res_block_embedding());
       }},
      {"UNet_Tranformer_ResBlock_Arch_Embeding",
       [](Keywords& k) {
         return detail::read_res_block_arch(k, nn::ResUNetConfig::unet_transformer_res_block_arch_embedding());
       }},
      {"SimpleAutoEncoder", detail::read_simple_autoencoder},
      {"AutoEncoderKL", detail::read_autoencoder_kl},
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
  throw FormatError("architecture: expected one of " + known + ", got " + io::shown(name));
}

/// \param settings "architecture" and its keyword arguments; perhaps "diffusion", see `train::DiffusionSettings`
/// \throw FormatError naming the architecture, and the key that is unknown or has another type, with what is allowed
[[nodiscard]] inline NetworkConfig read_settings(const nlohmann::json& settings) {
  const Architecture& architecture = architecture_of(settings);
  Keywords keywords(std::string(architecture.name), settings);
  for (const char* key : {"architecture", "diffusion"}) keywords.unused(key);  // what is made of it; what it was trained for
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
  return std::visit([](const auto& settings) { return requires { settings.marginal_std; }; }, config);
}

/// Whether the network's features of the time are made for numbers of timesteps, 0 to about 1000; the others are made for
/// times from 0 to 1.
[[nodiscard]] inline bool takes_timesteps(const NetworkConfig& config) {
  const auto* residual = std::get_if<nn::ResUNetConfig>(&config);
  return residual != nullptr && residual->time == nn::TimeFeatures::sinusoidal;
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
