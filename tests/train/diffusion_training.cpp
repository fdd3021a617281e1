// Training a diffusion model: what the network is shown and told, gradients of all losses, what a checkpoint keeps, gradients
// of several batches, the settling phase.

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/diffusion_loss.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/nn/optim/adam_then_sgd.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/conditional.hpp"
#include "easy_diffusion/train/denoising_diffusion.hpp"
#include "easy_diffusion/train/diffusion_objective.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/train/edm_objective.hpp"
#include "easy_diffusion/train/flow_objective.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"
#include "train/gradient.hpp"
#include "train/support.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
namespace df = easy_diffusion::diffusion;

namespace {

df::DiffusionLoss loss_of(std::int64_t timesteps, df::OutputType output = {}, df::LossOptions options = {}) {
  return df::DiffusionLoss(df::GaussianDiffusion(df::Schedule::linear(timesteps, 1e-2, 0.3), output), options);
}

train::DenoisingDiffusion objective_of(const std::string& sampler, df::OutputType output = {},
                                       df::LossOptions options = {}, std::int64_t timesteps = 6) {
  return {loss_of(timesteps, output, options), train::timestep_sampler_by_name(sampler, timesteps), 0.5};
}

/// A network that remembers what it was shown and told, and answers zeros.
struct Probe {
  using value_type = double;
  struct Context {
    bool input_gradient = true;
  };
  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& t, Context*) {
    shown = x;
    told = t;
    return Tensor<double>(x.shape());
  }
  void backward(const Tensor<double>& dy, const Context&) { gradient = dy; }
  Tensor<double> shown, told, gradient;
};

/// 8-bit data in [-1, 1], as the bound asks for.
Tensor<double> byte_pictures(const Shape& shape) {
  Tensor<double> pictures(shape);
  for (std::int64_t i = 0; i < pictures.size(); ++i) {
    const auto byte = static_cast<double>(uniform_integer(256, {3, streams::user, 1}, static_cast<std::uint64_t>(i)));
    pictures[i] = (2 * byte - 255) / 255;
  }
  return pictures;
}

nn::UNetConfig network(std::int64_t out_channels = 0) {
  nn::UNetConfig config = small_unet(nn::Skip::add);
  config.marginal_std = {};
  config.channels = {4, 8};
  config.out_channels = out_channels;
  return config;
}

using Optimizer = nn::AdamThenSgd<float>;

std::filesystem::path file(const std::string& name) {
  static const std::filesystem::path folder = scratch_folder("diffusion_training");
  return folder / name;
}

/// A run of a diffusion model on `small_dataset`.
struct Run {
  explicit Run(const std::string& sampler, train::TrainerConfig config = {}, std::int64_t adam_steps = -1)
      : dataset(small_dataset()),
        model(network()),
        batcher(dataset, {.batch_size = 5, .seed = 1, .range = data::PixelRange::minus_one_to_one}),
        trainer((nn::initialize(model, 1), model), objective_of(sampler, {}, {}, 3), batcher,
                Optimizer(nn::AdamConfig::adamw(), adam_steps), config) {}

  void steps(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) last = trainer.step();
  }
  void save(const std::string& name) {
    trainer.save(file(name), {{"architecture", "UNet"}}, nlohmann::json::object());
  }
  void resume(const std::string& name) { trainer.resume(train::Checkpoint(file(name))); }
  std::string bytes() {
    save("bytes");
    return file_bytes(file("bytes"));
  }
  /// The weights of the second convolution and their gradient.
  const nn::Parameter<float>& weight() {
    const nn::Parameter<float>* found = nullptr;
    nn::for_each_parameter(model, [&](const std::string& name, auto& parameter, const nn::Entry&) {
      if (name == "conv2.weight") found = &parameter;
    });
    return *found;
  }

  data::ImageDataset dataset;
  nn::UNet<float> model;
  data::Batcher batcher;
  train::Trainer<nn::UNet<float>, train::DenoisingDiffusion, Optimizer> trainer;
  train::StepReport last;
};

}  // namespace

TEST_CASE("the network is shown x_t and told the scaled timestep", "[train][diffusion]") {
  for (const char* sampler : {"uniform", "antithetic"}) {
    Probe probe;
    Probe::Context context;
    const auto pictures = byte_pictures({6, 3, 3, 1});
    auto objective = objective_of(sampler);
    const double loss = objective.accumulate(probe, pictures, 11, 4, context);
    CHECK_FALSE(context.input_gradient);

    Tensor<double> z(pictures.shape());
    fill_normal(z.span(), {11, streams::training_noise, 4});
    const auto schedule = df::Schedule::linear(6, 1e-2, 0.3);
    double expected = 0;
    for (std::int64_t n = 0; n < 6; ++n) {
      const auto t = static_cast<std::int64_t>(std::llround(2 * probe.told[n]));
      CHECK(probe.told[n] == 0.5 * static_cast<double>(t));
      const auto level = schedule.level(t);
      for (std::int64_t i = 9 * n; i < 9 * n + 9; ++i) {
        CHECK(probe.shown[i] == Approx(level.alpha * pictures[i] + level.sigma * z[i]).margin(1e-14));
        CHECK(probe.gradient[i] == Approx(-2 * z[i] / 54).margin(1e-14));
        expected += z[i] * z[i] / 54;
      }
      if (std::string(sampler) == "antithetic" && n % 2 == 1) CHECK(probe.told[n] == 2.5 - probe.told[n - 1]);
    }
    CHECK(loss == Approx(expected).epsilon(1e-13));
  }
}

TEST_CASE("the gradient is the derivative of the loss", "[train][diffusion]") {
  using df::LossType;
  using df::Prediction;
  using df::VarianceType;
  struct Case {
    LossType loss;
    Prediction prediction;
    VarianceType variance;
    std::optional<double> min_snr;
  };
  for (const Case& each : {Case{LossType::mse, Prediction::epsilon, VarianceType::fixed_small, {}},
                           Case{LossType::mse, Prediction::v, VarianceType::fixed_small, 5.0},
                           Case{LossType::kl, Prediction::epsilon, VarianceType::fixed_large, {}},
                           Case{LossType::rescaled_kl, Prediction::x0, VarianceType::learned_range, {}}}) {
    nn::UNet<double> model(network(df::is_learned(each.variance) ? 2 : 0));
    nn::initialize(model, 5);
    const auto pictures = byte_pictures({3, 9, 9, 1});
    auto objective = objective_of("uniform", {each.prediction, each.variance},
                                  {.type = each.loss, .min_snr_gamma = each.min_snr});
    nn::UNet<double>::Context context;
    nn::zero_gradients(model);
    static_cast<void>(objective.accumulate(model, pictures, 11, 4, context));
    const auto derivative =
        directional_derivatives(model, [&] { return objective.accumulate(model, pictures, 11, 4, context); });
    INFO(df::loss_names[static_cast<std::size_t>(each.loss)]);
    CHECK(derivative.analytic == Approx(derivative.numeric).epsilon(1e-6));
  }
}

TEST_CASE("a network with as many channels as pictures cannot learn the variance", "[train][diffusion]") {
  nn::UNet<double> model(network());
  nn::initialize(model, 5);
  nn::UNet<double>::Context context;
  auto objective = objective_of("uniform", {df::Prediction::epsilon, df::VarianceType::learned});
  CHECK_THROWS_AS(objective.accumulate(model, byte_pictures({3, 9, 9, 1}), 11, 4, context), ShapeError);
  CHECK_THROWS_AS(objective.accumulate(model, Tensor<double>(Shape{0, 9, 9, 1}), 11, 4, context), ShapeError);
}

TEST_CASE("a run that is cut and resumed leaves the same bytes, with what the timestep sampler has learned",
          "[train][diffusion]") {
  for (const char* sampler : {"antithetic", "importance"}) {
    // Three timesteps: after 40 of the pictures, in the middle of the run, importance sampling is no longer uniform.
    Run whole(sampler), cut(sampler);
    whole.steps(14);
    {
      const Threads two(2);
      cut.steps(9);
    }
    cut.save("cut");
    Run resumed(sampler);
    resumed.resume("cut");
    resumed.steps(5);
    CHECK(resumed.bytes() == whole.bytes());
    CHECK(resumed.last.loss == whole.last.loss);
  }
  Run uniform("uniform"), importance("importance");
  uniform.steps(14);
  importance.steps(14);
  CHECK(uniform.last.loss != importance.last.loss);
  uniform.save("uniform");
  CHECK_THROWS_WITH(importance.resume("uniform"), ContainsSubstring("objective.timestep_losses"));
}

TEST_CASE("several batches make one step of the mean of their gradients", "[train][diffusion]") {
  Run twice("uniform", {.seed = 1, .accumulate = 2});
  const double norm = (twice.steps(1), twice.last.gradient_norm);
  CHECK(twice.last.samples == 10);
  CHECK(twice.trainer.steps() == 1);

  // By hand: the same weights, the same two batches.
  const auto dataset = small_dataset();
  nn::UNet<float> model(network());
  nn::initialize(model, 1);
  nn::zero_gradients(model);
  data::Batcher batcher(dataset, {.batch_size = 5, .seed = 1, .range = data::PixelRange::minus_one_to_one});
  auto objective = objective_of("uniform", {}, {}, 3);
  nn::UNet<float>::Context context;
  Tensor<float> pictures;
  double loss = 0;
  for (std::uint32_t k = 0; k < 2; ++k) {
    batcher.fill(k, pictures);
    loss += objective.accumulate(model, pictures, 1, k, context) / 2;
  }
  CHECK(norm == Approx(0.5 * nn::gradient_norm(model)).epsilon(1e-6));
  CHECK(twice.last.loss == Approx(loss).epsilon(1e-12));

  // An epoch of five batches ends in the middle of the third step.
  twice.steps(1);
  CHECK_FALSE(twice.last.epoch_loss.has_value());
  twice.steps(1);
  CHECK(twice.last.epoch_loss.has_value());
  CHECK(twice.last.samples == 8);

  Run cut("uniform", {.seed = 1, .accumulate = 2});
  cut.steps(2);
  cut.save("accumulated");
  Run resumed("uniform", {.seed = 1, .accumulate = 2});
  resumed.resume("accumulated");
  resumed.steps(1);
  CHECK(resumed.bytes() == twice.bytes());
  CHECK_THROWS_AS(Run("uniform", {.accumulate = 0}), ValueError);
}

TEST_CASE("after Adam's last step the weights go down the gradient alone, also across a resume", "[train][diffusion]") {
  const auto rate = nn::LearningRate::constant(1e-3).with_settling(3, 0.25);
  CHECK(rate.at(2) == 1e-3);
  CHECK(rate.at(3) == 0.25);
  CHECK_THROWS_AS(rate.with_settling(-1, 1), ValueError);

  Run whole("uniform", {.seed = 1, .learning_rate = rate}, 3);
  whole.steps(3);
  whole.save("at_switch");
  const Tensor<float> before = whole.weight().value;
  whole.steps(1);
  for (std::int64_t i = 0; i < before.size(); ++i)
    REQUIRE(whole.weight().value[i] == Approx(before[i] - 0.25F * whole.weight().grad[i]).margin(1e-6));
  whole.steps(3);

  Run resumed("uniform", {.seed = 1, .learning_rate = rate}, 3);
  resumed.resume("at_switch");
  resumed.steps(4);
  CHECK(resumed.bytes() == whole.bytes());

  Run adam("uniform", {.seed = 1, .learning_rate = rate});
  adam.steps(7);
  CHECK(adam.bytes() != whole.bytes());
}

TEST_CASE("settings of a diffusion model are read as they were written", "[train][diffusion]") {
  train::DiffusionSettings settings;
  settings.schedule = "cosine";
  settings.timesteps = 200;
  settings.zero_terminal_snr = true;
  settings.prediction = df::Prediction::v;
  settings.variance = df::VarianceType::learned_range;
  settings.time_scale = 1.0 / 200;
  settings.height = 12;
  settings.width = 20;
  settings.channels = 3;
  const nlohmann::json model = {{"diffusion", train::to_json(settings)}};
  CHECK(train::diffusion_settings_of(nlohmann::json::parse(model.dump())) == settings);
  CHECK(settings.make_chain().learns_variance());
  CHECK(settings.make_schedule().level(199).is_pure_noise());
  CHECK(settings.pictures(5) == Shape{5, 12, 20, 3});

  CHECK_THROWS_WITH(train::diffusion_settings_of({{"architecture", "UNet"}}), ContainsSubstring("diffusion"));
  const auto refused = [](const char* key, const nlohmann::json& value, const char* text) {
    nlohmann::json wrong = train::to_json(train::DiffusionSettings());
    wrong[key] = value;
    CHECK_THROWS_WITH(train::diffusion_settings_of({{"diffusion", wrong}}),
                      ContainsSubstring(text) && ContainsSubstring(key));
  };
  refused("schedule", "straight", "\"linear\"");
  refused("prediction", "noise", "\"epsilon\"");
  refused("variance", 3, "\"fixed_small\"");
  refused("timesteps", 0, "whole number");
  refused("time_scale", "fast", "a number");
  refused("colour", true, "unknown key");
  refused("method", "magic", "\"flow\"");
  refused("data_deviation", 0.5, "unknown key");
  CHECK_THROWS_WITH(train::timestep_sampler_by_name("often", 10), ContainsSubstring("importance"));
}

TEST_CASE("EDM and flow have settings, levels and paths of their own", "[train][diffusion][edm][flow]") {
  train::DiffusionSettings edm, flow;
  edm.method = train::DiffusionMethod::edm;
  edm.data_deviation = 0.8;
  flow.method = train::DiffusionMethod::flow;
  for (const train::DiffusionSettings& settings : {edm, flow}) {
    const nlohmann::json json = train::to_json(settings);
    CHECK_FALSE(json.contains("schedule"));
    CHECK(train::diffusion_settings_of({{"diffusion", nlohmann::json::parse(json.dump())}}) == settings);
    nlohmann::json wrong = json;
    wrong["schedule"] = "linear";
    CHECK_THROWS_WITH(train::diffusion_settings_of({{"diffusion", wrong}}), ContainsSubstring("schedule"));
    CHECK_THROWS_WITH(settings.levels(5, {.spacing = df::Spacing::quadratic}),
                      ContainsSubstring(train::to_string(settings.method)) && ContainsSubstring("quadratic"));
    // A path gives the levels of a run back.
    const df::NoiseLevels levels = settings.levels(5, {.spacing = settings.usual_spacing()});
    CHECK(levels.steps() == 5);
    for (std::int64_t i = 1; i < levels.steps(); ++i) {
      const df::NoiseLevel between = settings.path()(levels[i].noise_to_signal());
      CHECK_THAT(between.alpha, WithinRel(levels[i].alpha, 1e-12));
      CHECK_THAT(between.sigma, WithinRel(levels[i].sigma, 1e-12));
      CHECK_THAT(between.time, WithinRel(levels[i].time, 1e-12));
    }
  }
  // What EDM's network is told, it is told as it is.
  edm.time_scale = 2;
  CHECK_THROWS_WITH(train::diffusion_settings_of({{"diffusion", train::to_json(edm)}}), ContainsSubstring("time_scale"));
  CHECK(edm.levels(5, {.spacing = df::Spacing::karras}).front() == df::exploding_level(80));
  CHECK(edm.levels(5, {.spacing = df::Spacing::karras, .end = df::End::smallest}).back() == df::exploding_level(0.002));
  CHECK(flow.levels(5, {}).front().is_pure_noise());
  CHECK_THROWS_WITH(flow.levels(5, {.end = df::End::smallest}), ContainsSubstring("clean"));
  CHECK_THROWS_AS(train::diffusion_method_by_name("score"), ValueError);
}

TEST_CASE("an objective chosen at run time is the objective", "[train][diffusion][edm][flow]") {
  const auto pictures = random_tensor<double>({6, 4, 4, 1}, 1, 0.4);
  const auto check = [&](auto objective) {
    train::DiffusionObjective chosen(objective);
    Probe one, other;
    Probe::Context ctx;
    const double loss = objective.accumulate(one, pictures, 11, 4, ctx);
    CHECK(chosen.accumulate(other, pictures, 11, 4, ctx) == loss);
    CHECK(same_bits(one.shown, other.shown));
    CHECK(same_bits(one.told, other.told));
    CHECK(same_bits(one.gradient, other.gradient));
    std::vector<std::string> names;
    chosen.visit_state([&](const std::string& name, const auto&) { names.push_back(name); });
    return names.size();
  };
  CHECK(check(train::EdmObjective()) == 0);
  CHECK(check(train::FlowObjective()) == 0);
  CHECK(check(objective_of("uniform")) == 0);
  CHECK(check(objective_of("importance")) == 2);
}
