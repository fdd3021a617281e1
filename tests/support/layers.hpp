/// \file
/// What the tests of layers share: a ConvStage that can be visited, and small U-Nets.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/blocks/conv_stage.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

/// A ConvStage by itself: its parameters are visited by the U-Net, under names of the U-Net's own.
template <class Convolution>
struct Stage : nn::ConvStage<Convolution> {
  using Base = nn::ConvStage<Convolution>;
  using T = typename Base::T;
  using Base::Base;

  /// Rows and columns of a transposed convolution's result.
  std::int64_t h = 0, w = 0;

  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& embedding, typename Base::Context* ctx = nullptr) const {
    if constexpr (requires { typename Convolution::OutputSize; })
      return Base::forward(x, embedding, ctx, typename Convolution::OutputSize{h, w});
    else
      return Base::forward(x, embedding, ctx);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    Convolution::visit(self.conv, v, prefix + "conv.");
    nn::Linear<T>::visit(self.dense, v, prefix + "dense.");
    nn::GroupNormSiLU<T>::visit(self.norm, v, prefix + "norm.");
  }
};

/// The standard deviation of the variance-exploding process with sigma = 25.
inline double marginal_std(double t) { return std::sqrt((std::pow(25.0, 2 * t) - 1) / 2 / std::log(25.0)); }

inline nn::UNetConfig small_unet(nn::Skip skip, std::int64_t picture_channels = 1) {
  nn::UNetConfig config =
      skip == nn::Skip::add ? nn::UNetConfig::unet_res(marginal_std) : nn::UNetConfig::unet(marginal_std);
  config.channels = {4, 8, 8, 8};
  config.embed_dim = 8;
  config.first_groups = 2;
  config.groups = 4;
  config.picture_channels = picture_channels;
  config.fourier_scale = 1;
  return config;
}

/// Every parameter away from the values it starts with.
template <class Model>
void randomise(Model& model) {
  std::uint32_t number = 500;
  nn::for_each_parameter(model, [&](const std::string&, auto& parameter, const nn::Entry& entry) {
    using T = typename std::remove_reference_t<decltype(parameter.value)>::value_type;
    const Shape& shape = parameter.value.shape();
    const double fan = shape.rank() > 1 ? static_cast<double>(shape.numel() / shape.back()) : 4;
    parameter.value = random_tensor<T>(shape, number++, 1.5 / std::sqrt(fan));
    if (entry.initial.rule == nn::Initial::Rule::constant && entry.initial.scale != 0)
      for (T& v : parameter.value) v += static_cast<T>(entry.initial.scale);
  });
}

}  // namespace easy_diffusion::test
