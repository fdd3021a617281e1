/// Trains a small classifier on real pictures and measures it on the test set; with --judge it says what it sees in
/// generated ones.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/nn/models/classifier.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/classification.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/classes.hpp"
#include "support/options.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

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

/// The classes that were asked for. \throw FormatError unless there is a whole number from 0 on for each picture
std::vector<std::int64_t> read_labels(const std::string& file, std::int64_t pictures, std::int64_t classes) {
  const auto labels = ed::io::read_npy<std::int64_t>(file);
  ed::expect_shape(file + ": labels", ed::Shape{pictures}, labels.shape());
  for (const std::int64_t label : labels)
    if (label < 0 || label >= classes)
      throw ed::FormatError(file + ": expected classes from 0 to " + std::to_string(classes - 1) + ", got " +
                            std::to_string(label));
  return {labels.begin(), labels.end()};
}

void judge(const ed::nn::Classifier<float>& model, const std::string& file, const std::string& label_file,
           const std::vector<std::string>& names) {
  ed::Tensor<float> pictures = ed::io::read_npy<float>(file);
  for (float& v : pictures) {
    if (!std::isfinite(v))
      throw ed::FormatError(file + ": expected finite numbers, got " + ed::number_text(static_cast<double>(v)));
    v = std::clamp(v, 0.0F, 1.0F);
  }
  const auto& config = model.config();
  if (pictures.shape().rank() != 4 ||
      !(pictures.shape() == ed::Shape{pictures.extent(0), config.height, config.width, config.picture_channels}))
    throw ed::FormatError(file + ": expected pictures [N, " + std::to_string(config.height) + ", " +
                          std::to_string(config.width) + ", " + std::to_string(config.picture_channels) + "], got " +
                          pictures.shape().to_string());
  const std::int64_t count = pictures.extent(0);
  std::vector<std::int64_t> asked;
  if (!label_file.empty()) asked = read_labels(label_file, count, config.classes);

  const auto classes = static_cast<std::size_t>(config.classes);
  std::vector<std::int64_t> seen(classes), wanted(classes), agreed(classes);
  for (std::int64_t begin = 0; begin < count; begin += 250) {
    const auto part = std::as_const(pictures).view().slice(begin, std::min<std::int64_t>(250, count - begin));
    std::size_t sample = static_cast<std::size_t>(begin);
    for (const std::int64_t c : ed::train::classify(model, ed::Tensor<float>::copy_of(part))) {
      ++seen[static_cast<std::size_t>(c)];
      if (!asked.empty()) {
        ++wanted[static_cast<std::size_t>(asked[sample])];
        agreed[static_cast<std::size_t>(asked[sample])] += c == asked[sample];
      }
      ++sample;
    }
  }
  std::int64_t found = 0;
  std::int64_t agreed_in_all = 0;
  std::printf("%lld pictures of %s:\n", static_cast<long long>(count), ex::printable(file).c_str());
  if (!asked.empty()) std::printf("  %-12s %6s %6s %6s\n", "", "seen", "asked", "agreed");
  for (std::size_t c = 0; c < classes; ++c) {
    const std::string name = ex::printable(ex::class_name(names, static_cast<std::int64_t>(c)));
    std::printf("  %-12s %6lld", name.c_str(), static_cast<long long>(seen[c]));
    if (wanted[c] > 0)
      std::printf(" %6lld %6.1f %%", static_cast<long long>(wanted[c]),
                  100 * static_cast<double>(agreed[c]) / static_cast<double>(wanted[c]));
    std::printf("\n");
    found += seen[c] > 0;
    agreed_in_all += agreed[c];
  }
  std::printf("classes found: %lld of %zu\n", static_cast<long long>(found), classes);
  if (!asked.empty())
    std::printf("agreement with the class asked for: %.1f %% of %lld\n",
                100 * static_cast<double>(agreed_in_all) / static_cast<double>(count), static_cast<long long>(count));
}

std::string classes_in_words(const ed::data::ImageDataset& set) {
  std::string text;
  for (const std::string& name : set.class_names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none with names" : text;
}

void program(ex::CommandLine& line) {
  ex::TrainingOptions options;
  options.gamma = 0.7;
  options.default_epochs = 3;
  options.can_start_from = false;
  options.pictures.mirror = true;
  std::string judged, judge_labels;
  line.describe(
      "Trains a classifier on the ten garments (or other labelled pictures) and measures it on the test set.\n"
      "With --judge FILE it counts the classes among generated pictures (samples.npy).");
  line.add("--judge", judged, "samples.npy to look at, with the checkpoint in --out where there is one");
  line.add("--judge-labels", judge_labels, "labels.npy beside it: also say how often the class is the one asked for");
  options.add_to(line);
  line.takes_folder = false;
  line.parse();
  line.results_are_files = judged.empty();
  options.check(line);
  if (!judge_labels.empty() && judged.empty()) throw ed::ValueError("--judge-labels: needs --judge");
  if (line.smoke) {
    if (!line.given("--limit")) options.pictures.limit = 128;
    if (!line.given("--batch")) options.batch = 32;
    if (!line.given("--steps")) options.steps = 10;
  }

  const std::filesystem::path checkpoint_path = line.out / "checkpoint.safetensors";
  const bool only_judge = !judged.empty() && !options.overwrite && !options.resume && std::filesystem::exists(checkpoint_path);
  if (!only_judge) {
    line.take_folder();  // judging alone writes nothing
    options.check_folder(checkpoint_path);
  }
  const auto train_set = options.pictures.load(ed::data::Split::train);
  const auto test_set = options.pictures.load(ed::data::Split::test);
  if (train_set.labels.empty() || test_set.labels.empty())
    throw ed::FormatError(options.pictures.path + ": expected pictures with labels for training and for testing");
  if (train_set.class_names != test_set.class_names)
    throw ed::FormatError(options.pictures.path + ": expected the same classes for training and for testing, got " +
                          classes_in_words(train_set) + " and " + classes_in_words(test_set));
  if (ex::classes_of(test_set) > ex::classes_of(train_set))
    throw ed::FormatError(options.pictures.path + ": expected test pictures of the classes 0 to " +
                          std::to_string(ex::classes_of(train_set) - 1) + " that are trained on, got class " +
                          std::to_string(ex::classes_of(test_set) - 1));
  ed::nn::Classifier<float> model({.height = train_set.height(),
                                   .width = train_set.width(),
                                   .picture_channels = train_set.channels(),
                                   .classes = ex::classes_of(train_set)});
  ed::nn::initialize(model, line.seed);
  ed::data::Batcher batcher(train_set, options.pictures.batches(options.batch, line.seed));
  ed::train::Trainer trainer(model, ed::train::Classification(), batcher, options.optimizer({}, train_set),
                             {.seed = line.seed,
                              .learning_rate = options.rate(train_set),
                              .clip_norm = options.clip,
                              .ema_decay = options.ema,
                              .accumulate = options.accumulate});
  const nlohmann::json settings = options.settings(line.seed, train_set);
  const nlohmann::json model_settings{{"architecture", "Classifier"}, {"classes", model.config().classes}};
  if (options.resume || only_judge) {
    const ed::train::Checkpoint checkpoint(checkpoint_path);
    ed::train::expect_same_settings(checkpoint.path(), checkpoint.model_settings(), model_settings);
    if (options.resume) {
      options.expect_same(checkpoint, settings);
      trainer.resume(checkpoint);
    }
  }
  if (only_judge) {
    std::printf("judges with %s, without training\n", ex::printable(checkpoint_path).c_str());
  } else {
    std::printf("%lld pictures, batch %lld%s; %s\n", static_cast<long long>(train_set.size()),
                static_cast<long long>(options.batch), options.pictures.mirror ? ", half of them mirrored (--no-mirror)" : "",
                options.plan(train_set).c_str());
    std::fflush(stdout);
    ex::run_training(trainer, options, line.out, batcher.batches_per_epoch(), model_settings, settings);
  }
  ed::train::Checkpoint(checkpoint_path).load_weights(model);
  std::printf("accuracy on %lld test pictures: %.2f %%\n", static_cast<long long>(test_set.size()),
              100 * accuracy(model, test_set));
  if (!judged.empty()) judge(model, judged, judge_labels, train_set.class_names);
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
