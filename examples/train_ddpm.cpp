/// Trains a diffusion model on pictures: a U-Net learns the noise in pictures that a schedule has noised, of all pictures
/// or of each class. Leaves checkpoint.safetensors, loss.csv and loss.png; sample_ddpm paints with the checkpoint.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/train/conditional.hpp"
#include "easy_diffusion/train/denoising_diffusion.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/options.hpp"
#include "support/picture_models.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

bool interrupted = false;

void program(ex::CommandLine& line) {
  ex::TrainingOptions training{
      .decay = ex::RateDecay::cosine, .batch = 64, .warmup = 500, .ema = 0.9995, .clip = 1};
  ed::train::DiffusionSettings diffusion;
  std::string model = "unet_transformer";
  std::string prediction = "epsilon";
  std::string from;
  double condition_dropout = 0.1;
  double weight_decay = 0.01;
  line.describe(
      "Trains a diffusion model on pictures (default: Fashion-MNIST), to paint of each class where the model is told it.\n"
      "Ends after --epochs, --steps or --minutes, whichever comes first; after 10 epochs where none is given.");
  line.add("--model", model,
           "unet (skips concatenated), unet_res (skips added), unet_transformer (told the class of each picture), or a "
           "class of the original");
  line.add("--schedule", diffusion.schedule, "linear, scaled_linear, quad, const, jsd, sigmoid or cosine");
  line.add<std::int64_t>("--timesteps", diffusion.timesteps, "of the schedule", 2, 100'000);
  line.add("--zero-terminal-snr", diffusion.zero_terminal_snr, "the schedule's last state is made pure noise");
  line.add("--prediction", prediction, "what the network learns: epsilon, x0 or v");
  line.add("--condition-dropout", condition_dropout,
           "probability with which a picture's class is left out, for guidance when sampling", 0.0, 1.0);
  line.add("--weight-decay", weight_decay, "of AdamW", 0.0, 10.0);
  line.add("--from", from, "weights to start from: a checkpoint, or PyTorch's as safetensors");
  training.add_to(line);
  line.parse();
  if (line.smoke) {
    if (!line.given("--limit")) training.pictures.limit = 256;
    if (!line.given("--batch")) training.batch = 16;
    if (!line.given("--steps")) training.steps = 20;
    if (!line.given("--warmup")) training.warmup = 0;
  }

  // Refuses settings before anything is loaded.
  const auto network = ed::zoo::read_settings(ed::zoo::timed_model_settings(model, 1, 1, std::nullopt));
  const bool conditional = ed::zoo::condition_of(network).kind == ed::nn::ConditionKind::classes;
  if (!conditional && line.given("--condition-dropout"))
    throw ed::ValueError("--condition-dropout: " + model + " is told no class");
  const auto schedule = diffusion.make_schedule();
  diffusion.prediction = ed::diffusion::prediction_by_name(prediction);
  if (diffusion.prediction != ed::diffusion::Prediction::epsilon &&
      diffusion.prediction != ed::diffusion::Prediction::x0 && diffusion.prediction != ed::diffusion::Prediction::v)
    throw ed::ValueError("--prediction: expected epsilon, x0 or v, got '" + prediction + "'");
  if (diffusion.prediction == ed::diffusion::Prediction::epsilon && schedule.level(schedule.steps() - 1).is_pure_noise())
    throw ed::ValueError("--prediction: epsilon says nothing of the picture where the schedule ends in pure noise; "
                         "expected x0 or v");
  training.check_folder(line.out / "checkpoint.safetensors");
  const auto dataset = training.pictures.load(ed::data::Split::train);

  diffusion.height = dataset.height();
  diffusion.width = dataset.width();
  diffusion.channels = dataset.channels();
  diffusion.time_scale = ed::zoo::takes_timesteps(network) ? 1 : 1 / static_cast<double>(diffusion.timesteps);
  auto model_settings =
      ed::zoo::timed_model_settings(model, dataset.channels(), ex::classes_of(dataset), std::nullopt);
  if (line.smoke) ex::make_small(model_settings, conditional);
  model_settings["diffusion"] = ed::train::to_json(diffusion);

  nlohmann::json settings = training.settings(line.seed, dataset);
  if (!from.empty()) settings["from"] = std::filesystem::path(from).filename().string();
  settings["weight_decay"] = weight_decay;
  if (conditional) {
    settings["condition_dropout"] = condition_dropout;
    settings["class_names"] = dataset.class_names;
  }

  const ex::PictureTraining run{
      .model_settings = model_settings,
      .settings = settings,
      .from = from,
      .adam = ed::nn::AdamConfig::adamw(weight_decay),
      .range = ed::data::PixelRange::minus_one_to_one,
      .title = "Denoising diffusion",
      .loss_unit = "squared error of " + prediction + " (mean over pixels)"};
  const ed::train::DenoisingDiffusion objective(schedule, diffusion.prediction, diffusion.time_scale);
  interrupted = conditional ? ex::train_on_pictures(line, training, dataset, run,
                                                    ed::train::Conditional(objective, condition_dropout))
                            : ex::train_on_pictures(line, training, dataset, run, objective);
}

}  // namespace

int main(int argc, char** argv) {
  const int code = ex::run_main(argc, argv, program);
  return code == 0 && interrupted ? ex::exit_interrupted : code;
}
