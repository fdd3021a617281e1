// Every layer and both U-Nets against PyTorch: outputs and all gradients.

#include "support/golden.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/concat.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/embedding_add.hpp"
#include "easy_diffusion/nn/fourier_embedding.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/losses/cross_entropy.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/silu.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/catch.hpp"
#include "support/golden_layers.hpp"
#include "support/layers.hpp"
#include "support/paths.hpp"
#include "support/reference.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEMPLATE_TEST_CASE("layers agree with PyTorch", "[nn][golden]", float, double) {
  using T = TestType;
  using Case = GoldenCase<T>;
  const auto file = io::SafetensorsFile::open(test_data() / "layers.safetensors");
  const std::array<std::string, 1> x{"x"};
  compare_all<T>(file, "conv2d", 5, x, [](const Case& c) {
    return nn::Conv2d<T>(
        c["cin"], c["cout"],
        {.kernel = c["kernel"], .stride = c["stride"], .padding = c["padding"], .bias = c["bias"] != 0});
  });
  compare_all<T>(file, "conv_transpose2d", 5, x, [](const Case& c) {
    return nn::ConvTranspose2d<T>(c["cin"], c["cout"],
                                  {.kernel = c["kernel"],
                                   .stride = c["stride"],
                                   .padding = c["padding"],
                                   .output_padding = c["output_padding"],
                                   .bias = c["bias"] != 0});
  });
  compare_all<T>(file, "linear", 3, x,
                 [](const Case& c) { return nn::Linear<T>(c["cin"], c["cout"], c["bias"] != 0); });
  compare_all<T>(file, "group_norm", 4, x, [](const Case& c) { return nn::GroupNorm<T>(c["groups"], c["channels"]); });
  compare_all<T>(file, "silu", 1, x, [](const Case&) { return nn::SiLU<T>(); });
  compare_all<T>(file, "embedding_add", 1, std::array<std::string, 2>{"x", "e"},
                 [](const Case&) { return nn::EmbeddingAdd<T>(); });
  compare_all<T>(file, "concat", 1, std::array<std::string, 2>{"a", "b"}, [](const Case&) { return nn::Concat<T>(); });
  compare_all<T>(file, "fourier", 1, std::array<std::string, 1>{"t"},
                 [](const Case& c) { return nn::FourierEmbedding<T>(c["width"]); });

  for (const std::string& name : cases_of(file, "conv_stage_")) {
    const Case c(file, name);
    const auto run = [&](auto stage) { compare<T>(file, name, stage, std::array<std::string, 2>{"x", "e"}); };
    if (c["transposed"] != 0) {
      Stage<nn::ConvTranspose2d<T>> stage({c["cin"], c["cout"], {.stride = 2, .bias = false}}, c["embed"], c["cout"],
                                          c["groups"]);
      stage.h = c["out_h"];
      stage.w = c["out_w"];
      run(stage);
    } else {
      run(Stage<nn::Conv2d<T>>({c["cin"], c["cout"], {.stride = 2, .bias = false}}, c["embed"], c["cout"],
                               c["groups"]));
    }
  }
}

TEMPLATE_TEST_CASE("cross_entropy agrees with PyTorch", "[nn][golden]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "layers.safetensors");
  const GoldenCase<T> golden(file, "cross_entropy_0");
  const std::vector<std::int64_t> labels{golden["label0"], golden["label1"], golden["label2"]};
  const auto loss = nn::cross_entropy(golden("x"), labels);
  Agreement result;
  result.compare("y", Tensor<double>(Shape{1}, {loss.value}), golden.want("y"));
  result.compare("grad.x", loss.gradient, golden.want("grad.x"));
  INFO(result);
  CHECK(result.worst() <= agreement<T>);
  CHECK_THROWS_AS(nn::cross_entropy(golden("x"), std::vector<std::int64_t>{0, 1}), ShapeError);
  CHECK_THROWS_AS(nn::cross_entropy(golden("x"), std::vector<std::int64_t>{0, 1, 6}), ValueError);
  CHECK_THROWS_AS(nn::cross_entropy(golden("x"), std::vector<std::int64_t>{0, -1, 5}), ValueError);
}

TEMPLATE_TEST_CASE("small U-Nets agree with PyTorch", "[nn][golden][unet]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "models.safetensors");
  for (const std::string name : {"unet", "unet_res"}) {
    const GoldenCase<T> golden(file, name);
    nn::UNetConfig config =
        name == "unet" ? nn::UNetConfig::unet(marginal_std) : nn::UNetConfig::unet_res(marginal_std);
    config.channels = {golden["c0"], golden["c1"], golden["c2"], golden["c3"]};
    config.embed_dim = golden["embed"];
    config.picture_channels = golden["pictures"];
    config.first_groups = golden["first_groups"];
    config.groups = golden["groups"];
    nn::UNet<T> model(config);
    nn::load_state_dict(model, golden.parameters());
    typename nn::UNet<T>::Context ctx;
    Agreement result;
    result.compare("y", model.forward(golden("x"), golden("t"), &ctx), golden.want("y"));
    result.compare("grad.x", model.backward(golden("w"), ctx), golden.want("grad.x"));
    golden.compare_gradients(result, model);
    INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
    CHECK(result.count() == 41);  // the output, and gradients of the input and of 39 parameters
    CHECK(result.worst() <= (sizeof(T) == 4 ? 3e-4 : 1e-10));

    // The state_dict goes out as it came in.
    const auto came = golden.parameters();
    const auto goes = nn::state_dict(model);
    CHECK(goes.size() == came.size());
    for (const auto& [key, value] : goes) CHECK(same_bits(value, came.at(key)));
  }
}

TEST_CASE("the UNet agrees with the original", "[nn][golden][reference]") {
  check_reference(
      "unet", []<class T>() { return nn::UNet<T>(nn::UNetConfig::unet(marginal_std)); },
      []<class T>(nn::UNet<T>& model, const io::SafetensorsFile& inputs, const Tensor<T>& w, NamedTensors<T>& got) {
        typename nn::UNet<T>::Context ctx;
        got["output"] = model.forward(channels_last(inputs.read<T>("x")), inputs.read<T>("t"), &ctx);
        got["grad_input.x"] = model.backward(w, ctx);
      });
}

TEST_CASE("the agreement with golden values turns down what differs", "[nn][golden]") {
  const Tensor<double> want(Shape{3}, {1, 2, -4}), tiny(Shape{2}, {1e-20, 0});
  Agreement result;
  CHECK_FALSE(result.worst() <= 1);  // nothing was compared
  result.compare("grad.a", want, want);
  result.compare("grad.b", tiny, Tensor<double>(Shape{2}));  // nothing but roundoff
  CHECK(result.worst() <= 1e-18);
  Agreement sign = result, nan = result, shape = result;
  sign.compare("y", Tensor<double>(Shape{3}, {1, 2, 4}), want);
  CHECK_FALSE(sign.worst() <= 1);
  nan.compare("y", Tensor<double>(Shape{3}, {1, std::nan(""), -4}), want);
  CHECK_FALSE(nan.worst() <= 1e300);
  shape.compare("y", Tensor<double>(Shape{2}, {1, 2}), want);
  CHECK_FALSE(shape.worst() <= 1e300);
}

}  // namespace
