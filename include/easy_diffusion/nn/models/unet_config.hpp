/// \file
/// Settings of the small U-Nets, with the original's classes as presets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "easy_diffusion/nn/condition_embedding.hpp"

namespace easy_diffusion::nn {

/// How the way up takes in what the way down saw.
enum class Skip { concatenate, add };

struct UNetConfig {
  std::vector<std::int64_t> channels{32, 64, 128, 256};  ///< one a level, at least two levels
  std::int64_t embed_dim = 256;                          ///< width of the time embedding, even
  std::int64_t picture_channels = 1;
  std::int64_t out_channels = 0;  ///< of the result; 0: as many as the pictures have
  Skip skip = Skip::concatenate;
  std::int64_t first_groups = 4;  ///< groups of the first level's GroupNorm
  std::int64_t groups = 32;       ///< groups of all the others
  double fourier_scale = 30;      ///< standard deviation of the embedding's frequencies

  /// Convolutions are padded, so that a level has half the pixels (rounded up) of the one above and pictures of any
  /// size fit; the last one is then an ordinary convolution. False: every convolution takes off a border.
  bool padded = false;

  /// That many of the lowest levels end, on the way down, with a spatial transformer.
  std::size_t transformer_levels = 0;
  std::int64_t heads = 1;  ///< of every attention

  /// What the transformers attend to besides the picture. No condition: the picture once more.
  ConditionConfig condition{};

  /// Grids of the pyramid pooling behind every convolution, see `pool_sizes_of`; none: no pyramid.
  std::vector<std::int64_t> pool_sizes{};
  std::int64_t pool_ratio = 2;  ///< channels of a branch of the pyramid, in channels of its level

  /// The output is divided by this function of the time (the noise's standard deviation, so that the network's own
  /// output stays near unit size). Empty: not divided.
  std::function<double(double)> marginal_std{};

  [[nodiscard]] std::int64_t result_channels() const noexcept {
    return out_channels > 0 ? out_channels : picture_channels;
  }

  /// The original's class `UNet`. \param marginal_std as above
  static UNetConfig unet(std::function<double(double)> marginal_std = {}) {
    UNetConfig config;
    config.marginal_std = std::move(marginal_std);
    return config;
  }
  /// The original's class `UNet_res`: skips are added. \param marginal_std as above
  static UNetConfig unet_res(std::function<double(double)> marginal_std = {}) {
    UNetConfig config = unet(std::move(marginal_std));
    config.skip = Skip::add;
    return config;
  }
  /// The original's class `UNet_Tranformer`: transformers at the two lowest levels, which attend to a class. Its
  /// `text_dim=None` is an empty `condition`. \param marginal_std as above
  static UNetConfig unet_transformer(std::function<double(double)> marginal_std = {}) {
    UNetConfig config = unet_res(std::move(marginal_std));
    config.transformer_levels = 2;
    config.condition = {ConditionKind::classes, 10, 256};
    return config;
  }
  /// The original's class `UNet_Tranformer_Arch`: the same with padded convolutions. Its `use_psp=True` is
  /// `pool_sizes = pool_sizes_of(image_size)`. \param marginal_std as above
  static UNetConfig unet_transformer_arch(std::function<double(double)> marginal_std = {}) {
    UNetConfig config = unet_transformer(std::move(marginal_std));
    config.padded = true;
    return config;
  }
  /// The original's class `UNet_Tranformer_Arch_Embeding`: the same with embedding sequences as condition.
  /// \param marginal_std as above
  static UNetConfig unet_transformer_arch_embedding(std::function<double(double)> marginal_std = {}) {
    UNetConfig config = unet_transformer_arch(std::move(marginal_std));
    config.condition = {ConditionKind::sequence, 512, 512};
    return config;
  }

  /// The original's pyramid for pictures of that many rows and columns: a half, a quarter and an eighth of them.
  static std::vector<std::int64_t> pool_sizes_of(std::int64_t image_size) {
    return {image_size / 2, image_size / 4, image_size / 8};
  }
};

}  // namespace easy_diffusion::nn
