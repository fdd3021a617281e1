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
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/model_timing.hpp"
#include "support/options.hpp"

namespace ed = easy_diffusion;
namespace nn = easy_diffusion::nn;

namespace {

/// The standard deviation of the variance-exploding process with sigma = 25, by which outputs are divided.
double marginal_std(double t) { return std::sqrt((std::pow(25.0, 2 * t) - 1) / (2 * std::log(25.0))); }

/// A model that takes pictures and times.
const auto unconditional = [](const auto& model, const ed::bench::ModelInputs& in, auto* ctx) {
  return model.forward(in.x, in.t, ctx);
};

using Time = std::function<void(const ed::bench::ModelOptions&)>;

const std::map<std::string, Time> models{
    {"unet",
     [](const auto& options) {
       ed::bench::time_model(
           options, {1, 28, 28, 1}, [] { return nn::UNet<float>(nn::UNetConfig::unet(marginal_std)); }, unconditional);
     }},
    {"unet_res",
     [](const auto& options) {
       ed::bench::time_model(
           options, {1, 28, 28, 1}, [] { return nn::UNet<float>(nn::UNetConfig::unet_res(marginal_std)); },
           unconditional);
     }},
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
