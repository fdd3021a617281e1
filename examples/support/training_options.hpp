/// \file
/// The options of the training programs: what is trained on, how fast, and when it ends.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/nn/optim/adam_then_sgd.hpp"
#include "easy_diffusion/nn/optim/learning_rate.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "support/dataset.hpp"
#include "support/options.hpp"

namespace easy_diffusion::examples {

/// How the learning rate falls: by a factor an epoch, or along a cosine to a share of it at a known step.
enum class RateDecay { exponential, cosine };

/// Options of every training program.
struct TrainingOptions {
  RateDecay decay = RateDecay::exponential;  ///< to be set before `add_to`
  DatasetOptions pictures{};
  std::int64_t batch = 128;
  double learning_rate = 1e-3;
  double gamma = 0.9;             ///< of the exponential decay
  std::int64_t warmup = 0;        ///< and the others, up to the settling, of the cosine
  std::int64_t decay_steps = 0;
  double final_rate = 0.01;
  std::int64_t settle_steps = 0;
  double settle_rate = 1e-6;
  std::int64_t accumulate = 1;
  double ema = 0.999;
  double clip = 0;
  std::int64_t epochs = 0;
  std::int64_t steps = 0;
  double minutes = 0;
  std::int64_t checkpoint_every = 500;
  std::int64_t snapshot_every = 0;
  bool resume = false;
  bool overwrite = false;
  std::int64_t default_epochs = 10;  ///< where no end is asked for
  bool can_start_from = true;        ///< the program has --from

  void add_to(CommandLine& line) {
    pictures.add_to(line);
    line.add<std::int64_t>("--batch", batch, "pictures in a training step", 1, 65536);
    line.add("--learning-rate", learning_rate, "Adam's learning rate to begin with", 1e-9, 1e3);
    if (decay == RateDecay::exponential) {
      line.add("--gamma", gamma, "factor of the learning rate after every epoch", 1e-3, 1.0);
    } else {
      line.add<std::int64_t>("--warmup", warmup, "steps in which the learning rate rises from zero", 0, 1'000'000);
      line.add<std::int64_t>("--decay-steps", decay_steps,
                             "steps in which the learning rate falls along a cosine; 0: all steps that --steps or "
                             "--epochs ask for, but the last --settle-steps, and with neither it stays",
                             0, 1'000'000'000);
      line.add("--final-rate", final_rate, "learning rate at the cosine's end, as a share of --learning-rate", 0.0, 1.0);
      line.add<std::int64_t>("--settle-steps", settle_steps,
                             "after the cosine: steps of gradient descent without moments; 0: none", 0, 1'000'000'000);
      line.add("--settle-rate", settle_rate, "their learning rate", 0.0, 1e3);
    }
    line.add<std::int64_t>("--accumulate", accumulate,
                           "batches whose gradients are averaged for a step: K batches of B do the work of one of K B in "
                           "the memory of one of B",
                           1, 65536);
    line.add("--ema", ema, "decay of the averaged weights", 0.0, 0.999999);
    line.add("--clip", clip, "largest gradient norm; 0: not clipped", 0.0, 1e9);
    line.add<std::int64_t>("--epochs", epochs, "end after that many epochs in all", 1, 1'000'000);
    line.add<std::int64_t>("--steps", steps, "end after that many steps in all", 1, 1'000'000'000);
    line.add("--minutes", minutes, "end after that many minutes of this run", 1e-6, 1e6);
    line.add<std::int64_t>("--checkpoint-every", checkpoint_every, "steps between checkpoints", 1, 1'000'000'000);
    line.add<std::int64_t>("--snapshot-every", snapshot_every,
                           "steps between checkpoints that are kept, snapshot_<step>.safetensors; 0: none", 0,
                           1'000'000'000);
    line.add("--resume", resume, "go on where the checkpoint in --out stands");
    line.add("--overwrite", overwrite, "start anew although --out has a checkpoint");
  }

  /// Options that would change nothing. \throw ValueError naming one and what it needs
  void check(const CommandLine& line) const {
    if (decay != RateDecay::cosine) return;
    if (settle_steps == 0 && line.given("--settle-rate")) throw ValueError("--settle-rate: needs --settle-steps");
    if (decay_steps == 0 && steps == 0 && epochs == 0 && minutes > 0 && line.given("--final-rate"))
      throw ValueError("--final-rate: needs --steps, --epochs or --decay-steps, at whose end it is reached");
  }

  /// What the options come to with these pictures: when the run ends, and the learning rate on the way.
  [[nodiscard]] std::string plan(const data::ImageDataset& dataset) const {
    std::string end;
    if (const auto last = last_step(batches_per_epoch(dataset))) end = "after " + std::to_string(*last) + " steps in all";
    if (minutes > 0) end += (end.empty() ? "after " : ", or ") + number(minutes) + " minutes of this run";
    std::string fall;
    if (decay == RateDecay::exponential)
      fall = gamma < 1 ? ", times " + number(gamma) + " after every epoch" : "";
    else if (const std::int64_t total = cosine_steps(dataset); total > 0)
      fall = ", along a cosine to " + number(final_rate * learning_rate) + " at step " + std::to_string(total);
    if (settle_steps > 0) fall += ", then " + number(settle_rate);
    return "ends " + end + "; learning rate " + number(learning_rate) + fall + "; weights averaged by " + number(ema);
  }

  /// The numbers on which a run's result depends. They are kept in the checkpoint, and a resumed run must have the same.
  [[nodiscard]] nlohmann::json settings(std::uint64_t seed, const data::ImageDataset& dataset) const {
    nlohmann::json result = {{"seed", seed},   {"pictures", dataset.size()}, {"data", data::fingerprint(dataset)},
                             {"batch", batch}, {"learning_rate", learning_rate},
                             {"ema", ema},     {"clip", clip},
                             {"picture", {dataset.height(), dataset.width(), dataset.channels()}}};
    if (const auto unseen = unseen_classes(dataset); !unseen.empty()) result["unseen_classes"] = unseen;
    if (decay == RateDecay::exponential) {
      result["gamma"] = gamma;
    } else {
      result["warmup"] = warmup;
      result["decay_steps"] = cosine_steps(dataset);
      result["final_rate"] = final_rate;
      if (settle_steps > 0) result["settle_rate"] = settle_rate;
    }
    if (accumulate > 1) result["accumulate"] = accumulate;
    pictures.add_settings(result);
    return result;
  }

  /// \throw FormatError unless a run can go on with the checkpoint, as its settings are those of this one
  void expect_same(const train::Checkpoint& checkpoint, const nlohmann::json& settings) const {
    nlohmann::json saved = checkpoint.training_settings();
    // Checkpoints from before this was noted: the data's fingerprint tells the sizes apart as well.
    if (!saved.contains("picture")) saved["picture"] = settings.at("picture");
    train::expect_same_settings(checkpoint.path(), saved, settings);
  }

  [[nodiscard]] nn::LearningRate rate(const data::ImageDataset& dataset) const {
    if (decay == RateDecay::exponential)
      return nn::LearningRate::exponential(learning_rate, gamma, steps_in(1, batches_per_epoch(dataset)));
    const std::int64_t total = cosine_steps(dataset);
    const auto falling = total > 0 ? nn::LearningRate::cosine(learning_rate, total, final_rate * learning_rate)
                                   : nn::LearningRate::constant(learning_rate);
    const auto rate = falling.with_warmup(warmup);
    return settle_steps > 0 ? rate.with_settling(total, settle_rate) : rate;
  }

  /// The optimiser of these options: with a settling phase, the moments end where the cosine does.
  [[nodiscard]] nn::AdamThenSgd<float> optimizer(const nn::AdamConfig& adam, const data::ImageDataset& dataset) const {
    return nn::AdamThenSgd<float>(adam, settle_steps > 0 ? cosine_steps(dataset) : -1);
  }

  /// The step at which the options end a run; nothing where they name none.
  [[nodiscard]] std::optional<std::int64_t> last_step(std::int64_t batches_per_epoch) const {
    std::optional<std::int64_t> last;
    if (steps > 0) last = steps;
    if (epochs > 0) last = std::min(last.value_or(steps_in(epochs, batches_per_epoch)), steps_in(epochs, batches_per_epoch));
    if (!last && minutes <= 0) last = steps_in(default_epochs, batches_per_epoch);
    return last;
  }

  /// \throw ValueError where both --resume and --overwrite are given, IoError where a checkpoint would be lost or is
  ///        not there
  void check_folder(const std::filesystem::path& checkpoint) const {
    if (resume && overwrite) throw ValueError("--resume: cannot be together with --overwrite");
    const bool there = std::filesystem::exists(checkpoint);
    if (resume && !there) throw IoError("--resume: there is no " + checkpoint.string());
    if (there && !resume && !overwrite)
      throw IoError(checkpoint.string() + " is there already: --resume goes on with it, --overwrite starts anew");
  }

 private:
  static std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
  }
  [[nodiscard]] std::int64_t batches_per_epoch(const data::ImageDataset& dataset) const {
    return (dataset.size() - 1) / batch + 1;
  }
  [[nodiscard]] std::int64_t steps_in(std::int64_t count, std::int64_t batches_per_epoch) const {
    return (count * batches_per_epoch - 1) / accumulate + 1;
  }
  /// Steps of the cosine; 0: the rate stays. \throw ValueError where a settling phase has no beginning
  [[nodiscard]] std::int64_t cosine_steps(const data::ImageDataset& dataset) const {
    if (decay_steps > 0) return decay_steps;
    const std::int64_t last = last_step(batches_per_epoch(dataset)).value_or(0);
    if (settle_steps > 0 && settle_steps >= last)
      throw ValueError("--settle-steps: expected fewer than the steps in all, " + std::to_string(last) + ", got " +
                       std::to_string(settle_steps));
    return last - settle_steps;
  }
};

}  // namespace easy_diffusion::examples
