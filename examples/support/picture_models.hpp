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
#include "support/options.hpp"
#include "support/training.hpp"

namespace easy_diffusion::examples {

[[nodiscard]] inline std::int64_t classes_of(const data::ImageDataset& dataset) {
  if (dataset.labels.empty()) return 0;
  return std::max<std::int64_t>(static_cast<std::int64_t>(dataset.class_names.size()),
                                *std::max_element(dataset.labels.begin(), dataset.labels.end()) + 1);
}

/// Weights of a run before, or of PyTorch: the averaged ones of a checkpoint.
inline void start_from(zoo::Model<float>& model, const std::string& path) {
  const auto file = io::SafetensorsFile::open(path);
  if (file.metadata().contains("training"))
    train::Checkpoint(path).load_weights(model);
  else
    zoo::load_weights(model, file);
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

/// Trains a network of the zoo until an end that the options name, or Ctrl-C. Leaves checkpoint.safetensors, loss.csv
/// and loss.png.
/// \param after_step see `run_training`
/// \return true where it was interrupted
template <class Objective, class AfterStep = NothingAfterStep>
bool train_on_pictures(const CommandLine& line, const TrainingOptions& options, const data::ImageDataset& dataset,
                       const PictureTraining& run, const Objective& objective, AfterStep&& after_step = {}) {
  zoo::Model<float> model(run.model_settings);
  nn::initialize(model, line.seed);
  if (!run.from.empty()) start_from(model, run.from);
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
    train::expect_same_settings(checkpoint.path(), checkpoint.training_settings(), run.settings);
    trainer.resume(checkpoint);
  }
  const std::string architecture = run.model_settings["architecture"];
  std::printf("%s: %lld parameters, %lld pictures of %lldx%lldx%lld, batch %lld, %d threads\n", architecture.c_str(),
              static_cast<long long>(nn::count_parameters(model)), static_cast<long long>(dataset.size()),
              static_cast<long long>(dataset.height()), static_cast<long long>(dataset.width()),
              static_cast<long long>(dataset.channels()), static_cast<long long>(options.batch), num_threads());
  std::fflush(stdout);
  const bool interrupted = run_training(trainer, options, line.out, batcher.batches_per_epoch(), run.model_settings,
                                        run.settings, after_step);
  draw_loss(line.out / "loss.png", train::LossLog::read(line.out / "loss.csv"), run.title + ", " + architecture,
            run.loss_unit);
  return interrupted;
}

}  // namespace easy_diffusion::examples
