/// \file
/// What each of several units, compiled with flags of its own, offers to the one program that they are linked into.
#pragma once

#include <cstdint>
#include <span>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/linear.hpp"

namespace units {

using easy_diffusion::NoiseAddress;
using easy_diffusion::Tensor;
using Convolution = easy_diffusion::nn::Conv2d<float>;
using Linear = easy_diffusion::nn::Linear<float>;

/// What a unit does not offer is null.
struct Unit {
  const char* flags;
  float (*one_normal)(const NoiseAddress& address, std::uint64_t i);
  std::uint64_t (*integer)(std::uint64_t bound, const NoiseAddress& address, std::uint64_t i);
  void (*normals)(std::span<float> out, const NoiseAddress& address, std::uint64_t first);
  void (*doubles)(std::span<double> out, const NoiseAddress& address, std::uint64_t first);
  void (*uniforms)(std::span<float> out, const NoiseAddress& address, std::uint64_t first);
  // Of a layer's functions the linker keeps one copy, or each unit has its own inlined.
  Tensor<float> (*multiply)(const Linear& layer, const Tensor<float>& x, Linear::Context* ctx);
  Tensor<float> (*multiply_back)(Linear& layer, const Tensor<float>& dy, const Linear::Context& ctx);
  Tensor<float> (*convolve)(const Convolution& layer, const Tensor<float>& x, Convolution::Context* ctx);
  Tensor<float> (*convolve_back)(Convolution& layer, const Tensor<float>& dy, const Convolution::Context& ctx);
  void (*attention)(const Tensor<float>& q, const Tensor<float>& k, const Tensor<float>& v, std::int64_t heads,
                    float scale, Tensor<float>& out);
};

const Unit& unit_0();
const Unit& unit_1();
const Unit& unit_2();

}  // namespace units
