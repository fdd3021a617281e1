/// \file
/// A small training run, for the tests of this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/denoising_score_matching.hpp"
#include "easy_diffusion/train/trainer.hpp"

namespace easy_diffusion::test {

inline nn::UNetConfig small_unet(nn::Skip skip = nn::Skip::concatenate) {
  nn::UNetConfig config = nn::UNetConfig::unet([](double t) { return sde::VarianceExploding(25).marginal_std(t); });
  config.skip = skip;
  config.channels = {4, 8, 8};
  config.embed_dim = 8;
  config.first_groups = 2;
  config.groups = 4;
  return config;
}

/// 23 pictures of 9x9: with batches of 5 an epoch has five steps, the last of three pictures.
inline data::ImageDataset small_dataset() {
  data::ImageDataset dataset;
  dataset.name = "synthetic";
  dataset.images = Tensor<std::uint8_t>(Shape{23, 9, 9, 1});
  for (std::int64_t i = 0; i < dataset.images.size(); ++i)
    dataset.images[i] =
        static_cast<std::uint8_t>(uniform_integer(256, {3, streams::user, 0}, static_cast<std::uint64_t>(i)));
  return dataset;
}

/// Model, data and trainer together; every instance of the same seed does the same.
struct SmallRun {
  using Objective = train::DenoisingScoreMatching<sde::VarianceExploding>;

  explicit SmallRun(std::uint64_t seed = 1, nn::Skip skip = nn::Skip::concatenate)
      : dataset(small_dataset()),
        model(small_unet(skip)),
        batcher(dataset, {.batch_size = 5, .seed = seed}),
        trainer((nn::initialize(model, seed), model), Objective(sde::VarianceExploding(25)), batcher, nn::Adam<float>(),
                {.seed = seed, .learning_rate = nn::LearningRate::exponential(1e-3, 0.9, 5), .clip_norm = 1e6}) {}

  void steps(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) last = trainer.step();
  }
  void save(const std::filesystem::path& path) { trainer.save(path, {{"architecture", "UNet"}}, {{"seed", 1}}); }

  data::ImageDataset dataset;
  nn::UNet<float> model;
  data::Batcher batcher;
  train::Trainer<nn::UNet<float>, Objective> trainer;
  train::StepReport last;
};

inline std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace easy_diffusion::test
