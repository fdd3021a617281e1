/// \file
/// Small residual U-Nets for tests, and what turns them into layers of two inputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/nn/models/res_unet.hpp"
#include "support/golden.hpp"
#include "support/layers.hpp"

namespace easy_diffusion::test {

/// The small ones of tests/golden/make_resnet_golden.py, by the metadata of a golden case.
template <class T>
nn::ResUNetConfig res_unet_config(const GoldenCase<T>& c) {
  const auto get = [&](const std::string& key, std::int64_t otherwise) {
    return c.has_setting(key) ? c[key] : otherwise;
  };
  nn::ResUNetConfig config;
  config.picture_channels = c["pictures"];
  config.model_channels = c["model_channels"];
  config.channels = c.list("c");
  config.blocks = c["blocks"];
  config.block = get("two", 0) != 0 ? nn::BlockKind::two_convolutions : nn::BlockKind::one_convolution;
  config.embed_dim = c["embed"];
  config.time = get("fourier", 0) != 0 ? nn::TimeFeatures::fourier : nn::TimeFeatures::sinusoidal;
  config.groups = c["groups"];
  config.heads = get("heads", 1);
  if (c.has_setting("a0")) config.attention_resolutions = c.list("a");
  config.condition = {static_cast<nn::ConditionKind>(c["condition"]), get("inputs", 0), get("width", 0)};
  config.halve_last = get("halve_last", 1) != 0;
  config.resample_blocks = get("resample_blocks", 0) != 0;
  config.resample_convolved = get("convolved", 1) != 0;
  config.marginal_std = marginal_std;
  return config;
}

inline nn::ResUNetConfig small_res_unet() {
  nn::ResUNetConfig config = nn::ResUNetConfig::unet_transformer_arch_res_block(marginal_std);
  config.channels = {4, 8};
  config.model_channels = 4;
  config.blocks = 1;
  config.embed_dim = 6;
  config.groups = 2;
  config.heads = 2;
  config.fourier_scale = 1;
  config.condition = {nn::ConditionKind::sequence, 5, 6};
  return config;
}

/// A residual U-Net as a layer, at fixed times.
struct TimedResUNet : nn::ResUNet<double> {
  using Base = nn::ResUNet<double>;
  using Base::Base;

  nn::Mode mode{};

  Tensor<double> run(const Tensor<double>& x, const nn::Condition<double>& condition, Context* ctx) const {
    if (ctx != nullptr) ctx->mode = mode;
    Tensor<double> t(Shape{x.extent(0)});
    for (std::int64_t n = 0; n < t.size(); ++n) t[n] = 0.3 + 0.2 * static_cast<double>(n);
    return Base::forward(x, t, condition, ctx);
  }
};

/// As a layer of pictures and sequences. The second sample has no condition, if `second_is_null`.
struct SequenceResUNet : TimedResUNet {
  using TimedResUNet::TimedResUNet;
  bool second_is_null = false;

  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& sequence, Context* ctx = nullptr) const {
    nn::Condition<double> condition;
    condition.sequence = sequence;
    if (second_is_null)
      for (std::int64_t n = 0; n < x.extent(0); ++n) condition.sequence_null.push_back(n == 1);
    return run(x, condition, ctx);
  }

  struct Gradients {
    Tensor<double> dx, dsequence;
  };
  Gradients backward(const Tensor<double>& dy, const Context& ctx) {
    Gradients gradients;
    gradients.dx = Base::backward(dy, ctx, &gradients.dsequence);
    return gradients;
  }
};

/// As a layer of pictures, whose samples are of the classes 2, none, 0, 2, none, 0, ...
struct ClassResUNet : TimedResUNet {
  using TimedResUNet::TimedResUNet;

  Tensor<double> forward(const Tensor<double>& x, Context* ctx = nullptr) const {
    nn::Condition<double> condition;
    if (config().condition.kind == nn::ConditionKind::classes)
      for (std::int64_t n = 0; n < x.extent(0); ++n) condition.classes.push_back(n % 3 == 1 ? -1 : 2 - n % 3);
    return run(x, condition, ctx);
  }
};

}  // namespace easy_diffusion::test
