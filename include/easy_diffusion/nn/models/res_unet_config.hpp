/// \file
/// Settings of the residual U-Nets, with the original's classes as presets.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "easy_diffusion/nn/blocks/time_map.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"

namespace easy_diffusion::nn {

/// Which residual block a U-Net is made of: `ResBlock` or `ResBlock2`.
enum class BlockKind { one_convolution, two_convolutions };

struct ResUNetConfig {
  std::int64_t picture_channels = 1;
  std::int64_t out_channels = 0;  ///< of the result; 0: as many as the pictures have
  std::int64_t model_channels = 32;                      ///< of the first convolution, and of the highest level
  std::vector<std::int64_t> channels{32, 64, 128, 256};  ///< one a level, the first equal to model_channels
  std::int64_t blocks = 2;  ///< residual blocks a level on the way down, one more on the way up
  BlockKind block = BlockKind::one_convolution;
  std::int64_t embed_dim = 256;  ///< width of the time embedding
  TimeFeatures time = TimeFeatures::sinusoidal;
  double fourier_scale = 30;  ///< standard deviation of the frequencies of random time features
  double dropout = 0;
  std::int64_t groups = 32;  ///< of every GroupNorm
  std::int64_t heads = 1;    ///< of every attention

  /// How far down the picture has been halved, as a divisor (1, 2, 4, ...), where blocks are followed by a spatial
  /// transformer; nothing: at every level but the first.
  std::optional<std::vector<std::int64_t>> attention_resolutions;

  /// No condition: attention looks at the picture alone.
  ConditionConfig condition{ConditionKind::sequence, 512, 512};

  bool halve_last = true;  ///< the lowest level is halved too, and levels grow after their first block, not their last
  bool resample_blocks = false;    ///< residual blocks halve and double, not convolutions by themselves
  bool resample_convolved = true;  ///< halving and doubling by convolution, not by means and repeated pixels
  bool checkpoint = false;         ///< keep each step's input alone and compute the rest again in backward: less memory

  /// The output is divided by this function of the time (the noise's standard deviation). Empty: not divided.
  std::function<double(double)> marginal_std{};

  [[nodiscard]] std::int64_t result_channels() const noexcept {
    return out_channels > 0 ? out_channels : picture_channels;
  }

  /// The original's class `UNetTransformerArchResBlock`. \param marginal_std as above
  static ResUNetConfig unet_transformer_arch_res_block(std::function<double(double)> marginal_std = {}) {
    ResUNetConfig config;
    config.marginal_std = std::move(marginal_std);
    return config;
  }
  /// The original's class `UNetTransformerArchResBlock2`. \param marginal_std as above
  static ResUNetConfig unet_transformer_arch_res_block2(std::function<double(double)> marginal_std = {}) {
    ResUNetConfig config = unet_transformer_arch_res_block(std::move(marginal_std));
    config.block = BlockKind::two_convolutions;
    return config;
  }
  /// The original's class `UNetTransformerArchResBlockEmbeding`: random time features, class numbers.
  /// \param marginal_std as above
  static ResUNetConfig unet_transformer_arch_res_block_embedding(std::function<double(double)> marginal_std = {}) {
    ResUNetConfig config = unet_transformer_arch_res_block(std::move(marginal_std));
    config.time = TimeFeatures::fourier;
    config.condition = {ConditionKind::classes, 512, 512};
    return config;
  }
  /// The original's class `UNet_Tranformer_ResBlock_Arch_Embeding`: three blocks a level, attention at chosen
  /// resolutions, and no halving after the last level. Its channels are ratios of model_channels, see `ratios`.
  /// \param marginal_std as above
  static ResUNetConfig unet_transformer_res_block_arch_embedding(std::function<double(double)> marginal_std = {}) {
    ResUNetConfig config = unet_transformer_arch_res_block(std::move(marginal_std));
    config.time = TimeFeatures::fourier;
    config.attention_resolutions = {2, 4, 8};
    config.channels = ratios(config.model_channels, {1, 2, 3, 5});
    config.blocks = 3;
    config.heads = 4;
    config.halve_last = false;
    return config;
  }

  /// One level's channels for each ratio.
  static std::vector<std::int64_t> ratios(std::int64_t model_channels, std::vector<std::int64_t> factors) {
    for (std::int64_t& factor : factors) factor *= model_channels;
    return factors;
  }

  /// Whether the blocks of a level are followed by spatial transformers.
  [[nodiscard]] bool attends(std::size_t level) const {
    if (!attention_resolutions) return level != 0;
    return std::ranges::find(*attention_resolutions, std::int64_t{1} << level) != attention_resolutions->end();
  }
  /// How often the picture is halved.
  [[nodiscard]] std::size_t halvings() const { return channels.size() - (halve_last ? 0 : 1); }
};

}  // namespace easy_diffusion::nn
