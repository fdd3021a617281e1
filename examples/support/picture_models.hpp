/// \file
/// What the programs that train a model on pictures share beyond the loop: classes, weights to start from, the run itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/training.hpp"
#include "support/try_to_draw.hpp"

namespace easy_diffusion::examples {

/// Weights of a run before, or of PyTorch: the averaged ones of a checkpoint. Prints what they were trained for where that
/// differs from what they shall learn now: weights that fit may mean another thing.
inline void start_from(zoo::Model<float>& model, const std::string& path, const nlohmann::json& model_settings,
                       const nlohmann::json& training_settings) {
  const auto file = io::SafetensorsFile::open(path);
  if (!file.metadata().contains("training")) {
    zoo::load_weights(model, file);
    std::printf("starts from %s\n", printable(path).c_str());
    return;
  }
  const train::Checkpoint checkpoint(path);
  checkpoint.load_weights(model);
  std::printf("starts from %s, averaged weights after %lld steps\n", printable(path).c_str(),
              static_cast<long long>(checkpoint.steps()));
  const auto compare = [](const nlohmann::json& before, const nlohmann::json& now, const std::string& within) {
    for (const auto& [key, value] : now.items())
      if (before.contains(key) && before[key] != value)
        std::printf("  they were trained for other settings: %s%s is another\n", within.c_str(), printable(key).c_str());
  };
  const nlohmann::json& before = checkpoint.model_settings();
  if (before.contains("diffusion") != model_settings.contains("diffusion"))
    std::printf("  they were trained for other settings: %s a diffusion model\n",
                before.contains("diffusion") ? "of" : "not of");
  else if (before.contains("diffusion"))
    compare(before["diffusion"], model_settings["diffusion"], "diffusion.");
  for (const char* key : {"picture", "class_names"})
    if (training_settings.contains(key))
      compare(checkpoint.training_settings(), {{key, training_settings[key]}}, "");
}

/// A network of a smoke run: of the same kind, but small.
inline void make_small(nlohmann::json& model_settings, bool conditional) {
  model_settings["embed_dim"] = 32;
  if (model_settings.contains("in_channels")) return;  // a residual network
  model_settings["channels"] = {32, 32, 32, 32};
  if (conditional) model_settings["text_dim"] = 32;
}

/// What a run is made of.
struct PictureTraining {
  nlohmann::json model_settings;
  nlohmann::json settings;  ///< see `TrainingOptions::settings`
  std::string from;         ///< weights to start from; empty: new ones
  nn::AdamConfig adam;
  data::PixelRange range = data::PixelRange::zero_to_one;
  std::string title;             ///< of the loss curve
  std::string loss_unit;
};

/// Trains a network of the zoo until an end that the options name, or a signal. Leaves checkpoint.safetensors, loss.csv
/// and, where gnuplot can draw it, loss.png.
/// \param after_step see `run_training`
/// \throw as `run_training` does
template <class Objective, class AfterStep = NothingAfterStep>
void train_on_pictures(const CommandLine& line, const TrainingOptions& options, const data::ImageDataset& dataset,
                       const PictureTraining& run, const Objective& objective, AfterStep&& after_step = {}) {
  zoo::Model<float> model(run.model_settings);
  nn::initialize(model, line.seed);
  if (!run.from.empty()) start_from(model, run.from, run.model_settings, run.settings);
  data::BatcherOptions batches = options.pictures.batches(options.batch, line.seed);
  batches.range = run.range;
  data::Batcher batcher(dataset, batches);
  train::Trainer trainer(model, objective, batcher, options.optimizer(run.adam, dataset),
                         {.seed = line.seed,
                          .learning_rate = options.rate(dataset),
                          .clip_norm = options.clip,
                          .ema_decay = options.ema,
                          .accumulate = options.accumulate});
  if (options.resume) {
    const train::Checkpoint checkpoint(line.out / "checkpoint.safetensors");
    train::expect_same_settings(checkpoint.path(), checkpoint.model_settings(), run.model_settings);
    options.expect_same(checkpoint, run.settings);
    trainer.resume(checkpoint);
  }
  const std::string architecture = run.model_settings["architecture"];
  std::printf("%s: %lld parameters, %lld pictures of %lldx%lldx%lld, batch %lld, %d threads\n", architecture.c_str(),
              static_cast<long long>(nn::count_parameters(model)), static_cast<long long>(dataset.size()),
              static_cast<long long>(dataset.height()), static_cast<long long>(dataset.width()),
              static_cast<long long>(dataset.channels()), static_cast<long long>(options.batch), num_threads());
  std::printf("%s\n", options.plan(dataset).c_str());
  std::fflush(stdout);
  const InterruptGuard guard;
  const auto draw = [&] {
    try_to_draw([&] {
      draw_loss(line.out / "loss.png", train::LossLog::read(line.out / "loss.csv"), run.title + ", " + architecture,
                run.loss_unit);
    });
  };
  try {
    run_training(trainer, options, line.out, batcher.batches_per_epoch(), run.model_settings, run.settings, after_step);
  } catch (const Interrupted&) {
    draw();
    throw;
  }
  draw();
}

}  // namespace easy_diffusion::examples
