/// \file
/// What the training programs share: their options, and the loop around the trainer with its progress bar, its loss log,
/// its checkpoints and Ctrl-C.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/nn/optim/adam_then_sgd.hpp"
#include "easy_diffusion/nn/optim/learning_rate.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/loss_log.hpp"
#include "support/dataset.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/plot.hpp"
#include "support/progress.hpp"

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
    line.add<std::int64_t>("--epochs", epochs, "end after that many epochs in all", 0, 1'000'000);
    line.add<std::int64_t>("--steps", steps, "end after that many steps in all", 0, 1'000'000'000);
    line.add("--minutes", minutes, "end after that many minutes of this run", 0.0, 1e6);
    line.add<std::int64_t>("--checkpoint-every", checkpoint_every, "steps between checkpoints", 1, 1'000'000'000);
    line.add<std::int64_t>("--snapshot-every", snapshot_every,
                           "steps between checkpoints that are kept, snapshot_<step>.safetensors; 0: none", 0,
                           1'000'000'000);
    line.add("--resume", resume, "go on where the checkpoint in --out stands");
    line.add("--overwrite", overwrite, "start anew although --out has a checkpoint");
  }

  /// The numbers on which a run's result depends. They are kept in the checkpoint, and a resumed run must have the same.
  [[nodiscard]] nlohmann::json settings(std::uint64_t seed, const data::ImageDataset& dataset) const {
    nlohmann::json result = {{"seed", seed},   {"pictures", dataset.size()}, {"data", data::fingerprint(dataset)},
                             {"batch", batch}, {"learning_rate", learning_rate},
                             {"ema", ema},     {"clip", clip}};
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

/// A curve of the loss: a mean over windows of steps, and the epochs' averages.
inline void draw_loss(const std::filesystem::path& png, const std::vector<train::LossRow>& rows,
                      const std::string& title, const std::string& unit) {
  if (rows.size() < 2) return;
  const std::size_t window = std::max<std::size_t>(1, rows.size() / 400);
  Curve steps{.label = window == 1 ? "each step" : "mean of " + std::to_string(window) + " steps", .x = {}, .y = {}, .colour = "#93c5fd"};
  for (std::size_t i = 0; i + window <= rows.size(); i += window) {
    double sum = 0;
    for (std::size_t j = i; j < i + window; ++j) sum += rows[j].loss;
    steps.x.push_back(static_cast<double>(rows[i + window - 1].step));
    steps.y.push_back(sum / static_cast<double>(window));
  }
  Curve epochs{.label = "epoch average", .x = {}, .y = {}, .colour = "#1d4ed8", .width = 2.6};
  std::size_t first_epoch_steps = 0;
  for (std::size_t i = 0; i < rows.size();) {
    std::size_t end = i;
    double sum = 0;
    while (end < rows.size() && rows[end].epoch == rows[i].epoch) sum += rows[end++].loss;
    if (epochs.x.empty()) first_epoch_steps = end - i;
    if (end - i == first_epoch_steps) {  // whole epochs, or all there is
      epochs.x.push_back(0.5 * static_cast<double>(rows[i].step + rows[end - 1].step));
      epochs.y.push_back(sum / static_cast<double>(end - i));
    }
    i = end;
  }
  LinePlot plot{.axes = {.title = title, .x_label = "training step", .y_label = unit, .log_y = true},
                .curves = {std::move(steps)}};
  if (epochs.x.size() > 1) plot.curves.push_back(std::move(epochs));
  draw_png(plot, png);
}

struct NothingAfterStep {
  void operator()(const auto& /*trainer*/) const {}
};

/// "<what>_00012000.<ending>": files of a run in the order of their steps.
[[nodiscard]] inline std::string numbered_name(const std::string& what, std::int64_t step, const std::string& ending) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%08lld", static_cast<long long>(step));
  return what + "_" + digits + "." + ending;
}

/// Runs the trainer until an end that the options name, or Ctrl-C. Leaves checkpoint.safetensors and loss.csv in `out`.
/// \param after_step called with the trainer after every step; whatever it does changes nothing of the training
/// \return true where it was interrupted
template <class Trainer, class AfterStep = NothingAfterStep>
bool run_training(Trainer& trainer, const TrainingOptions& options, const std::filesystem::path& out,
                  std::int64_t batches_per_epoch, const nlohmann::json& model_settings,
                  const nlohmann::json& training_settings, AfterStep&& after_step = {}) {
  const std::filesystem::path checkpoint = out / "checkpoint.safetensors";
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  const std::int64_t last_step = options.last_step(batches_per_epoch).value_or(never);

  if (trainer.steps() >= last_step) {
    std::printf("nothing to do: %lld of %lld steps are done\n", static_cast<long long>(trainer.steps()),
                static_cast<long long>(last_step));
    return false;
  }

  const InterruptGuard guard;
  train::LossLog log(out / "loss.csv", trainer.steps());
  const std::int64_t first_step = trainer.steps();
  std::int64_t saved_step = -1;
  double samples = 0;
  double recent = 0;
  Progress progress("training");
  // A kill before the first checkpoint of a new run must not leave the old one beside the new log.
  if (first_step == 0) std::filesystem::remove(checkpoint);
  const auto save = [&] {
    if (saved_step == trainer.steps()) return;
    log.flush();
    trainer.save(checkpoint, model_settings, training_settings);
    saved_step = trainer.steps();
  };
  const auto finished = [&] {
    return trainer.steps() >= last_step || InterruptGuard::interrupted() ||
           (options.minutes > 0 && progress.seconds() >= 60 * options.minutes);
  };
  while (!finished()) {
    const auto report = trainer.step();
    log.append({report.step, report.epoch, report.loss, report.learning_rate});
    samples += static_cast<double>(report.samples);
    recent = report.step == first_step + 1 ? report.loss : 0.98 * recent + 0.02 * report.loss;
    double done = last_step == never
                      ? 0
                      : static_cast<double>(report.step - first_step) / static_cast<double>(last_step - first_step);
    if (options.minutes > 0) done = std::max(done, progress.seconds() / (60 * options.minutes));
    char text[96];
    std::snprintf(text, sizeof text, "epoch %lld  step %lld  loss %.4g", static_cast<long long>(report.epoch + 1),
                  static_cast<long long>(report.step), recent);
    progress.update(done, text, samples);
    if (report.epoch_loss) {
      progress.clear();
      std::printf("epoch %lld: loss %.4f  (%.0f s, %.0f pictures/s)\n", static_cast<long long>(report.epoch + 1),
                  *report.epoch_loss, progress.seconds(), samples / progress.seconds());
      std::fflush(stdout);
    }
    if (report.step % options.checkpoint_every == 0) save();
    if (options.snapshot_every > 0 && report.step % options.snapshot_every == 0)
      trainer.save(out / numbered_name("snapshot", report.step, "safetensors"), model_settings, training_settings);
    after_step(trainer);
  }
  save();
  progress.clear();
  const bool interrupted = InterruptGuard::interrupted();
  std::printf("%s after step %lld (%.0f s, %.0f pictures/s): %s\n", interrupted ? "interrupted" : "trained",
              static_cast<long long>(trainer.steps()), progress.seconds(), samples / progress.seconds(),
              printable(checkpoint).c_str());
  if (interrupted) std::printf("go on with --resume and the same options\n");
  std::fflush(stdout);
  return interrupted;
}

/// Exit code of a program that Ctrl-C ended in good order.
inline constexpr int exit_interrupted = 130;

}  // namespace easy_diffusion::examples
