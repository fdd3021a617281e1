// The residual U-Nets against PyTorch: names and shapes, outputs and gradients of many settings, the original's own values.

#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/models/res_unet.hpp"
#include "support/catch.hpp"
#include "support/drawn.hpp"
#include "support/golden.hpp"
#include "support/listing.hpp"
#include "support/paths.hpp"
#include "support/reference.hpp"
#include "support/res_unets.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEMPLATE_TEST_CASE("residual U-Nets agree with PyTorch", "[nn][golden][res_unet]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "resnet.safetensors");
  const auto cases = cases_of(file, "res_unet_");
  CHECK(cases.size() == 10);
  for (const std::string& name : cases) {
    const GoldenCase<T> golden(file, name);
    nn::ResUNet<T> model(res_unet_config(golden));
    draw_state(model);
    nn::Condition<T> condition;
    if (golden.has("grad.y")) condition.sequence = drawn_input<T>(name + "/y", Shape{2, 3, golden["inputs"]});
    if (golden["null"] != 0) condition.sequence_null = {0, 1};
    if (model.config().condition.kind == nn::ConditionKind::classes) condition.classes = {3, 1};
    const auto x = drawn_input<T>(name + "/x", Shape{2, 2, golden["height"], golden["columns"]});
    typename nn::ResUNet<T>::Context ctx;
    Agreement result;
    const auto y = model.forward(x, Tensor<T>(Shape{2}, {T(0.25), T(0.875)}), condition, &ctx);
    result.compare("y", y, golden.want("y"));
    Tensor<T> dsequence;
    result.compare("grad.x", model.backward(drawn_weight<T>(name, y.shape()), ctx, &dsequence), golden.want("grad.x"));
    if (golden.has("grad.y")) result.compare("grad.y", dsequence, golden.want("grad.y"));
    compare_sums(result, golden, model);
    INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
    CHECK(result.worst() <= (sizeof(T) == 4 ? 3e-4 : 1e-10));
  }
}

TEST_CASE("the UNetTransformerArchResBlock agrees with the original", "[nn][golden][reference][res_unet]") {
  auto config = nn::ResUNetConfig::unet_transformer_arch_res_block();  // made without a marginal deviation
  config.picture_channels = 3;
  config.channels = {32, 64, 64};
  config.embed_dim = 64;
  config.blocks = 1;
  config.condition = {nn::ConditionKind::sequence, 48, 64};
  config.heads = 2;
  check_reference(
      "unet_transformer_arch_resblock", [&]<class T>() { return nn::ResUNet<T>(config); },
      []<class T>(nn::ResUNet<T>& model, const io::SafetensorsFile& inputs, const Tensor<T>& w, NamedTensors<T>& got) {
        nn::Condition<T> condition;
        condition.sequence = inputs.read<T>("y");
        typename nn::ResUNet<T>::Context ctx;
        got["output"] = model.forward(channels_last(inputs.read<T>("x")), inputs.read<T>("t"), condition, &ctx);
        got["grad_input.x"] = model.backward(w, ctx, &got["grad_input.y"]);
      });
}

TEST_CASE("residual U-Nets have PyTorch's names and shapes", "[nn][state_dict][res_unet]") {
  auto classes = nn::ResUNetConfig::unet_transformer_arch_res_block_embedding();
  classes.condition.inputs = 10;
  const std::vector<std::pair<std::string, nn::ResUNetConfig>> presets{
      {"UNetTransformerArchResBlock", nn::ResUNetConfig::unet_transformer_arch_res_block()},
      {"UNetTransformerArchResBlock2", nn::ResUNetConfig::unet_transformer_arch_res_block2()},
      {"UNetTransformerArchResBlockEmbeding", classes},
      {"UNet_Tranformer_ResBlock_Arch_Embeding", nn::ResUNetConfig::unet_transformer_res_block_arch_embedding()}};
  for (const auto& [name, config] : presets) {
    INFO(name);
    const nn::ResUNet<float> model(config);
    CHECK(listing(model) == golden_listing(name));
  }
}

}  // namespace
