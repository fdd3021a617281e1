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
  const bool residual = architecture.find("ResBlock") != std::string::npos;
  if (architecture == "AutoEncoderKL") {
    settings["ddconfig"] = {{"ch", 32},         {"ch_mult", {1, 2}},        {"num_res_blocks", 1}, {"resolution", 16},
                            {"z_channels", 3}, {"attn_resolutions", {8}}};
  } else if (residual) {
    settings["embed_dim"] = 16;
    settings["context_dim"] = 8;
    if (architecture == "UNet_Tranformer_ResBlock_Arch_Embeding") {
      settings["channels_ratio"] = {1, 2};
      settings["res_blocks"] = 1;
      settings["context_embeding"] = 6;
    } else {
      settings["channels"] = {32, 64};
      settings["res_num"] = 1;
      settings[architecture == "UNetTransformerArchResBlockEmbeding" ? "nclass" : "context_embeding"] = 6;
    }
  } else if (architecture != "SimpleAutoEncoder") {
    settings["channels"] = {32, 32, 32, 32};
    settings["embed_dim"] = 8;
    if (architecture.find("Tranformer") != std::string::npos) settings["text_dim"] = 8;
    if (architecture == "UNet_Tranformer_Arch_Embeding") settings["text_embeding"] = 6;
  }
  return settings;
}

}  // namespace easy_diffusion::test
