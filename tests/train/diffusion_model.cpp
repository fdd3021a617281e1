// The model of a checkpoint as samplers want it: its halves, its bits in any batch, and what is refused.

#include "easy_diffusion/train/diffusion_model.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/flow.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/diffusion/variational_bound.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
namespace df = easy_diffusion::diffusion;

namespace {

/// Settings of a tiny network that is told one of three classes.
nlohmann::json settings_of(const train::DiffusionSettings& settings) {
  auto model = zoo::timed_model_settings("unet_transformer", settings.channels, 3, std::nullopt);
  model["channels"] = {32, 32};
  model["embed_dim"] = 8;
  model["text_dim"] = 8;
  if (settings.learns_variance()) model["out_channels"] = 2 * settings.channels;
  model["diffusion"] = train::to_json(settings);
  return model;
}

/// A checkpoint whose averaged weights are those of seed 1 and whose last ones are those of seed 2.
std::filesystem::path checkpoint_of(const nlohmann::json& model_settings) {
  static const std::filesystem::path folder = scratch_folder("diffusion_model");
  zoo::Model<float> model(model_settings);
  nn::initialize(model, 1);
  nn::Ema<float> ema(model, 0.9);
  nn::initialize(model, 2);
  nn::Adam<float> adam;
  const auto path = folder / "checkpoint.safetensors";
  train::save_checkpoint(path, model, adam, ema, {}, model_settings, nlohmann::json::object());
  return path;
}

train::DiffusionSettings small_pictures() {
  train::DiffusionSettings settings;
  settings.height = settings.width = 9;
  settings.timesteps = 20;
  settings.time_scale = 0.05;
  return settings;
}

nn::Condition<float> classes(std::vector<std::int64_t> numbers) {
  nn::Condition<float> condition;
  condition.classes = std::move(numbers);
  return condition;
}

}  // namespace

TEST_CASE("a checkpoint's model gives x0 of what its network predicts", "[train][diffusion]") {
  const auto settings = small_pictures();
  const train::Checkpoint checkpoint(checkpoint_of(settings_of(settings)));
  const train::DiffusionModel<float> model(checkpoint);
  CHECK(model.settings() == settings);
  CHECK(model.classes() == 3);

  const auto x = random_tensor<float>(settings.pictures(2), 1);
  const auto level = settings.make_schedule().level(12);
  Tensor<float> x0(x.shape());
  model.denoiser(classes({2, -1}))(x, level, x0);
  zoo::Model<float> network(checkpoint.model_settings());
  nn::initialize(network, 1);
  const auto epsilon = network.forward(x, Tensor<float>(Shape{2}, 0.6F), classes({2, -1}));
  for (std::int64_t i = 0; i < x.size(); ++i)
    REQUIRE(static_cast<double>(x0[i]) ==
            Approx((static_cast<double>(x[i]) - level.sigma * static_cast<double>(epsilon[i])) / level.alpha).margin(1e-5));

  // The last weights are others.
  Tensor<float> raw(x.shape());
  train::DiffusionModel<float>(checkpoint, false).denoiser(classes({2, -1}))(x, level, raw);
  CHECK(raw[0] != x0[0]);
}

TEST_CASE("a checkpoint's model answers by the method it was trained with", "[train][diffusion][edm][flow]") {
  train::DiffusionSettings settings;
  settings.height = settings.width = 9;
  const auto x = random_tensor<float>(settings.pictures(2), 1);
  Tensor<float> x0(x.shape()), v;
  // What the network answers to c_in x at a time, by hand.
  const auto answer = [&](const nlohmann::json& model_settings, double scale, double time) {
    zoo::Model<float> network(model_settings);
    nn::initialize(network, 1);
    Tensor<float> shown = x;
    for (float& e : shown) e *= static_cast<float>(scale);
    return network.forward(shown, Tensor<float>(Shape{2}, static_cast<float>(time)), classes({2, -1}));
  };

  settings.method = train::DiffusionMethod::flow;
  settings.time_scale = 10;
  {
    const train::DiffusionModel<float> model(train::Checkpoint(checkpoint_of(settings_of(settings))));
    CHECK(model.settings() == settings);
    const df::NoiseLevel level = df::flow_level(0.3);
    model.denoiser(classes({2, -1}))(x, level, x0);
    const auto velocity = answer(settings_of(settings), 1, 3);
    for (std::int64_t i = 0; i < x.size(); ++i)
      REQUIRE(x0[i] == Approx(static_cast<double>(x[i]) - 0.3 * static_cast<double>(velocity[i])).margin(1e-5));
    CHECK_THROWS_AS(model.denoiser()(x, level, x0, v), ValueError);
  }

  settings.method = train::DiffusionMethod::edm;
  settings.time_scale = 1;
  settings.data_deviation = 0.7;
  {
    const train::DiffusionModel<float> model(train::Checkpoint(checkpoint_of(settings_of(settings))));
    CHECK(model.settings() == settings);
    const double sigma = 0.4;
    const df::EdmScales c = df::Edm({.data_deviation = 0.7}).scales(sigma);
    model.denoiser(classes({2, -1}))(x, df::exploding_level(sigma), x0);
    const auto network = answer(settings_of(settings), c.in, std::log(sigma) / 4);
    for (std::int64_t i = 0; i < x.size(); ++i)
      REQUIRE(x0[i] == Approx(c.skip * static_cast<double>(x[i]) + c.out * static_cast<double>(network[i])).margin(1e-5));
    CHECK_THROWS_AS(model.denoiser()(x, df::exploding_level(sigma), x0, v), ValueError);
    CHECK_THROWS_WITH(model.settings().make_schedule(), ContainsSubstring("ddpm") && ContainsSubstring("edm"));
  }
}

TEST_CASE("a checkpoint's model puts out what the bound asks for", "[train][diffusion]") {
  auto settings = small_pictures();
  settings.variance = df::VarianceType::learned_range;
  const auto model_settings = settings_of(settings);
  const train::DiffusionModel<float> model(train::Checkpoint(checkpoint_of(model_settings)));
  Tensor<float> pictures(settings.pictures(3));
  for (std::int64_t i = 0; i < pictures.size(); ++i)
    pictures[i] = static_cast<float>(static_cast<double>((7 * i) % 256) / 127.5 - 1);
  const auto told = classes({2, 0, -1});

  df::BoundEstimate estimate(settings.make_chain(), 5);
  estimate.add([&](const auto& x, const auto& t) { return model.output(x, t, told); }, pictures);
  const df::VariationalBound bound = estimate.result();

  // The same by hand, with one time for a whole batch.
  zoo::Model<float> network(model_settings);
  nn::initialize(network, 1);
  const df::GaussianDiffusion chain = settings.make_chain();
  for (std::int64_t step = 0; step < chain.steps(); ++step) {
    const std::vector<std::int64_t> t(3, step);
    auto noise = Tensor<float>::uninitialized(pictures.shape());
    sde::draw_normal(noise, 1, {5, streams::bound_noise, static_cast<std::uint32_t>(step)});
    const auto x = chain.q_sample(pictures, t, noise);
    const auto output = network.forward(x, Tensor<float>(Shape{3}, 0.05F * static_cast<float>(step)), told);
    const auto terms = df::bound_terms(chain, pictures, noise, t, output);
    CHECK(bound.terms[static_cast<std::size_t>(step)] == Approx((terms[0] + terms[1] + terms[2]) / 3).epsilon(1e-5));
  }
}

TEST_CASE("samples of a network have the same bits in any batch", "[train][diffusion]") {
  const auto settings = small_pictures();
  const train::DiffusionModel<float> model(train::Checkpoint(checkpoint_of(settings_of(settings))));
  const auto levels = df::noise_levels(settings.make_schedule(), 4);
  const auto paint = [&](std::int64_t first, std::int64_t count) {
    std::vector<std::int64_t> numbers;
    for (std::int64_t i = first; i < first + count; ++i) numbers.push_back(i % 3);
    auto x = Tensor<float>::uninitialized(settings.pictures(count));
    const auto elements = static_cast<std::uint64_t>(81 * first);
    sde::draw_normal(x, levels.front().sigma, {7, streams::initial_state, 0}, elements);
    df::Ddim<Tensor<float>> sampler(1);
    df::sample(sampler, model.denoiser(classes(numbers)), x, levels, sde::BrownianNoise{7, elements});
    return x;
  };
  const Tensor<float> all = paint(0, 5), head = paint(0, 2), tail = paint(2, 3);
  for (std::int64_t i = 0; i < all.size(); ++i) REQUIRE(all[i] == (i < head.size() ? head[i] : tail[i - head.size()]));
}

TEST_CASE("a network that learned the variance puts it out beside its prediction", "[train][diffusion]") {
  auto settings = small_pictures();
  settings.channels = 2;
  settings.variance = df::VarianceType::learned_range;
  const auto model_settings = settings_of(settings);
  zoo::Model<float> network(model_settings);
  nn::initialize(network, 1);
  const train::DiffusionNetwork predicted(network, settings);
  const auto x = random_tensor<float>(settings.pictures(2), 1);
  const auto output = network.forward(x, Tensor<float>(Shape{2}, 0.05F * 7), nn::Condition<float>());
  REQUIRE(output.shape() == Shape{2, 9, 9, 4});
  Tensor<float> mean, alone, v;
  predicted(x, 7, mean, v);
  predicted(x, 7, alone);
  for (std::int64_t pixel = 0; pixel < 2 * 81; ++pixel)
    for (std::int64_t c = 0; c < 2; ++c) {
      REQUIRE(mean[2 * pixel + c] == output[4 * pixel + c]);
      REQUIRE(alone[2 * pixel + c] == output[4 * pixel + c]);
      REQUIRE(v[2 * pixel + c] == output[4 * pixel + 2 + c]);
    }

  settings.variance = df::VarianceType::fixed_small;
  const train::DiffusionNetwork none(network, settings);
  CHECK_THROWS_AS(none(x, 7, alone), ShapeError);
  CHECK_THROWS_AS(none(x, 7, mean, v), ValueError);
}

TEST_CASE("checkpoints of other models are refused with the file's name", "[train][diffusion]") {
  auto score = settings_of(small_pictures());
  score.erase("diffusion");
  score["sigma"] = 25;
  const auto path = checkpoint_of(score);
  CHECK_THROWS_WITH(train::DiffusionModel<float>(train::Checkpoint(path)),
                    ContainsSubstring("checkpoint.safetensors") && ContainsSubstring("diffusion model"));
  CHECK(zoo::score_process(score).marginal_std(1) > 1);

  auto channels = settings_of(small_pictures());
  channels["diffusion"]["channels"] = 3;
  CHECK_THROWS_WITH(train::DiffusionModel<float>(train::Checkpoint(checkpoint_of(channels))),
                    ContainsSubstring("3 channels, got 1"));
  CHECK_THROWS_WITH(zoo::score_process(channels), ContainsSubstring("got a diffusion model"));
  CHECK_THROWS_AS(zoo::score_process({{"architecture", "SimpleAutoEncoder"}}), FormatError);
}

TEST_CASE("a model that is made to be told something can be told nothing", "[zoo][diffusion]") {
  using zoo::Told;
  for (const char* name : {"unet_transformer", "UNet_Tranformer_Arch_Embeding", "UNetTransformerArchResBlock", "unet"}) {
    INFO(name);
    const auto settings = zoo::timed_model_settings(name, 3, 0, std::nullopt, Told::nothing);
    CHECK(zoo::condition_of(zoo::read_settings(settings)).kind == nn::ConditionKind::none);
    CHECK(zoo::picture_channels(zoo::read_settings(settings)) == 3);
  }
  CHECK_THROWS_AS(zoo::timed_model_settings("UNet_Tranformer_Arch_Embeding", 3, 5, std::nullopt), ValueError);
  CHECK_THROWS_AS(zoo::timed_model_settings("unet_transformer", 3, 0, std::nullopt), ValueError);
  CHECK_THROWS_AS(zoo::timed_model_settings("AutoEncoderKL", 3, 0, std::nullopt, Told::nothing), ValueError);
  CHECK(zoo::takes_timesteps(zoo::read_settings({{"architecture", "UNetTransformerArchResBlock"}})));
  CHECK_FALSE(zoo::takes_timesteps(zoo::read_settings({{"architecture", "UNet"}})));
}
