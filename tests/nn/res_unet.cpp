// The residual U-Nets: gradients, promises, checkpoints, threads, batches, memory, conditions, errors.

#include "easy_diffusion/nn/models/res_unet.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "support/catch.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/operation.hpp"
#include "support/res_unets.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

Tensor<double> picture(std::int64_t batch, std::int64_t h, std::int64_t w, std::uint32_t number) {
  return random_tensor<double>(Shape{batch, h, w, 1}, number);
}
Inputs<2> told(std::int64_t batch, std::int64_t h, std::int64_t w, std::int64_t tokens, std::uint32_t number) {
  return {picture(batch, h, w, number), random_tensor<double>(Shape{batch, tokens, 5}, number + 1)};
}

TEST_CASE("residual U-Nets that are told a sequence have the right gradients", "[nn][gradients][res_unet]") {
  const Threads one(1);
  nn::ResUNetConfig config = small_res_unet();
  SequenceResUNet plain(config);
  randomise(plain);
  for (const std::string& promise : broken_promises(plain, told(2, 4, 8, 3, 1), told(1, 4, 4, 1, 3)))
    FAIL_CHECK(promise);
  config.block = nn::BlockKind::two_convolutions;
  config.dropout = 0.25;
  SequenceResUNet model(config);
  randomise(model);
  model.second_is_null = true;
  model.mode.training = true;
  const auto report = check_gradients(model, told(2, 4, 4, 3, 1), Entries::sampled);
  INFO(report);
  CHECK(report.passed());
}

TEST_CASE("residual U-Nets that are told a class, or nothing, have the right gradients", "[nn][gradients][res_unet]") {
  const Threads one(1);
  nn::ResUNetConfig classes = small_res_unet();
  classes.time = nn::TimeFeatures::fourier;
  classes.condition = {nn::ConditionKind::classes, 3, 6};
  classes.resample_blocks = true;
  nn::ResUNetConfig nothing = small_res_unet();
  nothing.condition = {};
  nothing.halve_last = false;
  nothing.attention_resolutions = {1};
  nothing.resample_convolved = false;
  for (const nn::ResUNetConfig& config : {classes, nothing}) {
    ClassResUNet model(config);
    randomise(model);
    const auto report = check_gradients(model, Inputs<1>{picture(2, 8, 4, 1)}, Entries::sampled);
    INFO((config.halve_last ? "classes: " : "nothing: ") << report);
    CHECK(report.passed());
  }
}

struct Pass {
  std::vector<Tensor<float>> results;
  std::uint64_t bytes_kept = 0;  ///< between forward and backward, by contexts
};

Pass pass(nn::ResUNet<float>& model, const Tensor<float>& x, const nn::Condition<float>& condition) {
  nn::ResUNet<float>::Context ctx;
  ctx.mode.training = true;
  const Tensor<float> t(Shape{x.extent(0)}, 0.5F);
  nn::zero_gradients(model);
  Pass result;
  const std::uint64_t before = allocator_stats().bytes_in_use;
  result.results.push_back(model.forward(x, t, condition, &ctx));
  result.bytes_kept = allocator_stats().bytes_in_use - before;
  Tensor<float> dcondition;
  result.results.push_back(model.backward(random_tensor<float>(x.shape(), 9), ctx, &dcondition));
  result.results.push_back(std::move(dcondition));
  nn::for_each_trained(
      model, [&](const nn::Name&, auto& parameter, const nn::Entry&) { result.results.push_back(parameter.grad); });
  return result;
}

TEST_CASE("checkpoints change no bit and keep less", "[nn][res_unet][memory]") {
  for (const nn::BlockKind block : {nn::BlockKind::one_convolution, nn::BlockKind::two_convolutions}) {
    nn::ResUNetConfig config = small_res_unet();
    config.block = block;
    config.dropout = 0.25;
    nn::ResUNet<float> plain(config);
    config.checkpoint = true;
    nn::ResUNet<float> checkpointed(config);
    randomise(plain);
    randomise(checkpointed);
    const auto x = random_tensor<float>(Shape{2, 16, 16, 1}, 1);
    nn::Condition<float> condition;
    condition.sequence = random_tensor<float>(Shape{2, 3, 5}, 2);
    const Pass all = pass(plain, x, condition), some = pass(checkpointed, x, condition);
    REQUIRE(all.results.size() == some.results.size());
    for (std::size_t i = 0; i < all.results.size(); ++i) CHECK(same_bits(all.results[i], some.results[i]));
    CHECK(some.bytes_kept < all.bytes_kept / 2);
  }
}

TEST_CASE("residual U-Nets have the same bits for any threads and any batch split", "[nn][res_unet][bits]") {
  nn::ResUNetConfig config = small_res_unet();
  config.condition = {nn::ConditionKind::classes, 4, 6};
  nn::ResUNet<float> model(config);
  randomise(model);
  const std::vector<std::int64_t> classes{1, -1, 3, 0, 2};
  const auto x = random_tensor<float>(Shape{5, 8, 12, 1}, 1);
  same_for_any_threads([&] {
    nn::Condition<float> condition;
    condition.classes = classes;
    return pass(model, x, condition).results;
  });
  const Threads two(2);
  same_for_any_batch_split(5, [&](std::int64_t first, std::int64_t count) {
    nn::Condition<float> condition;
    condition.classes.assign(classes.begin() + first, classes.begin() + first + count);
    nn::ResUNet<float>::Context ctx;
    std::vector<Tensor<float>> results;
    results.push_back(model.forward(rows(x, first, count), Tensor<float>(Shape{count}, 0.5F), condition));
    results.push_back(model.forward(rows(x, first, count), Tensor<float>(Shape{count}, 0.5F), condition, &ctx));
    CHECK(same_bits(results[0], results[1]));
    results.push_back(model.backward(rows(x, first, count), ctx));
    return results;
  });
}

TEST_CASE("a training step of a residual U-Net asks the system for no memory after the second",
          "[nn][res_unet][memory]") {
  for (const bool checkpoint : {false, true}) {
    const Threads two(2);
    nn::ResUNetConfig config = small_res_unet();
    config.checkpoint = checkpoint;
    nn::ResUNet<float> model(config);
    randomise(model);
    const auto x = random_tensor<float>(Shape{2, 8, 8, 1}, 1);
    const Tensor<float> t(Shape{2}, 0.5F);
    nn::Condition<float> condition;
    condition.sequence = random_tensor<float>(Shape{2, 3, 5}, 2);
    nn::ResUNet<float>::Context ctx;
    ctx.input_gradient = false;
    const auto step = [&] {
      nn::zero_gradients(model);
      const auto y = model.forward(x, t, condition, &ctx);
      CHECK(model.backward(y, ctx).empty());
    };
    step();
    step();
    const AllocatorStats before = allocator_stats();
    for (int i = 0; i < 4; ++i) step();
    const AllocatorStats after = allocator_stats();
    if (!watched) CHECK(after.system_allocations == before.system_allocations);
    CHECK(after.bytes_in_use == before.bytes_in_use);
  }
}

TEST_CASE("a sample without a condition is shown zeros", "[nn][res_unet][condition]") {
  nn::ResUNetConfig config = small_res_unet();
  nn::ResUNet<double> told_sequences(config);
  randomise(told_sequences);
  config.condition = {nn::ConditionKind::classes, 4, 6};
  nn::ResUNet<double> told_classes(config);
  randomise(told_classes);
  const auto x = picture(2, 4, 4, 1);
  const Tensor<double> t(Shape{2}, 0.5);

  nn::Condition<double> some;
  some.classes = {-1, 3};
  const auto nothing = told_classes.forward(x, t);
  const auto mixed = told_classes.forward(x, t, some);
  CHECK(same_bits(rows(mixed, 0, 1), rows(nothing, 0, 1)));
  CHECK_FALSE(same_bits(rows(mixed, 1, 1), rows(nothing, 1, 1)));

  // However long a sequence of zeros is, attention to it adds nothing.
  nn::Condition<double> half;
  half.sequence = random_tensor<double>(Shape{2, 3, 5}, 2);
  const auto all = told_sequences.forward(x, t, half);
  half.sequence_null = {1, 0};
  const auto halved = told_sequences.forward(x, t, half);
  CHECK(relative_error(rows(halved, 0, 1), rows(told_sequences.forward(x, t), 0, 1)) <= rounding<double>);
  CHECK(same_bits(rows(halved, 1, 1), rows(all, 1, 1)));
  CHECK_FALSE(same_bits(rows(halved, 0, 1), rows(all, 0, 1)));
}

TEST_CASE("a residual U-Net says what does not fit", "[nn][res_unet][errors]") {
  const nn::ResUNetConfig small = small_res_unet();
  const nn::ResUNet<float> model(small);
  const Tensor<float> t(Shape{2}), x(Shape{2, 8, 8, 1});
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{2, 8, 10, 1}), t),
                    "ResUNet: 2 halvings need pictures whose height and width are multiples of 4, got [2, 8, 10, 1]");
  CHECK_THROWS_AS(model.forward(Tensor<float>(Shape{2, 0, 8, 1}), t), ShapeError);
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{2, 8, 8, 3}), t),
                    "ResUNet: expected pictures of 1 channels, got [2, 8, 8, 3]");
  CHECK_THROWS_WITH(model.forward(x, Tensor<float>(Shape{3})), "ResUNet times: expected [2], got [3]");
  nn::Condition<float> condition;
  condition.classes = {1, 2};
  CHECK_THROWS_WITH(model.forward(x, t, condition),
                    "condition: the model takes embedding sequences, got class numbers");
  condition.classes.clear();
  condition.sequence = Tensor<float>(Shape{2, 3, 4});
  CHECK_THROWS_WITH(model.forward(x, t, condition), "condition: expected [2, 3, 5], got [2, 3, 4]");
  condition.sequence = Tensor<float>(Shape{1, 3, 5});
  CHECK_THROWS_AS(model.forward(x, t, condition), ShapeError);
  condition.sequence = Tensor<float>(Shape{2, 0, 5});
  CHECK_THROWS_AS(model.forward(x, t, condition), ShapeError);
  condition.sequence = Tensor<float>(Shape{2, 3, 5});
  condition.sequence_null = {1};
  CHECK_THROWS_AS(model.forward(x, t, condition), ShapeError);
  condition.classes = {1, 2};
  CHECK_THROWS_AS(model.forward(x, t, condition), ValueError);

  nn::ResUNetConfig config = small;
  config.condition = {nn::ConditionKind::classes, 10, 6};
  const nn::ResUNet<float> classes(config);
  condition = {};
  condition.classes = {3, 10};
  CHECK_THROWS_WITH(classes.forward(x, t, condition),
                    "condition: expected class numbers from 0 to 9, or a negative one for no condition, got 10");
  condition.classes = {3};
  CHECK_THROWS_AS(classes.forward(x, t, condition), ShapeError);

  const auto rejected = [&](auto change) {
    nn::ResUNetConfig changed = small;
    change(changed);
    CHECK_THROWS_AS(nn::ResUNet<float>(changed), Error);
  };
  rejected([](auto& c) { c.channels = {}; });
  rejected([](auto& c) { c.channels = {8, 8}; });  // the first is not model_channels
  rejected([](auto& c) { c.channels = {4, 7}; });  // groups do not divide them
  rejected([](auto& c) { c.blocks = 0; });
  rejected([](auto& c) { c.heads = 3; });
  rejected([](auto& c) { c.dropout = 1.5; });
  rejected([](auto& c) { c.embed_dim = 2; });
  rejected([](auto& c) { c.condition.inputs = 0; });
  CHECK(model.forward(Tensor<float>(Shape{0, 8, 8, 1}), Tensor<float>(Shape{0})).shape() == Shape{0, 8, 8, 1});
}

}  // namespace
