/// \file
/// What the training programs share: the loop around the trainer with its progress bar, its loss log, its checkpoints, and
/// what may end it: signals, a full disk, a loss that is no number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/loss_log.hpp"
#include "support/interrupt.hpp"
#include "support/plot.hpp"
#include "support/progress.hpp"
#include "support/training_options.hpp"

namespace easy_diffusion::examples {

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

/// Runs the trainer until an end that the options name, or a signal. Leaves checkpoint.safetensors and loss.csv in `out`.
/// \param after_step called with the trainer after every step; whatever it does changes nothing of the training
/// \throw Interrupted after a signal, ValueError where training diverges, IoError where a file cannot be written; whatever
///        it is, the steps made are kept if they can be, and a checkpoint that was written stays
template <class Trainer, class AfterStep = NothingAfterStep>
void run_training(Trainer& trainer, const TrainingOptions& options, const std::filesystem::path& out,
                  std::int64_t batches_per_epoch, const nlohmann::json& model_settings,
                  const nlohmann::json& training_settings, AfterStep&& after_step = {}) {
  const std::filesystem::path checkpoint = out / "checkpoint.safetensors";
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  const std::int64_t last_step = options.last_step(batches_per_epoch).value_or(never);

  if (trainer.steps() >= last_step) {
    std::printf("nothing to do: %lld of %lld steps are done\n", static_cast<long long>(trainer.steps()),
                static_cast<long long>(last_step));
    return;
  }

  const InterruptGuard guard;
  train::LossLog log(out / "loss.csv", trainer.steps());
  const std::int64_t first_step = trainer.steps();
  std::int64_t saved_step = first_step > 0 ? first_step : -1;
  bool between_steps = true;
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
  try {
    while (!finished()) {
      between_steps = false;
      const auto report = trainer.step();
      between_steps = true;
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
  } catch (const Error& error) {
    // After a step that failed nothing whole can be saved; otherwise it may have been a file beside the checkpoint.
    if (!between_steps)
      throw ValueError(std::string(error.what()) +
                       (saved_step < 0 ? "; there is no checkpoint yet"
                                       : "; " + checkpoint.string() + " is as it was after step " + std::to_string(saved_step) +
                                             (options.can_start_from ? ", and another run can start --from it" : "")));
    try {
      save();
    } catch (const Error&) {}
    throw;
  }
  progress.clear();
  const bool complete = trainer.steps() >= last_step || !InterruptGuard::interrupted();
  std::printf("%s after step %lld (%.0f s, %.0f pictures/s): %s\n", complete ? "trained" : "interrupted",
              static_cast<long long>(trainer.steps()), progress.seconds(), samples / progress.seconds(),
              printable(checkpoint).c_str());
  std::fflush(stdout);
  if (!complete)
    throw Interrupted("interrupted after step " + std::to_string(trainer.steps()) +
                      "; go on with --resume and the same options");
}

}  // namespace easy_diffusion::examples
