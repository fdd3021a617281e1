// Both small U-Nets: gradients against finite differences, promises, threads, batches, memory.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/nn/models/classifier.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/catch.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

Inputs<2> inputs(std::int64_t batch, std::int64_t h, std::int64_t w, std::uint32_t number) {
  Inputs<2> in{random_tensor<double>(Shape{batch, h, w, 1}, number), Tensor<double>(Shape{batch})};
  for (std::int64_t n = 0; n < batch; ++n) in[1][n] = 0.3 + 0.5 / static_cast<double>(batch) * static_cast<double>(n);
  return in;
}

TEST_CASE("U-Nets have the right gradients", "[nn][gradients][unet]") {
  for (const nn::Skip skip : {nn::Skip::concatenate, nn::Skip::add}) {
    nn::UNet<double> model(small_unet(skip));
    randomise(model);
    const auto report = check_gradients(model, inputs(2, 18, 19, 1), Entries::sampled);
    INFO((skip == nn::Skip::add ? "UNet_res: " : "UNet: ") << report);
    CHECK(report.passed());
    for (const std::string& promise : broken_promises(model, inputs(2, 18, 17, 1), inputs(1, 20, 17, 2)))
      FAIL_CHECK(promise);
  }
}

TEST_CASE("a two-level U-Net without a marginal deviation has the right gradients", "[nn][gradients][unet]") {
  nn::UNetConfig config = small_unet(nn::Skip::concatenate);
  config.channels = {4, 8};
  config.marginal_std = {};
  nn::UNet<double> model(config);
  randomise(model);
  const auto report = check_gradients(model, inputs(2, 6, 7, 1), Entries::sampled);
  INFO(report);
  CHECK(report.passed());
}

TEST_CASE("the classifier has the right gradients", "[nn][gradients][classifier]") {
  nn::ClassifierConfig config;
  config.height = 6;
  config.width = 5;
  config.channels = {4, 6, 4};
  config.groups = 2;
  config.classes = 3;
  nn::Classifier<double> model(config);
  randomise(model);
  const auto report = check_gradients(model, Inputs<1>{random_tensor<double>(Shape{2, 6, 5, 1}, 1)}, Entries::sampled);
  INFO(report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(model, Inputs<1>{random_tensor<double>(Shape{2, 6, 5, 1}, 1)},
                                                    Inputs<1>{random_tensor<double>(Shape{1, 6, 5, 1}, 2)}))
    FAIL_CHECK(promise);
}

TEST_CASE("U-Nets have the same bits for any threads and any batch split", "[nn][unet][bits]") {
  for (const nn::Skip skip : {nn::Skip::concatenate, nn::Skip::add}) {
    nn::UNet<float> model(small_unet(skip));
    randomise(model);
    const auto x = random_tensor<float>(Shape{7, 20, 21, 1}, 1), dy = random_tensor<float>(x.shape(), 2);
    Tensor<float> t(Shape{7});
    for (std::int64_t n = 0; n < 7; ++n) t[n] = 0.1F * static_cast<float>(n + 1);
    same_for_any_threads([&] {
      nn::UNet<float>::Context ctx;
      std::vector<Tensor<float>> results;
      nn::zero_gradients(model);
      results.push_back(model.forward(x, t, &ctx));
      results.push_back(model.backward(dy, ctx));
      nn::for_each_trained(
          model, [&](const std::string&, auto& parameter, const nn::Entry&) { results.push_back(parameter.grad); });
      return results;
    });
    const Threads two(2);
    same_for_any_batch_split(7, [&](std::int64_t first, std::int64_t count) {
      nn::UNet<float>::Context ctx;
      std::vector<Tensor<float>> results;
      results.push_back(model.forward(rows(x, first, count), rows(t, first, count), &ctx));
      results.push_back(model.backward(rows(dy, first, count), ctx));
      return results;
    });
  }
}

TEST_CASE("a training step asks the system for no memory after the second", "[nn][unet][memory]") {
  for (const nn::Skip skip : {nn::Skip::concatenate, nn::Skip::add}) {
    const Threads two(2);
    nn::UNet<float> model(small_unet(skip));
    randomise(model);
    const auto x = random_tensor<float>(Shape{3, 20, 20, 1}, 1), dy = random_tensor<float>(x.shape(), 2);
    const Tensor<float> t(Shape{3}, 0.5F);
    nn::UNet<float>::Context ctx;
    ctx.input_gradient = false;
    const auto step = [&] {
      nn::zero_gradients(model);
      static_cast<void>(model.forward(x, t, &ctx));
      CHECK(model.backward(dy, ctx).empty());
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

TEST_CASE("frozen parts of a U-Net cost no gradients and change no others", "[nn][unet]") {
  nn::UNet<double> model(small_unet(nn::Skip::concatenate));
  randomise(model);
  const auto in = inputs(2, 18, 18, 1);
  nn::set_trainable(model, false);
  nn::UNet<double>::Context ctx;
  const auto y = model.forward(in[0], in[1], &ctx);
  CHECK(model.backward(y, ctx).shape() == in[0].shape());
  nn::for_each_parameter(model, [](const std::string& name, auto& parameter, const nn::Entry&) {
    INFO(name);
    CHECK(parameter.grad.empty());
  });
}

TEST_CASE("a U-Net says what does not fit", "[nn][unet][errors]") {
  const nn::UNet<float> model(small_unet(nn::Skip::concatenate));
  const Tensor<float> t(Shape{2});
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{2, 16, 20, 1}), t),
                    "UNet: 4 levels need pictures of at least 17x17, got [2, 16, 20, 1]");
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{2, 20, 20, 3}), t),
                    "UNet: expected pictures of 1 channels, got [2, 20, 20, 3]");
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{3, 20, 20, 1}), t), "UNet times: expected [3], got [2]");
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{20, 20, 1}), t), "UNet: expected [N, H, W, C], got [20, 20, 1]");
  for (const std::int64_t size : {17, 18, 19, 20, 21, 23, 28})
    CHECK(model.forward(Tensor<float>(Shape{2, size, 17, 1}), Tensor<float>(Shape{2}, 0.5F)).shape() ==
          Shape{2, size, 17, 1});
  nn::UNetConfig config = small_unet(nn::Skip::add);
  config.channels = {4};
  CHECK_THROWS_WITH(nn::UNet<float>(config), "UNet: expected at least two levels, got 1");
  config.channels = {4, 6};
  CHECK_THROWS_AS(nn::UNet<float>(config), ShapeError);
  config.channels = {4, 8};
  config.embed_dim = 7;
  CHECK_THROWS_AS(nn::UNet<float>(config), ValueError);
}

}  // namespace

TEST_CASE("an empty batch is no error, an empty layer is one") {
  nn::UNetConfig config = nn::UNetConfig::unet([](double) { return 2.0; });
  config.channels = {4, 8};
  config.first_groups = config.groups = 4;
  config.embed_dim = 4;
  nn::UNet<double> model(config);
  CHECK(model.forward(Tensor<double>(Shape{0, 8, 8, 1}), Tensor<double>(Shape{0})).shape() == Shape{0, 8, 8, 1});
  const nn::Classifier<float> classifier(nn::ClassifierConfig{});
  CHECK(classifier.forward(Tensor<float>(Shape{0, 28, 28, 1})).shape() == Shape{0, 10});

  const Tensor<double> nothing(Shape{1, 5, 5, 0});
  CHECK_THROWS_AS(nn::Conv2d<double>(0, 8).forward(nothing), ShapeError);
  CHECK_THROWS_AS(nn::ConvTranspose2d<double>(0, 8).forward(nothing), ShapeError);
  CHECK_THROWS_AS(nn::Linear<double>(0, 8).forward(nothing), ShapeError);
  const Tensor<double> picture(Shape{1, 5, 5, 3});
  CHECK_THROWS_AS(nn::Conv2d<double>(3, 0).forward(picture), ShapeError);
  CHECK_THROWS_AS(nn::Conv2d<double>(3, 4, {.kernel = 0}).forward(picture), ShapeError);
}
