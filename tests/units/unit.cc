// One unit of the program: `link_units.cmake` compiles it with UNIT_NUMBER 0, 1 and 2 and UNIT_NAME unit_0, unit_1 and
// unit_2, each with flags of its own.

#include "easy_diffusion/ops/attention.hpp"

#include "units.hpp"

namespace units {

namespace {

using namespace easy_diffusion;

// No two units need the same of the library: of what two share, the linker keeps the copy that comes first, and what only
// one has must work with it.
Unit make() {
  Unit unit{};
  unit.flags = UNIT_FLAGS;
#if UNIT_NUMBER != 1
  unit.one_normal = [](const NoiseAddress& address, std::uint64_t i) { return normal<float>(address, i); };
  unit.integer = [](std::uint64_t bound, const NoiseAddress& address, std::uint64_t i) {
    return uniform_integer(bound, address, i);
  };
  unit.multiply = [](const Linear& layer, const Tensor<float>& x, Linear::Context* ctx) {
    return layer.forward(x, ctx);
  };
  unit.multiply_back = [](Linear& layer, const Tensor<float>& dy, const Linear::Context& ctx) {
    return layer.backward(dy, ctx);
  };
#endif
#if UNIT_NUMBER != 0
  unit.normals = [](std::span<float> out, const NoiseAddress& address, std::uint64_t first) {
    fill_normal(out, address, first);
  };
  unit.doubles = [](std::span<double> out, const NoiseAddress& address, std::uint64_t first) {
    fill_normal(out, address, first);
  };
  unit.uniforms = [](std::span<float> out, const NoiseAddress& address, std::uint64_t first) {
    fill_uniform(out, address, first);
  };
  unit.convolve = [](const Convolution& layer, const Tensor<float>& x, Convolution::Context* ctx) {
    return layer.forward(x, ctx);
  };
  unit.convolve_back = [](Convolution& layer, const Tensor<float>& dy, const Convolution::Context& ctx) {
    return layer.backward(dy, ctx);
  };
#endif
#if UNIT_NUMBER != 2
  unit.attention = [](const Tensor<float>& q, const Tensor<float>& k, const Tensor<float>& v, std::int64_t heads,
                      float scale, Tensor<float>& out) {
    ops::attention_forward(q.view(), k.view(), v.view(), heads, scale, out.view(), {});
  };
#endif
  return unit;
}

}  // namespace

const Unit& UNIT_NAME() {
  static const Unit unit = make();
  return unit;
}

}  // namespace units
