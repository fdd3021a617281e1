// The parts of the residual models: gradients, promises, PyTorch's values, errors.

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/blocks/res_block.hpp"
#include "easy_diffusion/nn/blocks/res_block2.hpp"
#include "easy_diffusion/nn/blocks/time_map.hpp"
#include "easy_diffusion/nn/downsample.hpp"
#include "easy_diffusion/nn/sinusoidal_embedding.hpp"
#include "easy_diffusion/nn/upsample.hpp"
#include "support/catch.hpp"
#include "support/drawn.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

template <class T>
constexpr double agreement = sizeof(T) == 4 ? 1e-5 : 1e-12;

/// Inputs of those names and PyTorch shapes; output and all gradients against the golden case.
template <class T, class Layer, std::size_t N>
void compare(const io::SafetensorsFile& file, const std::string& name, Layer layer,
             const std::array<std::pair<std::string, Shape>, N>& inputs) {
  const GoldenCase<T> golden(file, name);
  draw_state(layer);
  typename Layer::Context ctx;
  const auto y = [&]<std::size_t... i>(std::index_sequence<i...>) {
    return layer.forward(drawn_input<T>(name + "/" + inputs[i].first, inputs[i].second)..., &ctx);
  }
  (std::make_index_sequence<N>());
  Agreement result;
  result.compare("y", y, golden.want("y"));
  std::vector<Tensor<T>> gradients;
  if constexpr (requires { typename Layer::Gradients; }) {
    auto back = layer.backward(drawn_weight<T>(name, y.shape()), ctx);
    gradients.push_back(std::move(back.dx));
    gradients.push_back(std::move(back.dembedding));
  } else {
    gradients.push_back(layer.backward(drawn_weight<T>(name, y.shape()), ctx));
  }
  for (std::size_t i = 0; i < N; ++i)
    result.compare("grad." + inputs[i].first, gradients[i], golden.want("grad." + inputs[i].first));
  if (golden.has("sums")) compare_sums(result, golden, layer);
  INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
  CHECK(result.worst() <= agreement<T>);
}

nn::ResBlockConfig res_block_config(std::int64_t in, std::int64_t out, nn::Resample resample) {
  return {.in = in, .out = out, .embed_dim = 7, .resample = resample, .groups = 3};
}

TEMPLATE_TEST_CASE("parts of the residual models agree with PyTorch", "[nn][golden][residual]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "resnet.safetensors");
  const auto x = [](const Shape& shape) { return std::array<std::pair<std::string, Shape>, 1>{{{"x", shape}}}; };
  const auto x_e = [](const Shape& shape) {
    return std::array<std::pair<std::string, Shape>, 2>{{{"x", shape}, {"e", Shape{2, 7}}}};
  };
  CHECK(cases_of(file, "sinusoidal_").size() == 2);
  for (const std::string& name : cases_of(file, "sinusoidal_"))
    compare<T>(file, name, nn::SinusoidalEmbedding<T>(GoldenCase<T>(file, name)["width"]),
               std::array<std::pair<std::string, Shape>, 1>{{{"t", Shape{3}}}});
  CHECK(cases_of(file, "upsample_").size() == 2);
  for (const std::string& name : cases_of(file, "upsample_"))
    compare<T>(file, name, nn::Upsample<T>(5, GoldenCase<T>(file, name)["convolve"] != 0), x(Shape{2, 5, 3, 4}));
  CHECK(cases_of(file, "downsample_").size() == 2);
  for (const std::string& name : cases_of(file, "downsample_"))
    compare<T>(file, name, nn::Downsample<T>(5, GoldenCase<T>(file, name)["convolve"] != 0), x(Shape{2, 5, 7, 6}));
  CHECK(cases_of(file, "res_block_").size() == 6);
  for (const std::string& name : cases_of(file, "res_block_")) {
    const GoldenCase<T> c(file, name);
    compare<T>(file, name,
               nn::ResBlock<T>(res_block_config(c["cin"], c["cout"], static_cast<nn::Resample>(c["resample"]))),
               x_e(Shape{2, c["cin"], 5, 4}));
  }
  CHECK(cases_of(file, "block2_").size() == 4);
  for (const std::string& name : cases_of(file, "block2_")) {
    const GoldenCase<T> c(file, name);
    const nn::ResBlock2<T> block({.in = c["cin"],
                                  .out = c["cout"],
                                  .embed_dim = c["embed"],
                                  .wide_shortcut = c["wide"] != 0,
                                  .groups = c["groups"]});
    if (c["embed"] > 0)
      compare<T>(file, name, block, x_e(Shape{2, c["cin"], 5, 4}));
    else
      compare<T>(file, name, block, x(Shape{2, c["cin"], 5, 4}));
  }
}

template <class Layer, std::size_t N>
void check(Layer layer, const std::string& name, const Inputs<N>& a, const Inputs<N>& b) {
  randomise(layer);
  const auto report = check_gradients(layer, a);
  INFO(name << ": " << report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(layer, a, b)) FAIL_CHECK(promise);
}

TEST_CASE("parts of the residual models have the right gradients", "[nn][gradients][residual]") {
  const auto picture = [](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c, std::uint32_t number) {
    return random_tensor<double>(Shape{n, h, w, c}, number);
  };
  const auto told = [&](std::int64_t n, std::int64_t h, std::int64_t c, std::uint32_t number) {
    return Inputs<2>{picture(n, h, 4, c, number), random_tensor<double>(Shape{n, 7}, number + 1)};
  };
  for (const bool convolve : {true, false}) {
    check(nn::Upsample<double>(3, convolve), "upsample", Inputs<1>{picture(2, 2, 3, 3, 1)},
          Inputs<1>{picture(1, 1, 1, 3, 2)});
    check(nn::Downsample<double>(3, convolve), "downsample", Inputs<1>{picture(2, 5, 4, 3, 1)},
          Inputs<1>{picture(1, 2, 2, 3, 2)});
  }
  check(nn::Downsample<double>(3, true, nn::DownsamplePadding::corner), "downsample, corner",
        Inputs<1>{picture(2, 6, 5, 3, 1)}, Inputs<1>{picture(1, 2, 2, 3, 2)});
  check(nn::SinusoidalEmbedding<double>(7), "sinusoidal", Inputs<1>{random_tensor<double>(Shape{3}, 1)},
        Inputs<1>{random_tensor<double>(Shape{1}, 2)});
  for (const nn::Resample resample : {nn::Resample::none, nn::Resample::up, nn::Resample::down}) {
    check(nn::ResBlock<double>(res_block_config(3, 6, resample)), "ResBlock 3 to 6", told(2, 4, 3, 1),
          told(1, 2, 3, 3));
    check(nn::ResBlock<double>(res_block_config(3, 3, resample)), "ResBlock 3 to 3", told(2, 4, 3, 1),
          told(1, 3, 3, 3));
  }
  for (const bool wide : {true, false}) {
    const nn::ResBlock2Config config{.in = 3, .out = 6, .embed_dim = 7, .wide_shortcut = wide, .groups = 3};
    check(nn::ResBlock2<double>(config), "ResBlock2 3 to 6", told(2, 3, 3, 1), told(1, 2, 3, 3));
  }
}

/// A residual block that always trains.
struct Training : nn::ResBlock<double> {
  using nn::ResBlock<double>::ResBlock;
  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& embedding, Context* ctx) const {
    ctx->dropout.mode.training = true;
    return ResBlock::forward(x, embedding, ctx);
  }
};

TEST_CASE("a residual block drops activations in training only, the same ones at the same address", "[nn][residual]") {
  nn::ResBlockConfig config = res_block_config(3, 3, nn::Resample::none);
  config.dropout = 0.4;
  Training block(config);
  randomise(block);
  const Inputs<2> in{random_tensor<double>(Shape{2, 3, 4, 3}, 1), random_tensor<double>(Shape{2, 7}, 2)};
  const auto report = check_gradients(block, in);
  INFO(report);
  CHECK(report.passed());
  nn::ResBlock<double>::Context ctx, other;
  other.dropout.mode.noise.step = 1;
  const auto trained = block.forward(in[0], in[1], &ctx);
  CHECK(same_bits(trained, block.forward(in[0], in[1], &ctx)));
  CHECK_FALSE(same_bits(trained, block.forward(in[0], in[1], &other)));
  other.dropout.mode.training = false;
  const nn::ResBlock<double>& evaluating = block;
  CHECK(same_bits(evaluating.forward(in[0], in[1]), evaluating.forward(in[0], in[1], &other)));
  CHECK_FALSE(same_bits(trained, evaluating.forward(in[0], in[1])));
}

TEST_CASE("parts of the residual models say what does not fit", "[nn][residual][errors]") {
  CHECK_THROWS_AS(nn::SinusoidalEmbedding<float>(3), ValueError);
  CHECK_THROWS_AS(nn::Upsample<float>(3).forward(Tensor<float>(Shape{1, 2, 2, 4})), ShapeError);
  CHECK_THROWS_AS(nn::Upsample<float>(3).forward(Tensor<float>(Shape{2, 2, 3})), ShapeError);
  CHECK_THROWS_AS(nn::Downsample<float>(3).forward(Tensor<float>(Shape{1, 2, 2, 4})), ShapeError);
  CHECK_THROWS_AS(nn::Downsample<float>(3, false).forward(Tensor<float>(Shape{1, 1, 2, 3})), ShapeError);
  CHECK_THROWS_AS(nn::ResBlock<float>(res_block_config(4, 6, nn::Resample::none)), ShapeError);
  CHECK_THROWS_AS(nn::TimeMap<float>(nn::TimeFeatures::fourier, 5), ValueError);
  CHECK_THROWS_AS(nn::TimeMap<float>(nn::TimeFeatures::sinusoidal, 2), ValueError);
  const nn::ResBlock<float> block(res_block_config(3, 6, nn::Resample::none));
  CHECK_THROWS_AS(block.forward(Tensor<float>(Shape{2, 4, 4, 3}), Tensor<float>(Shape{2, 6})), ShapeError);
  CHECK_THROWS_AS(block.forward(Tensor<float>(Shape{2, 4, 4, 3}), Tensor<float>(Shape{1, 7})), ShapeError);
}

}  // namespace
