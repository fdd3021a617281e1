/// Trains a score model on pictures by denoising score matching: a U-Net learns the score of the variance-exploding
/// process, of all pictures or of each class. Leaves checkpoint.safetensors, loss.csv and loss.png; sample_score_model
/// paints with the checkpoint.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/conditional_score_matching.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/options.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

bool interrupted = false;

struct Options {
  ex::TrainingOptions training;
  std::string model = "unet";
  std::string from;
  double sigma = 25;
  double condition_dropout = 0.1;
};

/// What a conditional model does better with than the defaults, where nothing else is asked for: more and in the end
/// smaller steps, and a longer average.
void conditional_defaults(const ex::CommandLine& line, ex::TrainingOptions& options) {
  if (!line.given("--batch")) options.batch = 64;
  if (!line.given("--gamma")) options.gamma = 0.95;
  if (!line.given("--ema")) options.ema = 0.9995;
}

std::int64_t classes_of(const ed::data::ImageDataset& dataset) {
  if (dataset.labels.empty()) return 0;
  return std::max<std::int64_t>(static_cast<std::int64_t>(dataset.class_names.size()),
                                *std::max_element(dataset.labels.begin(), dataset.labels.end()) + 1);
}

/// Weights of a run before, or of PyTorch: the averaged ones of a checkpoint.
void start_from(ed::zoo::Model<float>& model, const std::string& path) {
  const auto file = ed::io::SafetensorsFile::open(path);
  if (file.metadata().contains("training"))
    ed::train::Checkpoint(path).load_weights(model);
  else
    ed::zoo::load_weights(model, file);
}

template <class Objective>
void train(ex::CommandLine& line, const Options& options, const ed::data::ImageDataset& dataset,
           const nlohmann::json& model_settings, const nlohmann::json& settings, const Objective& objective) {
  const ex::TrainingOptions& training = options.training;
  ed::zoo::Model<float> model(model_settings);
  ed::nn::initialize(model, line.seed);
  if (!options.from.empty()) start_from(model, options.from);
  ed::data::Batcher batcher(dataset, training.pictures.batches(training.batch, line.seed));
  ed::train::Trainer trainer(model, objective, batcher, ed::nn::Adam<float>(),
                             {.seed = line.seed,
                              .learning_rate = ed::nn::LearningRate::exponential(training.learning_rate, training.gamma,
                                                                                 batcher.batches_per_epoch()),
                              .clip_norm = training.clip,
                              .ema_decay = training.ema});
  if (training.resume) {
    const ed::train::Checkpoint checkpoint(line.out / "checkpoint.safetensors");
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.model_settings(), model_settings);
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.training_settings(), settings);
    trainer.resume(checkpoint);
  }
  const std::string architecture = model_settings["architecture"];
  std::printf("%s: %lld parameters, %lld pictures of %lldx%lldx%lld, batch %lld, %d threads\n", architecture.c_str(),
              static_cast<long long>(ed::nn::count_parameters(model)), static_cast<long long>(dataset.size()),
              static_cast<long long>(dataset.height()), static_cast<long long>(dataset.width()),
              static_cast<long long>(dataset.channels()), static_cast<long long>(training.batch), ed::num_threads());
  std::fflush(stdout);
  interrupted =
      ex::run_training(trainer, training, line.out, batcher.batches_per_epoch(), model_settings, settings);
  ex::draw_loss(line.out / "loss.png", ed::train::LossLog::read(line.out / "loss.csv"),
                "Denoising score matching, " + architecture, "loss (sum over pixels)");
}

void program(ex::CommandLine& line) {
  Options options;
  ex::TrainingOptions& training = options.training;
  line.describe(
      "Trains a score model on pictures (default: Fashion-MNIST) by denoising score matching.\n"
      "Ends after --epochs, --steps or --minutes, whichever comes first; after 10 epochs where none is given.");
  line.add("--model", options.model,
           "unet (skips concatenated), unet_res (skips added), unet_transformer (told the class of each picture), or a "
           "class of the original");
  line.add("--sigma", options.sigma, "of the process dx = sigma^t dW", 1.01, 1e4);
  line.add("--condition-dropout", options.condition_dropout,
           "probability with which a picture's class is left out, for guidance when sampling", 0.0, 1.0);
  line.add("--from", options.from, "weights to start from: a checkpoint, or PyTorch's as safetensors");
  training.add_to(line);
  line.parse();
  if (line.smoke) {
    if (!line.given("--limit")) training.pictures.limit = 256;
    if (!line.given("--batch")) training.batch = 16;
    if (!line.given("--steps")) training.steps = 20;
  }

  // Refuses an architecture before anything is loaded.
  const auto kind =
      ed::zoo::condition_of(ed::zoo::read_settings(ed::zoo::score_model_settings(options.model, 1, 1, options.sigma))).kind;
  const bool conditional = kind == ed::nn::ConditionKind::classes;
  if (!conditional && line.given("--condition-dropout"))
    throw ed::ValueError("--condition-dropout: " + options.model + " is told no class");
  if (conditional && !line.smoke) conditional_defaults(line, training);
  training.check_folder(line.out / "checkpoint.safetensors");
  const auto dataset = training.pictures.load(ed::data::Split::train);

  auto model_settings =
      ed::zoo::score_model_settings(options.model, dataset.channels(), classes_of(dataset), options.sigma);
  if (line.smoke) {
    model_settings["embed_dim"] = 32;
    if (model_settings.contains("picture_channels")) model_settings["channels"] = {32, 32, 32, 32};
    if (conditional && model_settings.contains("picture_channels")) model_settings["text_dim"] = 32;
  }
  nlohmann::json settings = training.settings(line.seed, dataset);
  if (!options.from.empty()) settings["from"] = std::filesystem::path(options.from).filename().string();

  const ed::sde::VarianceExploding process(options.sigma);
  if (conditional) {
    settings["condition_dropout"] = options.condition_dropout;
    settings["class_names"] = dataset.class_names;
    train(line, options, dataset, model_settings, settings,
          ed::train::ConditionalScoreMatching(process, options.condition_dropout));
  } else {
    train(line, options, dataset, model_settings, settings, ed::train::DenoisingScoreMatching(process));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int code = ex::run_main(argc, argv, program);
  return code == 0 && interrupted ? ex::exit_interrupted : code;
}
