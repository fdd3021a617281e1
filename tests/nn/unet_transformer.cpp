// The small U-Nets with transformers, pyramid pooling and conditions: PyTorch's values, the original's own, names and
// shapes, gradients against finite differences, what a missing condition means, and what does not fit.

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/blocks/psp_module.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/catch.hpp"
#include "support/drawn.hpp"
#include "support/golden.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/listing.hpp"
#include "support/operation.hpp"
#include "support/paths.hpp"
#include "support/reference.hpp"
#include "support/tensors.hpp"
#include "support/unets.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

nn::UNetConfig with_classes() { return made_small(nn::UNetConfig::unet_transformer()); }
nn::UNetConfig padded_with_classes() { return made_small(nn::UNetConfig::unet_transformer_arch()); }
nn::UNetConfig padded_with_sequences() { return made_small(nn::UNetConfig::unet_transformer_arch_embedding()); }

TEMPLATE_TEST_CASE("U-Nets with transformers agree with PyTorch", "[nn][golden][unet]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "unet_transformers.safetensors");
  const auto cases = cases_of(file, "unet_transformer_");
  CHECK(cases.size() == 8);
  for (const std::string& name : cases) {
    const GoldenCase<T> golden(file, name);
    nn::UNetConfig config = padded_with_classes();
    config.padded = golden["padded"] != 0;
    config.picture_channels = golden["pictures"];
    config.heads = golden["heads"];
    config.condition = {static_cast<nn::ConditionKind>(golden["condition"]), golden["inputs"], golden["width"]};
    if (config.condition.kind == nn::ConditionKind::none) config.condition = {};
    config.pool_ratio = golden["ratio"];
    for (int i = 0; golden.has_setting("p" + std::to_string(i)); ++i)
      config.pool_sizes.push_back(golden["p" + std::to_string(i)]);
    nn::UNet<T> model(config);
    draw_state(model);

    nn::Condition<T> condition;
    const bool null = golden["null"] != 0;
    if (config.condition.kind == nn::ConditionKind::classes) condition.classes = {3, null ? -1 : 1};
    if (config.condition.kind == nn::ConditionKind::sequence) {
      condition.sequence = drawn_input<T>(name + "/y", Shape{2, golden["length"], golden["inputs"]});
      if (null) condition.sequence_null = {0, 1};
    }
    const auto x = drawn_input<T>(name + "/x", Shape{2, golden["pictures"], golden["height"], golden["columns"]});
    typename nn::UNet<T>::Context ctx;
    Agreement result;
    const auto y = model.forward(x, Tensor<T>(Shape{2}, {T(0.25), T(0.875)}), condition, &ctx);
    result.compare("y", y, golden.want("y"));
    Tensor<T> dsequence;
    const auto dx = model.backward(drawn_weight<T>(name, y.shape()), ctx, &dsequence);
    result.compare("grad.x", dx, golden.want("grad.x"));
    CHECK(dsequence.empty() != golden.has("grad.y"));
    if (golden.has("grad.y")) result.compare("grad.y", dsequence, golden.want("grad.y"));
    compare_sums(result, golden, model);
    INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
    CHECK(result.worst() <= (sizeof(T) == 4 ? 3e-4 : 1e-10));
  }
}

TEST_CASE("the UNet_Tranformer agrees with the original", "[nn][golden][reference][unet]") {
  nn::UNetConfig config = nn::UNetConfig::unet_transformer(marginal_std);
  config.channels = {32, 64, 64, 96};
  config.embed_dim = 128;
  config.condition.width = 64;
  check_reference(
      "unet_transformer", [&]<class T>() { return nn::UNet<T>(config); },
      []<class T>(nn::UNet<T>& model, const io::SafetensorsFile& inputs, const Tensor<T>& w, NamedTensors<T>& got) {
        nn::Condition<T> condition;
        for (const std::int64_t number : inputs.read<std::int64_t>("y")) condition.classes.push_back(number);
        typename nn::UNet<T>::Context ctx;
        got["output"] = model.forward(channels_last(inputs.read<T>("x")), inputs.read<T>("t"), condition, &ctx);
        got["grad_input.x"] = model.backward(w, ctx);
      });
}

TEST_CASE("U-Nets with transformers have PyTorch's names and shapes", "[nn][state_dict][unet]") {
  auto pyramid = nn::UNetConfig::unet_transformer_arch();
  pyramid.pool_sizes = nn::UNetConfig::pool_sizes_of(32);
  const std::vector<std::pair<std::string, nn::UNetConfig>> presets{
      {"UNet_Tranformer", nn::UNetConfig::unet_transformer()},
      {"UNet_Tranformer_Arch", nn::UNetConfig::unet_transformer_arch()},
      {"UNet_Tranformer_Arch_psp", pyramid},
      {"UNet_Tranformer_Arch_Embeding", nn::UNetConfig::unet_transformer_arch_embedding()}};
  for (const auto& [name, config] : presets) {
    INFO(name);
    CHECK(listing(nn::UNet<float>(config)) == golden_listing(name));
  }
}

template <class Model, std::size_t N>
void check_model(const std::string& name, Model model, const Inputs<N>& a, const Inputs<N>& b) {
  randomise(model);
  away_from_kinks(model);
  const auto report = check_gradients(model, a, Entries::sampled);
  INFO(name << ": " << report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(model, a, b)) FAIL_CHECK(name << ": " << promise);
}

Inputs<1> picture(std::int64_t batch, std::int64_t h, std::int64_t w, std::uint32_t number) {
  return {random_tensor<double>(Shape{batch, h, w, 1}, number)};
}

TEST_CASE("the pyramid has the right gradients", "[nn][gradients]") {
  check_model("pyramid", nn::PSPModule<double>(3, 4, {3, 2, 1}), Inputs<1>{random_tensor<double>(Shape{2, 4, 5, 3}, 1)},
              Inputs<1>{random_tensor<double>(Shape{1, 3, 2, 3}, 2)});
  CHECK_THROWS_WITH(nn::PSPModule<float>(3, 4, {2, 0}), "PSPModule: expected grids of at least 1x1, got 0");
  CHECK_THROWS_WITH(nn::PSPModule<float>(3, 4, {2}).forward(Tensor<float>(Shape{1, 3, 3, 4})),
                    "PSPModule: expected [1, 3, 3, 3], got [1, 3, 3, 4]");
}

TEST_CASE("U-Nets with transformers have the right gradients", "[nn][gradients][unet]") {
  check_model("classes", ClassUNet(with_classes()), picture(2, 17, 18, 1), picture(1, 18, 17, 2));
  auto alone = padded_with_classes();
  alone.condition = {};
  check_model("no condition", ClassUNet(alone), picture(2, 5, 6, 1), picture(1, 9, 4, 2));
  auto pyramid = padded_with_classes();
  pyramid.channels = {4, 8};
  pyramid.pool_sizes = {2, 1};
  pyramid.skip = nn::Skip::concatenate;
  check_model("pyramid", ClassUNet(pyramid), picture(3, 4, 5, 1), picture(1, 3, 6, 2));
  check_model("sequences", SequenceUNet(padded_with_sequences()),
              Inputs<2>{picture(2, 6, 5, 1)[0], random_tensor<double>(Shape{2, 3, 5}, 3)},
              Inputs<2>{picture(1, 4, 7, 2)[0], random_tensor<double>(Shape{1, 2, 5}, 4)});
}

TEST_CASE("a sample without a condition is shown zeros, whatever its neighbours have", "[nn][unet][condition]") {
  nn::UNet<float> classes(padded_with_classes()), sequences(padded_with_sequences());
  randomise(classes);
  randomise(sequences);
  const auto x = random_tensor<float>(Shape{3, 6, 7, 1}, 1), dy = random_tensor<float>(x.shape(), 2);
  const Tensor<float> t(Shape{3}, 0.5F);
  nn::Condition<float> some, none;
  some.classes = {4, -1, 0};
  const auto y = classes.forward(x, t, some), alone = classes.forward(x, t);
  CHECK_FALSE(same_bits(rows(y, 0, 1), rows(alone, 0, 1)));
  CHECK(same_bits(rows(y, 1, 1), rows(alone, 1, 1)));
  none.classes = {-1, -1, -1};
  CHECK(same_bits(classes.forward(x, t, none), alone));

  nn::Condition<float> sequence;
  sequence.sequence = random_tensor<float>(Shape{3, 4, 5}, 3);
  sequence.sequence_null = {0, 1, 0};
  const auto told = sequences.forward(x, t, sequence), untold = sequences.forward(x, t);
  CHECK_FALSE(same_bits(rows(told, 0, 1), rows(untold, 0, 1)));
  CHECK(largest_difference(rows(told, 1, 1), rows(untold, 1, 1)) <= 1e-5 * largest(untold));  // four zeros, not one

  // Neither the table nor the sequence hears of a sample that had none.
  nn::UNet<float>::Context ctx;
  static_cast<void>(classes.forward(x, t, some, &ctx));
  classes.backward(dy, ctx);
  nn::for_each_parameter(classes, [&](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name != "cond_embed.weight") return;
    for (const std::int64_t number : {0, 1, 2, 3, 4})
      CHECK((largest(rows(parameter.grad, number, 1)) > 0) == (number == 4 || number == 0));
  });
  Tensor<float> dsequence;
  static_cast<void>(sequences.forward(x, t, sequence, &ctx));
  sequences.backward(dy, ctx, &dsequence);
  for (const std::int64_t n : {0, 1, 2}) CHECK((largest(rows(dsequence, n, 1)) > 0) == (n != 1));
  ctx.condition_gradient = false;
  static_cast<void>(sequences.forward(x, t, sequence, &ctx));
  sequences.backward(dy, ctx, &dsequence);
  CHECK(dsequence.empty());
}

TEST_CASE("U-Nets with transformers have the same bits for any threads and any batch split, and settle in memory",
          "[nn][unet][bits][memory]") {
  auto config = padded_with_sequences();
  config.pool_sizes = {5, 2};
  nn::UNet<float> model(config);
  randomise(model);
  const auto x = random_tensor<float>(Shape{5, 13, 11, 1}, 1), dy = random_tensor<float>(x.shape(), 2);
  const auto sequence = random_tensor<float>(Shape{5, 3, 5}, 3);
  const Tensor<float> t(Shape{5}, {0.1F, 0.3F, 0.5F, 0.7F, 0.9F});
  nn::UNet<float>::Context ctx;
  const auto run = [&](std::int64_t first, std::int64_t count) {
    nn::Condition<float> condition;
    condition.sequence = rows(sequence, first, count);
    for (std::int64_t n = first; n < first + count; ++n) condition.sequence_null.push_back(n == 2);
    std::vector<Tensor<float>> results(3);
    nn::zero_gradients(model);
    results[0] = model.forward(rows(x, first, count), rows(t, first, count), condition, &ctx);
    results[1] = model.backward(rows(dy, first, count), ctx, &results[2]);
    return results;
  };
  same_for_any_threads([&] {
    auto results = run(0, 5);
    nn::for_each_trained(
        model, [&](const std::string&, auto& parameter, const nn::Entry&) { results.push_back(parameter.grad); });
    return results;
  });
  const Threads two(2);
  same_for_any_batch_split(5, run);
  for (int i = 0; i < 2; ++i) static_cast<void>(run(0, 5));
  const AllocatorStats before = allocator_stats();
  for (int i = 0; i < 3; ++i) static_cast<void>(run(0, 5));
  if (!watched) CHECK(allocator_stats().system_allocations == before.system_allocations);
}

TEST_CASE("a U-Net with a condition says what does not fit", "[nn][unet][errors]") {
  const nn::UNet<float> classes(padded_with_classes()), sequences(padded_with_sequences()),
      plain(small_unet(nn::Skip::add));
  const Tensor<float> x(Shape{2, 4, 4, 1}), large(Shape{2, 17, 17, 1}), t(Shape{2}, 0.5F);
  nn::Condition<float> condition;
  condition.classes = {1, 5};
  CHECK_THROWS_WITH(classes.forward(x, t, condition),
                    ContainsSubstring("expected class numbers from 0 to 4") && ContainsSubstring("got 5"));
  CHECK_THROWS_AS(sequences.forward(x, t, condition), ValueError);
  CHECK_THROWS_AS(plain.forward(large, t, condition), ValueError);
  condition.classes = {1};
  CHECK_THROWS_AS(classes.forward(x, t, condition), ShapeError);
  condition.classes = {};
  condition.sequence = Tensor<float>(Shape{2, 3, 4});
  CHECK_THROWS_AS(sequences.forward(x, t, condition), ShapeError);
  CHECK_THROWS_AS(classes.forward(x, t, condition), ValueError);
  CHECK_THROWS_WITH(nn::UNet<float>(with_classes()).forward(Tensor<float>(Shape{2, 20, 16, 1}), t),
                    "UNet: 4 levels need pictures of at least 17x17, got [2, 20, 16, 1]");
  CHECK_THROWS_WITH(classes.forward(Tensor<float>(Shape{2, 4, 0, 1}), t),
                    "UNet: 4 levels need pictures of at least 1x1, got [2, 4, 0, 1]");
  for (const std::int64_t size : {1, 2, 3, 5, 8, 12, 17})
    CHECK(classes.forward(Tensor<float>(Shape{2, size, 7, 1}), t).shape() == Shape{2, size, 7, 1});

  auto config = padded_with_classes();
  config.heads = 3;
  CHECK_THROWS_AS(nn::UNet<float>(config), ShapeError);
  config = padded_with_classes();
  config.transformer_levels = 5;
  CHECK_THROWS_WITH(nn::UNet<float>(config), "UNet: expected at most 4 levels with transformers, got 5");
  config.transformer_levels = 0;
  CHECK_THROWS_AS(nn::UNet<float>(config), ValueError);
  config = padded_with_classes();
  config.pool_sizes = nn::UNetConfig::pool_sizes_of(4);
  CHECK_THROWS_WITH(nn::UNet<float>(config), "PSPModule: expected grids of at least 1x1, got 0");
}

}  // namespace
