// The autoencoders: PyTorch's values and names, the original's values, gradients, promises, checkpoints, errors.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/latent/autoencoder_kl.hpp"
#include "easy_diffusion/latent/simple_autoencoder.hpp"
#include "easy_diffusion/nn/optim/clip.hpp"
#include "support/catch.hpp"
#include "support/drawn.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/listing.hpp"
#include "support/operation.hpp"
#include "support/paths.hpp"
#include "support/reference.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

latent::AutoEncoderKLConfig small_kl() {
  latent::AutoEncoderKLConfig config;
  config.picture_channels = config.out_channels = config.embed_dim = config.groups = 2;
  config.channels = 4;
  config.factors = {1, 2};
  config.blocks = 1;
  config.resolution = 8;
  config.latent_channels = 3;
  return config;
}

TEMPLATE_TEST_CASE("autoencoders with a normal latent agree with PyTorch", "[latent][golden]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "resnet.safetensors");
  const auto cases = cases_of(file, "kl_");
  CHECK(cases.size() == 3);
  for (const std::string& name : cases) {
    const GoldenCase<T> golden(file, name);
    latent::AutoEncoderKLConfig config = small_kl();
    config.channels = golden["ch"];
    config.factors = golden.list("m");
    config.attention_resolutions = golden.list("a");
    config.blocks = golden["blocks"];
    config.resolution = golden["resolution"];
    latent::AutoEncoderKL<T> model(config);
    draw_state(model);
    typename latent::AutoEncoderKL<T>::Context ctx;
    Agreement result;
    const auto x = drawn_input<T>(name + "/x", Shape{2, 2, golden["height"], golden["columns"]});
    const Tensor<T> y = model.forward(x, &ctx);
    result.compare("y", y, golden.want("y"));
    result.compare("grad.x", model.backward(drawn_weight<T>(name, y.shape()), ctx), golden.want("grad.x"));
    compare_sums(result, golden, model);
    INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
    CHECK(result.worst() <= (sizeof(T) == 4 ? 3e-4 : 1e-10));
  }
}

TEMPLATE_TEST_CASE("the simple autoencoder agrees with PyTorch", "[latent][golden]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "resnet.safetensors");
  for (const std::string name : {"simple_train", "simple_eval"}) {
    const GoldenCase<T> golden(file, name);
    latent::SimpleAutoEncoder<T> model({2, {3, 4, 5}});
    draw_state(model);
    typename latent::SimpleAutoEncoder<T>::Context ctx;
    ctx.mode.training = golden["train"] != 0;
    Agreement result;
    const Tensor<T> y = model.forward(drawn_input<T>(name + "/x", Shape{2, 2, 12, 10}), &ctx);
    result.compare("y", y, golden.want("y"));
    result.compare("grad.x", model.backward(drawn_weight<T>(name, y.shape()), ctx), golden.want("grad.x"));
    compare_sums(result, golden, model);
    model.commit(ctx);
    nn::for_each_parameter(model, [&](const std::string& key, auto& parameter, const nn::Entry& entry) {
      if (entry.kind == nn::Kind::buffer && ctx.mode.training) result.compare(key, parameter.value, golden.want(key));
    });
    INFO(name << (sizeof(T) == 4 ? " float: " : " double: ") << result);
    CHECK(result.worst() <= (sizeof(T) == 4 ? 1e-4 : 1e-11));
  }
}

TEST_CASE("the AutoEncoderKL agrees with the original", "[latent][golden][reference]") {
  latent::AutoEncoderKLConfig config;
  config.channels = 32;
  config.factors = {1, 2};
  config.blocks = 1;
  config.attention_resolutions = {8};
  config.resolution = 16;
  check_reference(
      "autoencoder_kl", [&]<class T>() { return latent::AutoEncoderKL<T>(config); },
      []<class T>(latent::AutoEncoderKL<T>& model, const io::SafetensorsFile& inputs, const Tensor<T>& w,
                  NamedTensors<T>& got) {
        typename latent::AutoEncoderKL<T>::Context ctx;
        got["output"] = model.forward(channels_last(inputs.read<T>("x")), &ctx);
        got["grad_input.x"] = model.backward(w, ctx);
      });
}

TEST_CASE("autoencoders have PyTorch's names and shapes", "[latent][state_dict]") {
  CHECK(listing(latent::AutoEncoderKL<float>(latent::AutoEncoderKLConfig())) == golden_listing("AutoEncoderKL"));
  CHECK(listing(latent::SimpleAutoEncoder<float>()) == golden_listing("SimpleAutoEncoder"));
}

/// An autoencoder that always draws its latent picture, and trains.
struct Sampling : latent::AutoEncoderKL<double> {
  using Base = latent::AutoEncoderKL<double>;
  using Base::Base;
  Tensor<double> forward(const Tensor<double>& x, Context* ctx) const {
    ctx->noise = NoiseAddress{4, streams::user, 0};
    ctx->mode.training = true;
    return Base::forward(x, ctx);
  }
};

TEST_CASE("autoencoders have the right gradients", "[latent][gradients]") {
  const auto check = [](auto& model, const Inputs<1>& in) {
    draw_state(model);  // variances above zero
    const auto report = check_gradients(model, in, Entries::sampled);
    INFO(report);
    CHECK(report.passed());
  };
  const Inputs<1> a{random_tensor<double>(Shape{2, 4, 4, 2}, 1)}, b{random_tensor<double>(Shape{1, 6, 2, 2}, 2)};
  latent::AutoEncoderKLConfig config = small_kl();
  config.dropout = 0.2;
  Sampling sampling(config);
  check(sampling, a);
  config.attention = latent::AttentionKind::linear;
  config.resample_convolved = false;
  latent::AutoEncoderKL<double> linear(config);
  check(linear, a);
  for (const std::string& promise : broken_promises(linear, a, b)) FAIL_CHECK(promise);
  latent::SimpleAutoEncoder<double> simple({2, {3, 4, 5}});
  const Inputs<1> small{random_tensor<double>(Shape{2, 10, 12, 2}, 1)};
  check(simple, small);
  for (const std::string& promise :
       broken_promises(simple, small, Inputs<1>{random_tensor<double>(Shape{1, 12, 10, 2}, 2)}))
    FAIL_CHECK(promise);
}

TEST_CASE("autoencoders refuse contexts of no forward pass, or of half of one", "[latent][errors]") {
  latent::AutoEncoderKL<double> model(small_kl());
  draw_state(model);
  const auto x = random_tensor<double>(Shape{1, 4, 4, 2}, 1);
  using Context = latent::AutoEncoderKL<double>::Context;
  Context encoded, decoded;
  const auto z = model.encode(x, &encoded).mode();
  const auto y = model.decode(z, &decoded);
  for (const Context& ctx : {Context(), encoded}) {
    CHECK_THROWS_WITH(model.backward(y, ctx),
                      ContainsSubstring("LayerChain: backward: expected the context of a forward pass"));
    CHECK_THROWS_AS(model.decode_backward(y, ctx), ValueError);
  }
  CHECK_THROWS_AS(model.backward(y, decoded), Error);
  CHECK(model.decode_backward(y, decoded).shape() == z.shape());
  CHECK_THROWS_AS(model.encode_backward(encoded.posterior.mode_backward(z), decoded), ValueError);
  CHECK_THROWS_AS(latent::SimpleAutoEncoder<double>().backward(x, {}), ValueError);
  CHECK_THROWS_AS(latent::DiagonalGaussian<double>().mode_backward(z), ShapeError);
}

TEST_CASE("a divergence's gradient joins in", "[latent][gradients]") {
  latent::AutoEncoderKL<double> model(small_kl());
  randomise(model);
  auto x = random_tensor<double>(Shape{2, 4, 4, 2}, 1);
  latent::AutoEncoderKL<double>::Context ctx;
  const auto y = model.forward(x, &ctx);
  const auto w = random_tensor<double>(y.shape(), 2);
  nn::zero_gradients(model);
  std::vector<Checked> tensors{{"x", &x, model.backward(w, ctx, ctx.posterior.kl_backward(0.3))}};
  // The scalar is sum(w y) + 0.3 (divergences of both samples): the forward pass joins them in one tensor.
  Tensor<double> weights(Shape{w.size() + 2}, 0.3);
  std::copy(w.begin(), w.end(), weights.begin());
  const auto report = compare_with_differences(
      tensors, weights,
      [&] {
        latent::AutoEncoderKL<double>::Context fresh;
        const auto out = model.forward(x, &fresh);
        const auto kl = fresh.posterior.kl();
        Tensor<double> joined(Shape{out.size() + 2});
        std::copy(out.begin(), out.end(), joined.begin());
        std::copy(kl.begin(), kl.end(), joined.begin() + out.size());
        return joined;
      },
      Entries::every);
  INFO(report);
  CHECK(report.passed());
}

TEST_CASE("the gradient of the last weight alone is that of a whole backward pass, and touches nothing", "[latent][gradients]") {
  const auto check = [](auto& model, auto& ctx, const std::string& last, const Shape& pictures) {
    draw_state(model);
    nn::zero_gradients(model);
    const Tensor<double> y = model.forward(random_tensor<double>(pictures, 1), &ctx);
    const Tensor<double> dy = random_tensor<double>(y.shape(), 2);
    const Tensor<double> got = model.last_gradient(dy, ctx);
    CHECK(nn::gradient_norm(model) == 0);
    static_cast<void>(model.backward(dy, ctx));
    int found = 0;
    nn::for_each_parameter(model, [&](const std::string& name, auto& parameter, const nn::Entry&) {
      if (name != last) return;
      ++found;
      CHECK(same_bits(got, parameter.grad));
    });
    CHECK(found == 1);
  };
  for (const bool checkpoint : {false, true}) {
    latent::AutoEncoderKLConfig config;
    config.channels = 4;
    config.factors = {1, 2};
    config.blocks = 1;
    config.groups = 2;
    config.checkpoint = checkpoint;
    latent::AutoEncoderKL<double> model(config);
    latent::AutoEncoderKL<double>::Context ctx;
    check(model, ctx, "decoder.conv_out.weight", Shape{2, 4, 6, 3});
    CHECK_THROWS_AS(model.last_gradient(Tensor<double>(Shape{2, 4, 6, 3}), {}), ValueError);
  }
  latent::SimpleAutoEncoder<double> simple({2, {3, 4, 5}});
  latent::SimpleAutoEncoder<double>::Context ctx;
  ctx.mode.training = true;
  check(simple, ctx, "decoder.6.weight", Shape{2, 12, 10, 2});
}

TEST_CASE("autoencoder checkpoints change no bit and keep less", "[latent][memory]") {
  latent::AutoEncoderKLConfig config = small_kl();
  config.dropout = 0.2;
  latent::AutoEncoderKL<float> plain(config);
  config.checkpoint = true;
  latent::AutoEncoderKL<float> checkpointed(config);
  const auto x = random_tensor<float>(Shape{2, 16, 16, 2}, 1);
  const auto pass = [&](latent::AutoEncoderKL<float>& model, std::uint64_t& bytes) {
    randomise(model);
    latent::AutoEncoderKL<float>::Context ctx;
    ctx.mode.training = true;
    ctx.noise = NoiseAddress{1, streams::user, 2};
    nn::zero_gradients(model);
    const std::uint64_t before = allocator_stats().bytes_in_use;
    std::vector<Tensor<float>> results;
    results.push_back(model.forward(x, &ctx));
    bytes = allocator_stats().bytes_in_use - before;
    results.push_back(model.backward(results[0], ctx));
    nn::for_each_trained(
        model, [&](const nn::Name&, auto& parameter, const nn::Entry&) { results.push_back(parameter.grad); });
    return results;
  };
  std::uint64_t all = 0, some = 0;
  const auto expected = pass(plain, all), got = pass(checkpointed, some);
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], expected[i]));
  CHECK(some < all * 3 / 4);
}

TEST_CASE("autoencoders have the same bits for any threads and any batch split", "[latent][bits]") {
  latent::AutoEncoderKL<float> model(small_kl());
  randomise(model);
  const auto x = random_tensor<float>(Shape{4, 12, 8, 2}, 1);
  same_for_any_threads([&] {
    latent::AutoEncoderKL<float>::Context ctx;
    std::vector<Tensor<float>> results;
    nn::zero_gradients(model);
    results.push_back(model.forward(x, &ctx));
    results.push_back(model.backward(x, ctx));
    nn::for_each_trained(
        model, [&](const nn::Name&, auto& parameter, const nn::Entry&) { results.push_back(parameter.grad); });
    return results;
  });
  same_for_any_batch_split(4, [&](std::int64_t first, std::int64_t count) {
    std::vector<Tensor<float>> results;
    results.push_back(model.forward(rows(x, first, count)));
    return results;
  });
}

TEST_CASE("a training step of an autoencoder asks the system for no memory after the second", "[latent][memory]") {
  const Threads two(2);
  latent::AutoEncoderKL<float> model(small_kl());
  randomise(model);
  const auto x = random_tensor<float>(Shape{2, 8, 8, 2}, 1);
  latent::AutoEncoderKL<float>::Context ctx;
  ctx.input_gradient = false;
  const auto step = [&] {
    nn::zero_gradients(model);
    const auto y = model.forward(x, &ctx);
    CHECK(model.backward(y, ctx, ctx.posterior.kl_backward(1e-6F)).empty());
  };
  step();
  step();
  const AllocatorStats before = allocator_stats();
  for (int i = 0; i < 4; ++i) step();
  const AllocatorStats after = allocator_stats();
  if (!watched) CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.bytes_in_use == before.bytes_in_use);
}

TEST_CASE("autoencoders say what does not fit", "[latent][errors]") {
  latent::AutoEncoderKLConfig config = small_kl();
  const latent::AutoEncoderKL<float> model(config);
  CHECK(model.scale() == 2);
  CHECK_THROWS_WITH(
      model.forward(Tensor<float>(Shape{1, 8, 7, 2})),
      "AutoEncoderKL: 1 halvings need pictures whose height and width are multiples of 2, got [1, 8, 7, 2]");
  CHECK_THROWS_WITH(model.forward(Tensor<float>(Shape{1, 8, 8, 3})),
                    "AutoEncoderKL: expected pictures of 2 channels, got [1, 8, 8, 3]");
  CHECK_THROWS_AS(model.forward(Tensor<float>(Shape{8, 8, 2})), ShapeError);
  CHECK_THROWS_AS(model.decode(Tensor<float>(Shape{1, 4, 4, 3})), ShapeError);
  config.factors = {};
  CHECK_THROWS_AS(latent::AutoEncoderKL<float>(config), ValueError);
  config = small_kl();
  config.channels = 3;
  CHECK_THROWS_AS(latent::AutoEncoderKL<float>(config), ShapeError);
  config = small_kl();
  config.blocks = 0;
  CHECK_THROWS_AS(latent::AutoEncoderKL<float>(config), ValueError);
  const latent::SimpleAutoEncoder<float> simple;
  CHECK_THROWS_WITH(simple.forward(Tensor<float>(Shape{1, 28, 27, 1})),
                    "SimpleAutoEncoder: expected an even height and width of at least 10, got [1, 28, 27, 1]");
  CHECK_THROWS_AS(simple.forward(Tensor<float>(Shape{1, 8, 8, 1})), ShapeError);
  CHECK_THROWS_AS(simple.forward(Tensor<float>(Shape{1, 28, 28, 3})), ShapeError);
  CHECK(simple.encode(Tensor<float>(Shape{2, 28, 26, 1})).shape() == Shape{2, 10, 9, 32});
  CHECK(simple.forward(Tensor<float>(Shape{0, 28, 28, 1})).shape() == Shape{0, 28, 28, 1});
}

}  // namespace
