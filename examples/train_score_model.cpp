/// Trains a score model on pictures by denoising score matching: a U-Net learns the score of the variance-exploding
/// process, of all pictures or of each class. Leaves checkpoint.safetensors, loss.csv and loss.png; sample_score_model
/// paints with the checkpoint.

#include <cstdint>
#include <filesystem>
#include <string>

#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/conditional.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/options.hpp"
#include "support/picture_models.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

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
  line.results_are_files = true;
  line.parse();
  training.check(line);
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
      ed::zoo::score_model_settings(options.model, dataset.channels(), ex::classes_of(dataset), options.sigma);
  if (line.smoke) ex::make_small(model_settings, conditional);
  nlohmann::json settings = training.settings(line.seed, dataset);
  if (!options.from.empty()) settings["from"] = std::filesystem::path(options.from).filename().string();

  const ed::sde::VarianceExploding process(options.sigma);
  const ed::train::DenoisingScoreMatching matching(process);
  if (conditional) {
    settings["condition_dropout"] = options.condition_dropout;
    settings["class_names"] = dataset.class_names;
  }
  const ex::PictureTraining run{.model_settings = model_settings,
                                .settings = settings,
                                .from = options.from,
                                .adam = {},
                                .title = "Denoising score matching",
                                .loss_unit = "loss (sum over pixels)"};
  if (conditional)
    ex::train_on_pictures(line, training, dataset, run, ed::train::Conditional(matching, options.condition_dropout));
  else
    ex::train_on_pictures(line, training, dataset, run, matching);
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
