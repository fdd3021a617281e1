/// Trains a small classifier on real pictures and measures it on the test set; with --judge it says what it sees in
/// generated ones.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/nn/models/classifier.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/classification.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/options.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

bool interrupted = false;

double accuracy(const ed::nn::Classifier<float>& model, const ed::data::ImageDataset& dataset) {
  ed::data::Batcher batcher(dataset, {.batch_size = 250, .shuffle = false});
  ed::Tensor<float> pictures;
  std::vector<std::int64_t> labels;
  std::int64_t right = 0;
  for (std::int64_t b = 0; b < batcher.batches_per_epoch(); ++b) {
    batcher.fill({0, b}, pictures, &labels);
    const auto classes = ed::train::classify(model, pictures);
    for (std::size_t i = 0; i < labels.size(); ++i) right += classes[i] == labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(dataset.size());
}

void judge(const ed::nn::Classifier<float>& model, const std::string& file, const std::vector<std::string>& names) {
  ed::Tensor<float> pictures = ed::io::read_npy<float>(file);
  for (float& v : pictures) {
    if (!std::isfinite(v)) throw ed::FormatError(file + ": expected finite numbers, got " + std::to_string(v));
    v = std::clamp(v, 0.0F, 1.0F);
  }
  const auto& config = model.config();
  if (pictures.shape().rank() != 4 ||
      !(pictures.shape() == ed::Shape{pictures.extent(0), config.height, config.width, config.picture_channels}))
    throw ed::FormatError(file + ": expected pictures [N, " + std::to_string(config.height) + ", " +
                          std::to_string(config.width) + ", " + std::to_string(config.picture_channels) + "], got " +
                          pictures.shape().to_string());
  std::vector<std::int64_t> count(static_cast<std::size_t>(config.classes));
  for (std::int64_t begin = 0; begin < pictures.extent(0); begin += 250) {
    const auto part =
        std::as_const(pictures).view().slice(begin, std::min<std::int64_t>(250, pictures.extent(0) - begin));
    for (const std::int64_t c : ed::train::classify(model, ed::Tensor<float>::copy_of(part)))
      ++count[static_cast<std::size_t>(c)];
  }
  std::int64_t found = 0;
  std::printf("%lld pictures of %s:\n", static_cast<long long>(pictures.extent(0)), file.c_str());
  for (std::size_t c = 0; c < count.size(); ++c) {
    const std::string name = c < names.size() ? names[c] : std::to_string(c);
    std::printf("  %-12s %6lld\n", name.c_str(), static_cast<long long>(count[c]));
    found += count[c] > 0;
  }
  std::printf("classes found: %lld of %lld\n", static_cast<long long>(found), static_cast<long long>(count.size()));
}

void program(ex::CommandLine& line) {
  ex::TrainingOptions options;
  options.gamma = 0.7;
  options.default_epochs = 3;
  std::string judged;
  line.describe(
      "Trains a classifier on the ten garments (or other labelled IDX pictures) and measures it on the test set.\n"
      "With --judge FILE it counts the classes among generated pictures (samples.npy).");
  line.add("--judge", judged, "samples.npy to look at, with the checkpoint in --out where there is one");
  options.add_to(line);
  line.parse();
  if (line.smoke) {
    if (!line.given("--limit")) options.limit = 128;
    if (!line.given("--batch")) options.batch = 32;
    if (!line.given("--steps")) options.steps = 10;
  }

  const std::filesystem::path checkpoint_path = line.out / "checkpoint.safetensors";
  const bool only_judge = !judged.empty() && !options.overwrite && !options.resume && std::filesystem::exists(checkpoint_path);
  if (!only_judge) options.check_folder(checkpoint_path);
  const auto train_set = options.load(ed::data::Split::train);
  const auto test_set = options.load(ed::data::Split::test);
  if (train_set.labels.empty() || test_set.labels.empty())
    throw ed::FormatError(options.data + ": expected pictures with labels for training and for testing");
  ed::nn::Classifier<float> model({.height = train_set.height(),
                                   .width = train_set.width(),
                                   .picture_channels = train_set.channels(),
                                   .classes = *std::max_element(train_set.labels.begin(), train_set.labels.end()) + 1});
  ed::nn::initialize(model, line.seed);
  ed::data::Batcher batcher(train_set, {.batch_size = options.batch, .seed = line.seed, .mirror = true});
  ed::train::Trainer trainer(model, ed::train::Classification(), batcher, ed::nn::Adam<float>(),
                             {.seed = line.seed,
                              .learning_rate = ed::nn::LearningRate::exponential(options.learning_rate, options.gamma,
                                                                                 batcher.batches_per_epoch()),
                              .clip_norm = options.clip,
                              .ema_decay = options.ema});
  const nlohmann::json settings = options.settings(line.seed, train_set);
  const nlohmann::json model_settings{{"architecture", "Classifier"}, {"classes", model.config().classes}};
  if (options.resume || only_judge) {
    const ed::train::Checkpoint checkpoint(checkpoint_path);
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.model_settings(), model_settings);
    if (options.resume) {
      ed::train::expect_same_settings(checkpoint.path(), checkpoint.training_settings(), settings);
      trainer.resume(checkpoint);
    }
  }
  if (!only_judge)
    interrupted = ex::run_training(trainer, options, line.out, batcher.batches_per_epoch(), model_settings, settings);
  if (interrupted) return;
  ed::train::Checkpoint(checkpoint_path).load_weights(model);
  std::printf("accuracy on %lld test pictures: %.2f %%\n", static_cast<long long>(test_set.size()),
              100 * accuracy(model, test_set));
  if (!judged.empty()) judge(model, judged, train_set.class_names);
}

}  // namespace

int main(int argc, char** argv) {
  const int code = ex::run_main(argc, argv, program);
  return code == 0 && interrupted ? ex::exit_interrupted : code;
}
