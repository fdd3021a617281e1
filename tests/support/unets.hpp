/// \file
/// Small U-Nets with transformers for tests, and what turns them into layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "easy_diffusion/nn/models/unet.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"

namespace easy_diffusion::test {

/// \param config a preset; its extents become small
inline nn::UNetConfig made_small(nn::UNetConfig config) {
  config.channels = {4, 8, 8, 8};
  config.embed_dim = 8;
  config.first_groups = 2;
  config.groups = 4;
  config.heads = 2;
  config.fourier_scale = 1;
  config.marginal_std = marginal_std;
  if (config.condition.kind != nn::ConditionKind::none) config.condition = {config.condition.kind, 5, 6};
  return config;
}

/// A U-Net as a layer, at fixed times.
struct TimedUNet : nn::UNet<double> {
  using Base = nn::UNet<double>;
  using Base::Base;

  Tensor<double> run(const Tensor<double>& x, const nn::Condition<double>& condition, Context* ctx) const {
    Tensor<double> t(Shape{x.extent(0)});
    for (std::int64_t n = 0; n < t.size(); ++n) t[n] = 0.3 + 0.2 * static_cast<double>(n);
    return Base::forward(x, t, condition, ctx);
  }
};

/// As a layer of pictures, whose samples are of the classes 2, none, 0, 2, none, 0, ... where there are classes.
struct ClassUNet : TimedUNet {
  using TimedUNet::TimedUNet;

  Tensor<double> forward(const Tensor<double>& x, Context* ctx = nullptr) const {
    nn::Condition<double> condition;
    if (config().condition.kind == nn::ConditionKind::classes)
      for (std::int64_t n = 0; n < x.extent(0); ++n) condition.classes.push_back(n % 3 == 1 ? -1 : 2 - n % 3);
    return run(x, condition, ctx);
  }
  Tensor<double> backward(const Tensor<double>& dy, const Context& ctx) { return Base::backward(dy, ctx); }
};

/// As a layer of pictures and sequences.
struct SequenceUNet : TimedUNet {
  using TimedUNet::TimedUNet;

  struct Gradients {
    Tensor<double> dx, dsequence;
  };

  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& sequence, Context* ctx = nullptr) const {
    nn::Condition<double> condition;
    condition.sequence = sequence;
    return run(x, condition, ctx);
  }
  Gradients backward(const Tensor<double>& dy, const Context& ctx) {
    Gradients gradients;
    gradients.dx = Base::backward(dy, ctx, &gradients.dsequence);
    return gradients;
  }
};

/// Biases of pyramids so far to one side that no rectifier changes sides: differences meet no kink.
template <class Model>
void away_from_kinks(Model& model) {
  nn::for_each_parameter(model, [](const std::string& name, auto& parameter, const nn::Entry&) {
    const bool branch = name.find("modlist.") != std::string::npos;
    const bool out = name.find("psp") != std::string::npos && name.find(".out.") != std::string::npos;
    if ((!branch && !out && !name.starts_with("out.")) || !name.ends_with(".bias")) return;
    for (std::int64_t c = 0; c < parameter.value.size(); ++c)
      parameter.value[c] = (c % 3 == 1 ? -1 : 1) * (branch ? 8 : 60);
  });
}

}  // namespace easy_diffusion::test
