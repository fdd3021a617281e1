/// \file
/// The training loop's one step: batch, objective, clipping, optimiser, average.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/optim/clip.hpp"
#include "easy_diffusion/nn/optim/learning_rate.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/divergence.hpp"

namespace easy_diffusion::train {

struct TrainerConfig {
  std::uint64_t seed = 0;  ///< of the objective's noise
  nn::LearningRate learning_rate{};
  double clip_norm = 0;  ///< largest gradient norm; 0 for no clipping
  double ema_decay = 0.999;
  std::int64_t accumulate = 1;  ///< batches that make a step: it is that of one batch with all their pictures
};

/// What one step did.
struct StepReport {
  std::int64_t step = 0;  ///< counted from 1
  std::int64_t epoch = 0;
  std::int64_t samples = 0;
  double loss = 0;
  double learning_rate = 0;
  double gradient_norm = 0;  ///< before clipping
  std::optional<double> epoch_loss;  ///< average over the samples of an epoch, at its last step
};

/// Trains a model on a data set. Model and batcher belong to the caller and outlive the trainer. A run is a pure function
/// of its settings: it can be cut anywhere by `save` and `resume`, with any number of threads.
/// \tparam Objective `accumulate(model, pictures, labels?, seed, step, ctx)` adds gradients and returns the loss, both
///                   means over the pictures; it is given labels when it declares `static constexpr bool uses_labels = true`; `step` counts the
///                   batches. Where it has a state, `visit_state(f)` calls f(name, tensor) for each part of it
template <class Model, class Objective, class Optimizer = nn::Adam<typename Model::value_type>>
class Trainer {
 public:
  using T = typename Model::value_type;

  Trainer(Model& model, Objective objective, data::Batcher& batcher, Optimizer optimizer, const TrainerConfig& config)
      : model_(&model),
        objective_(std::move(objective)),
        batcher_(&batcher),
        optimizer_(std::move(optimizer)),
        config_(config),
        ema_(model, config.ema_decay) {
    if (config.accumulate < 1)
      throw ValueError("training: expected to accumulate at least 1 batch, got " + std::to_string(config.accumulate));
  }

  /// Makes the next training step.
  /// \throw DivergenceError where the loss or a gradient is no longer finite; the weights are then those of the step before
  StepReport step() {
    const double rate = config_.learning_rate.at(state_.step);
    StepReport report{.step = state_.step + 1, .learning_rate = rate, .epoch_loss = std::nullopt};
    nn::zero_gradients(*model_);
    TrainingState after = state_;
    double loss_sum = 0;
    std::int64_t samples = 0;  // of the last batch
    for (std::int64_t part = 0; part < config_.accumulate; ++part) {
      if (part > 0) commit();
      const std::int64_t batch = state_.step * config_.accumulate + part;
      const data::BatchPosition position = batcher_->at(batch);
      fill(position);
      // The sum over the pictures so far, in units of this batch's mean.
      const std::int64_t before = std::exchange(samples, pictures_.extent(0));
      if (part > 0 && before != samples)
        nn::scale_gradients(*model_, static_cast<double>(before) / static_cast<double>(samples));
      const double loss = accumulate(static_cast<std::uint32_t>(batch));
      if (!std::isfinite(loss)) throw diverged("the loss", report.step, loss);
      loss_sum += loss * static_cast<double>(samples);
      report.samples += samples;
      report.epoch = position.epoch;
      count_epoch(position, loss, report, after);
    }
    report.loss = loss_sum / static_cast<double>(report.samples);
    if (config_.accumulate > 1)
      nn::scale_gradients(*model_, static_cast<double>(samples) / static_cast<double>(report.samples));
    // A gradient that is not finite would poison the weights, and with them the next checkpoint.
    report.gradient_norm = config_.clip_norm > 0 ? nn::clip_gradient_norm(*model_, config_.clip_norm)
                                                 : nn::gradient_norm(*model_);
    if (!std::isfinite(report.gradient_norm)) throw diverged("a gradient", report.step, report.loss);
    optimizer_.step(*model_, rate);
    commit();
    ema_.update(*model_);
    ++after.step;
    after.loss = report.loss;
    state_ = after;
    return report;
  }

  /// Steps made, over all runs that were resumed.
  [[nodiscard]] std::int64_t steps() const noexcept { return state_.step; }
  [[nodiscard]] const nn::Ema<T>& ema() const noexcept { return ema_; }

  /// Writes a checkpoint. \throw DivergenceError where something of it is not finite, IoError; the checkpoint before stays
  void save(const std::filesystem::path& path, const nlohmann::json& model_settings,
            const nlohmann::json& training_settings) {
    save_checkpoint(path, *model_, optimizer_, ema_, state_, model_settings, training_settings, objective_);
  }

  /// Goes on where a checkpoint stands. \throw FormatError naming the file and what does not fit
  void resume(const Checkpoint& checkpoint) { state_ = checkpoint.restore(*model_, optimizer_, ema_, objective_); }

 private:
  static DivergenceError diverged(const std::string& what, std::int64_t step, double loss) {
    return {what + " is not finite at step " + std::to_string(step), step, loss};
  }

  void fill(const data::BatchPosition& position) {
    if constexpr (requires { requires Objective::uses_labels; })
      batcher_->fill(position, pictures_, &labels_);
    else
      batcher_->fill(position, pictures_);
  }

  double accumulate(std::uint32_t batch) {
    if constexpr (requires { context_.mode.training; })
      context_.mode = {.training = true, .noise = {config_.seed, streams::dropout, batch}};
    if constexpr (requires { requires Objective::uses_labels; })
      return objective_.accumulate(*model_, pictures_, labels_, config_.seed, batch, context_);
    else
      return objective_.accumulate(*model_, pictures_, config_.seed, batch, context_);
  }

  void commit() {
    if constexpr (requires { model_->commit(context_); }) model_->commit(context_);
  }

  void count_epoch(const data::BatchPosition& position, double loss, StepReport& report, TrainingState& state) const {
    const std::int64_t samples = pictures_.extent(0);
    state.epoch_loss_sum += loss * static_cast<double>(samples);
    state.epoch_samples += samples;
    if (position.batch + 1 < batcher_->batches_per_epoch()) return;
    report.epoch_loss = state.epoch_loss_sum / static_cast<double>(state.epoch_samples);
    state.epoch_loss_sum = 0;
    state.epoch_samples = 0;
  }

  Model* model_;
  Objective objective_;
  data::Batcher* batcher_;
  Optimizer optimizer_;
  TrainerConfig config_;
  nn::Ema<T> ema_;
  TrainingState state_;
  typename Model::Context context_;
  Tensor<T> pictures_;
  std::vector<std::int64_t> labels_;
};

}  // namespace easy_diffusion::train
