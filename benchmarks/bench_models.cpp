/// Times a model's forward pass and its training step (forward, backward, Adam): medians over repetitions.
/// With --json a line for each number of threads: {"model","batch","threads","forward_ms","train_ms","peak_rss_mb"}.
/// --only train leaves the forward pass alone and adds "train_memory_mb": the peak of resident memory less what was
/// resident before the model was built.

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/nn/models/res_unet.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/model_timing.hpp"
#include "support/options.hpp"

namespace ed = easy_diffusion;
namespace nn = easy_diffusion::nn;

namespace {

/// The standard deviation of the variance-exploding process with sigma = 25, by which outputs are divided.
double marginal_std(double t) { return std::sqrt((std::pow(25.0, 2 * t) - 1) / (2 * std::log(25.0))); }

/// `UNetTransformerArchResBlockEmbeding` with 79 million parameters.
nn::ResUNetConfig large() {
  nn::ResUNetConfig config = nn::ResUNetConfig::unet_transformer_arch_res_block_embedding(marginal_std);
  config.picture_channels = 3;
  config.model_channels = 128;
  config.channels = {128, 128, 256, 256, 512};
  config.blocks = 1;
  config.condition = {nn::ConditionKind::classes, 10, 512};
  return config;
}

const auto pictures = [](const auto& model, const ed::bench::ModelInputs& in, auto* ctx) {
  return model.forward(in.x, in.t, ctx);
};
const auto pictures_of_a_class = [](const auto& model, const ed::bench::ModelInputs& in, auto* ctx) {
  return model.forward(in.x, in.t, in.classes, ctx);
};

/// Model<float>, made from what `config` returns, on pictures of that shape, called by `forward`.
template <template <class> class Model, class Config, class Forward>
auto timed(const ed::Shape& picture, Config config, Forward forward) {
  return [=](const ed::bench::ModelOptions& options) {
    ed::bench::time_model(
        options, picture, [&] { return Model<float>(config()); }, forward);
  };
}

const std::map<std::string, std::function<void(const ed::bench::ModelOptions&)>> models{
    {"unet", timed<nn::UNet>(
                 {1, 28, 28, 1}, [] { return nn::UNetConfig::unet(marginal_std); }, pictures)},
    {"unet_res", timed<nn::UNet>(
                     {1, 28, 28, 1}, [] { return nn::UNetConfig::unet_res(marginal_std); }, pictures)},
    {"unet_transformer",
     timed<nn::UNet>(
         {1, 28, 28, 1}, [] { return nn::UNetConfig::unet_transformer(marginal_std); }, pictures_of_a_class)},
    {"unet_transformer_arch_resblock_embeding", timed<nn::ResUNet>({1, 32, 32, 3}, large, pictures_of_a_class)},
};

}  // namespace

int main(int argc, char** argv) {
  ed::bench::ModelOptions options;
  options.name = "unet";
  std::vector<int> threads{ed::num_threads()};
  std::string only;
  std::vector<std::string> names;
  for (const auto& model : models) names.push_back(model.first);
  CLI::App app("Times a model's forward pass and training step.");
  app.add_option("--model", options.name)->check(CLI::IsMember(names))->capture_default_str();
  app.add_option("--batch", options.batch)->check(CLI::Range(1, 4096))->capture_default_str();
  ed::bench::add_threads_option(app, threads);
  app.add_option("--repetitions", options.repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--only", only, "forward or train")->check(CLI::IsMember({"forward", "train"}));
  app.add_flag("--json", options.json, "lines of JSON");

  return ed::bench::run_program(app, argc, argv, [&] {
    options.forward = only != "train";
    options.train = only != "forward";
    for (const int count : threads) {
      ed::set_num_threads(count);
      options.threads = count;
      models.at(options.name)(options);
    }
  });
}
