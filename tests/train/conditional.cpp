// Training a model that is told classes: whose class is left out, that it learns the classes, that a resume leaves no trace.

#include "easy_diffusion/train/conditional.hpp"

#include <cstdint>
#include <vector>

#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"
#include "train/support.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

using Objective = train::Conditional<train::DenoisingScoreMatching<sde::VarianceExploding>>;

nn::UNetConfig conditional_unet() {
  nn::UNetConfig config = small_unet();
  config.skip = nn::Skip::add;
  config.channels = {8, 8};
  config.transformer_levels = 1;
  config.condition = {nn::ConditionKind::classes, 2, 6};
  return config;
}

/// Pictures of class 0 are black, those of class 1 white.
data::ImageDataset black_and_white() {
  data::ImageDataset dataset;
  dataset.name = "black and white";
  dataset.images = Tensor<std::uint8_t>(Shape{22, 6, 6, 1});
  for (std::int64_t n = 0; n < 22; ++n) {
    dataset.labels.push_back(n % 2);
    for (std::int64_t i = 0; i < 36; ++i) dataset.images[n * 36 + i] = n % 2 ? 255 : 0;
  }
  return dataset;
}

struct Run {
  Run()
      : dataset(black_and_white()),
        model(conditional_unet()),
        batcher(dataset, {.batch_size = 8, .seed = 1}),
        trainer((nn::initialize(model, 1), model), Objective(train::DenoisingScoreMatching(sde::VarianceExploding(25)), 0.3), batcher,
                nn::Adam<float>(), {.seed = 1, .learning_rate = nn::LearningRate::constant(3e-3)}) {}

  data::ImageDataset dataset;
  nn::UNet<float> model;
  data::Batcher batcher;
  train::Trainer<nn::UNet<float>, Objective> trainer;
};

}  // namespace

TEST_CASE("whose class is left out is a function of seed and step, in the share asked for", "[train][condition]") {
  const std::vector<std::int64_t> labels(10'000, 3);
  const auto left_out = [&](double dropout, std::uint64_t seed, std::uint32_t step) {
    const auto told = Objective(train::DenoisingScoreMatching(sde::VarianceExploding(25)), dropout).condition<float>(labels, seed, step);
    std::vector<std::size_t> which;
    for (std::size_t n = 0; n < labels.size(); ++n) {
      if (told.classes[n] == -1) which.push_back(n);
      else if (told.classes[n] != 3) FAIL_CHECK("a class has changed");
    }
    return which;
  };
  CHECK(left_out(0, 1, 0).empty());
  CHECK(left_out(1, 1, 0).size() == labels.size());
  const auto some = left_out(0.1, 1, 7);
  CHECK(some.size() > 900);
  CHECK(some.size() < 1100);
  CHECK(left_out(0.1, 1, 7) == some);
  CHECK(left_out(0.1, 1, 8) != some);
  CHECK(left_out(0.1, 2, 7) != some);
  CHECK_THROWS_AS(Objective(train::DenoisingScoreMatching(sde::VarianceExploding(25)), 1.5), ValueError);
}

TEST_CASE("a conditional model learns what its classes look like", "[train][condition]") {
  Run run;
  for (int i = 0; i < 250; ++i) run.trainer.step();
  // At a moderate time the score points from a grey picture to the one that the class asks for.
  const Tensor<float> grey(Shape{3, 6, 6, 1}, 0.5F), t(Shape{3}, 0.4F);
  nn::Condition<float> told;
  told.classes = {0, 1, -1};
  const auto score = run.model.forward(grey, t, told);
  const auto mean = [&](std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < 36; ++i) sum += static_cast<double>(score[n * 36 + i]) / 36;
    return sum;
  };
  INFO(mean(0) << " " << mean(1) << " " << mean(2));
  CHECK(mean(0) < mean(2));
  CHECK(mean(2) < mean(1));
  CHECK(mean(1) - mean(0) > 0.02);
}

TEST_CASE("a conditional training that is cut and resumed leaves the same bytes", "[train][condition]") {
  const auto folder = scratch_folder("conditional_resume");
  Run whole, cut;
  const nlohmann::json settings = nlohmann::json::object();
  for (int i = 0; i < 7; ++i) whole.trainer.step();
  whole.trainer.save(folder / "whole", settings, settings);
  {
    const Threads two(2);
    for (int i = 0; i < 4; ++i) cut.trainer.step();
  }
  cut.trainer.save(folder / "cut", settings, settings);
  Run resumed;
  resumed.trainer.resume(train::Checkpoint(folder / "cut"));
  for (int i = 0; i < 3; ++i) resumed.trainer.step();
  resumed.trainer.save(folder / "resumed", settings, settings);
  CHECK(file_bytes(folder / "whole") == file_bytes(folder / "resumed"));
}
