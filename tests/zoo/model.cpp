// Whole models by the names of the original's classes: settings, names of parameters, weights in files, descriptions.

#include "easy_diffusion/zoo/model.hpp"

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/describe.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/catch.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/operation.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"
#include "support/zoo.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using nlohmann::json;

/// Inputs that suit a model: two samples.
template <class T>
struct Sample {
  Tensor<T> x, t;
  nn::Condition<T> condition;

  explicit Sample(const zoo::NetworkConfig& config, std::int64_t count = 2) {
    const std::int64_t side = zoo::usual_size(config);
    x = random_tensor<T>(Shape{count, side, side, zoo::picture_channels(config)}, 1);
    if (zoo::takes_time(config)) {
      t = Tensor<T>(Shape{count});
      for (std::int64_t n = 0; n < count; ++n) t[n] = static_cast<T>(0.3 + 0.1 * static_cast<double>(n));
    }
    const nn::ConditionConfig takes = zoo::condition_of(config);
    if (takes.kind == nn::ConditionKind::classes)
      for (std::int64_t n = 0; n < count; ++n) condition.classes.push_back(n % takes.inputs);
    if (takes.kind == nn::ConditionKind::sequence)
      condition.sequence = random_tensor<T>(Shape{count, 3, takes.inputs}, 2);
  }
};

TEST_CASE("names and shapes of every architecture are those of the original", "[zoo][state_dict]") {
  const auto listings = shared_data("reference/state_dicts");
  if (!listings) return;
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*listings)) {
    std::ifstream file(entry.path());
    const auto listing = nlohmann::ordered_json::parse(file);
    json settings = json::parse(listing["config"].dump());
    settings["architecture"] = listing["architecture"].get<std::string>();
    INFO(entry.path().filename().string());
    const zoo::Model<float> model(settings);
    std::vector<std::string> want, got;
    for (const auto& [name, shape] : listing["parameters"].items())
      want.push_back(name + " " + Shape(shape.begin(), shape.end()).to_string());
    for (const auto& [name, value] : nn::state_dict(model)) got.push_back(name + " " + value.shape().to_string());
    CHECK(got == want);  // in PyTorch's order, too
    ++compared;
  }
  CHECK(compared > 0);
}

TEST_CASE("every architecture runs forward and backward through one type", "[zoo]") {
  for (const auto& architecture : zoo::architectures()) {
    INFO(architecture.name);
    const zoo::NetworkConfig config = zoo::read_settings(small_settings(std::string(architecture.name)));
    zoo::Model<float> model(config);
    randomise(model);
    const Sample<float> sample(config);
    zoo::Model<float>::Context ctx;
    const auto y = model.forward(sample.x, sample.t, sample.condition, &ctx);
    CHECK(y.shape() == sample.x.shape());
    CHECK(same_bits(y, model.forward(sample.x, sample.t, sample.condition)));
    CHECK(visits_everything(model));
    CHECK_THROWS_AS(model.backward(y, zoo::Model<float>::Context()), Error);
    nn::zero_gradients(model);
    const auto gradients = model.backward(y, ctx);
    CHECK(gradients.dx.shape() == sample.x.shape());
    CHECK(gradients.dcondition.shape() == sample.condition.sequence.shape());
    ctx.input_gradient = false;
    static_cast<void>(model.forward(sample.x, sample.t, sample.condition, &ctx));
    CHECK(model.backward(y, ctx).dx.empty());
  }
}

TEST_CASE("weights of every architecture come back from a file", "[zoo][weights]") {
  const auto folder = scratch_folder("zoo_weights");
  for (const auto& architecture : zoo::architectures()) {
    INFO(architecture.name);
    const json settings = small_settings(std::string(architecture.name));
    zoo::Model<float> model(settings);
    randomise(model);
    zoo::save_weights(folder / "weights", model);
    zoo::Model<double> other(settings);
    zoo::load_weights(other, io::SafetensorsFile::open(folder / "weights"));
    zoo::save_weights(folder / "back", other);
    const auto a = io::SafetensorsFile::open(folder / "weights");
    const auto b = io::SafetensorsFile::open(folder / "back");
    CHECK(a.names() == b.names());
    for (const std::string& name : a.names()) {
      CHECK((a.dtype(name) == io::ElementType::i64) == name.ends_with("num_batches_tracked"));
      if (a.dtype(name) == io::ElementType::f32)
        CHECK(largest_difference(a.read<double>(name), b.read<double>(name)) == 0);
    }
  }
}

TEST_CASE("pictures change layout and come back", "[zoo]") {
  const auto x = random_tensor<float>(Shape{2, 3, 4, 5}, 1);
  const auto y = zoo::channels_last(x);
  CHECK(y.shape() == Shape{2, 4, 5, 3});
  CHECK(y(1, 2, 3, 1) == x(1, 1, 2, 3));
  CHECK(same_bits(zoo::channels_first(y), x));
  CHECK_THROWS_AS(zoo::channels_last(Tensor<float>(Shape{3, 4, 5})), ShapeError);
}

TEST_CASE("settings are read strictly", "[zoo][errors]") {
  const auto message = [](const json& settings) {
    try {
      static_cast<void>(zoo::read_settings(settings));
    } catch (const FormatError& error) { return std::string(error.what()); }
    return std::string("nothing was thrown");
  };
  CHECK_THAT(message(json::array()), ContainsSubstring("\"architecture\", one of UNet, UNet_res"));
  CHECK_THAT(message({{"architecture", 3}}), ContainsSubstring("architecture: expected one of UNet, UNet_res") && ContainsSubstring("got 3"));
  CHECK_THAT(message({{"architecture", "unet"}}), ContainsSubstring("got \"unet\""));
  CHECK(message({{"architecture", "UNet"}, {"depth", 3}, {"Sigma", 2}}) ==
        "UNet: unknown keys \"Sigma\", \"depth\"; known are \"architecture\", \"diffusion\", \"channels\", "
        "\"embed_dim\", \"picture_channels\", \"out_channels\", \"sigma\"");
  CHECK(message({{"architecture", "UNet"}, {"channels", {32, "64"}}}) ==
        "UNet: \"channels\": expected a whole number from 1 to 16777216, got \"64\"");
  CHECK_THAT(message({{"architecture", "UNet"}, {"channels", {32, -1}}}), ContainsSubstring("got -1"));
  CHECK_THAT(message({{"architecture", "UNet"}, {"channels", {32, 1.5}}}), ContainsSubstring("got 1.5"));
  CHECK_THAT(message({{"architecture", "UNet"}, {"sigma", true}}), ContainsSubstring("\"sigma\": expected a number from 1.01"));
  CHECK_THAT(message({{"architecture", "UNet"}, {"sigma", 1}}), ContainsSubstring("got 1"));
}

TEST_CASE("sigma divides the output by the deviation of that process, null leaves it", "[zoo]") {
  json settings = small_settings("UNet");
  settings["sigma"] = 9;
  zoo::Model<double> divided(settings);
  settings["sigma"] = nullptr;
  zoo::Model<double> plain(settings);
  randomise(divided);
  randomise(plain);
  const Sample<double> sample(zoo::read_settings(settings));
  const auto y = divided.forward(sample.x, sample.t), z = plain.forward(sample.x, sample.t);
  const double std = sde::VarianceExploding(9).marginal_std(sample.t[1]);
  CHECK_THAT(y(1, 3, 4, 0), WithinRel(z(1, 3, 4, 0) / std, 1e-12));
}

TEST_CASE("a description counts what there is", "[zoo][describe]") {
  const json settings = {{"architecture", "UNet"}};
  const auto one = zoo::describe(settings, Shape{1, 28, 28, 1}, {});
  const auto four = zoo::describe(settings, Shape{4, 28, 28, 1}, {});
  CHECK(one.parameters == 1'115'425);
  CHECK(one.trained == 1'115'297);
  CHECK(one.layers.size() == 24);
  CHECK(one.output == Shape{1, 28, 28, 1});
  for (const auto& row : one.layers) {
    INFO(row.name);
    CHECK_FALSE(row.kind.empty());
    if (row.name == "conv2") {
      CHECK(row.kind == "convolution");
      CHECK(row.parameters == 64 * 32 * 9);
      CHECK(row.in == Shape{1, 26, 26, 32});
      CHECK(row.out == Shape{1, 12, 12, 64});
      CHECK(row.operations == 2.0 * 12 * 12 * 64 * 32 * 9);
    }
    if (row.name == "tconv1") CHECK(row.operations == 2.0 * 26 * 26 * 64 * 9);
  }
  CHECK(four.operations == 4 * one.operations);
  CHECK(one.weight_bytes >= 4U * 1'115'425U);
  CHECK(one.weight_bytes < 5U * 1'115'425U);
  // What UNet keeps at 28x28: at least the inputs of its convolutions.
  CHECK(four.kept_bytes > 4U * 4U * (28 * 28 + 26 * 26 * 32 + 12 * 12 * 64 + 5 * 5 * 128));
  CHECK(four.kept_bytes > 3 * one.kept_bytes);
  CHECK(four.inference_bytes > one.inference_bytes);
}

}  // namespace
