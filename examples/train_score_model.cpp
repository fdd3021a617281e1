/// Trains a score model on pictures by denoising score matching: a U-Net learns the score of the variance-exploding
/// process. Leaves checkpoint.safetensors, loss.csv and loss.png; sample_score_model paints with the checkpoint.

#include <cstdint>
#include <cstdio>
#include <string>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "easy_diffusion/zoo/unet.hpp"
#include "support/options.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

bool interrupted = false;

void program(ex::CommandLine& line) {
  ex::TrainingOptions options;
  ed::zoo::ScoreModelConfig model_config;
  line.describe(
      "Trains a score model on pictures (default: Fashion-MNIST) by denoising score matching.\n"
      "Ends after --epochs, --steps or --minutes, whichever comes first; after 10 epochs where none is given.");
  line.add("--model", model_config.architecture, "UNet (skips concatenated) or UNet_res (skips added)");
  line.add("--sigma", model_config.sigma, "of the process dx = sigma^t dW", 1.01, 1e4);
  options.add_to(line);
  line.parse();
  if (line.smoke) {
    if (!line.given("--limit")) options.limit = 256;
    if (!line.given("--batch")) options.batch = 16;
    if (!line.given("--steps")) options.steps = 20;
    model_config.channels = {32, 32, 32, 32};
    model_config.embed_dim = 32;
  }

  static_cast<void>(model_config.network({}));  // refuses an architecture before anything is loaded

  const std::filesystem::path checkpoint_path = line.out / "checkpoint.safetensors";
  options.check_folder(checkpoint_path);
  const auto dataset = options.load(ed::data::Split::train);
  model_config.picture_channels = dataset.channels();

  const ed::sde::VarianceExploding process(model_config.sigma);
  ed::nn::UNet<float> model(model_config.network([process](double t) { return process.marginal_std(t); }));
  ed::nn::initialize(model, line.seed);

  ed::data::Batcher batcher(dataset, {.batch_size = options.batch, .seed = line.seed});
  ed::train::Trainer trainer(model, ed::train::DenoisingScoreMatching(process), batcher, ed::nn::Adam<float>(),
                             {.seed = line.seed,
                              .learning_rate = ed::nn::LearningRate::exponential(options.learning_rate, options.gamma,
                                                                                 batcher.batches_per_epoch()),
                              .clip_norm = options.clip,
                              .ema_decay = options.ema});

  const nlohmann::json settings = options.settings(line.seed, dataset);
  if (options.resume) {
    const ed::train::Checkpoint checkpoint(checkpoint_path);
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.model_settings(), model_config.to_json());
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.training_settings(), settings);
    trainer.resume(checkpoint);
  }
  std::printf("%s: %lld parameters, %lld pictures of %lldx%lldx%lld, batch %lld, %d threads\n",
              model_config.architecture.c_str(), static_cast<long long>(ed::nn::count_parameters(model)),
              static_cast<long long>(dataset.size()), static_cast<long long>(dataset.height()),
              static_cast<long long>(dataset.width()), static_cast<long long>(dataset.channels()),
              static_cast<long long>(options.batch), ed::num_threads());
  std::fflush(stdout);

  interrupted =
      ex::run_training(trainer, options, line.out, batcher.batches_per_epoch(), model_config.to_json(), settings);
  ex::draw_loss(line.out / "loss.png", ed::train::LossLog::read(line.out / "loss.csv"),
                "Denoising score matching, " + model_config.architecture, "loss (sum over pixels)");
}

}  // namespace

int main(int argc, char** argv) {
  const int code = ex::run_main(argc, argv, program);
  return code == 0 && interrupted ? ex::exit_interrupted : code;
}
