/// \file
/// Samplers on a trained diffusion model, judged by the features of a classifier that was trained on real pictures, and by what
/// a classifier learns from synthetic pictures alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/data/image_dataset.hpp"
#include "easy_diffusion/diffusion/clipping.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/models/classifier.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/train/classification.hpp"
#include "easy_diffusion/train/diffusion_model.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/metrics/frechet.hpp"
#include "support/samplers/contenders.hpp"

namespace easy_diffusion::bench {

/// Told the evaluations made so far, over pictures; returns false to stop.
using WorkObserver = std::function<bool(std::int64_t)>;

struct PaintedPictures {
  data::ImageDataset set;  ///< with the classes asked for
  double evaluations = 0;  ///< for a picture, on average
  bool stopped = false;    ///< by the observer; then the set is not whole
  bool finite = true;      ///< false: the set is worth nothing
};

namespace detail {

/// A denoiser that counts the pictures for which it is asked.
template <class D>
struct CountedPictures {
  D denoiser;
  std::int64_t* asked;

  void operator()(const Tensor<float>& x, const diffusion::NoiseLevel& level, Tensor<float>& x0) const {
    *asked += x.extent(0);
    denoiser(x, level, x0);
  }
};

}  // namespace detail

/// Pictures number 0 to `count` - 1 of a seed, going round the classes, with the predicted picture clipped to its range.
/// \param model of pictures with classes
/// \throw ValueError as the sampler
[[nodiscard]] inline PaintedPictures paint(const train::DiffusionModel<float>& model, const Contender& contender,
                                           const diffusion::Schedule& schedule, const diffusion::NoiseLevels& levels,
                                           std::int64_t count, std::uint64_t seed, const WorkObserver& observer) {
  using State = Tensor<float>;
  const Shape all = model.settings().pictures(count);
  const std::int64_t elements = all.numel() / count;
  PaintedPictures result;
  result.set.name = contender.name;
  result.set.images = Tensor<std::uint8_t>(all);
  for (std::int64_t i = 0; i < count; ++i) result.set.labels.push_back(i % model.classes());
  std::int64_t asked = 0;
  auto sampler = make_contender<State>(contender, schedule);
  // An adaptive sampler steps each picture by itself, and is told its class.
  const std::int64_t together = sampler.traits().adaptive ? 1 : 64;
  for (std::int64_t begin = 0; begin < count && !result.stopped && result.finite; begin += together) {
    const std::int64_t samples = std::min(together, count - begin);
    const auto first_element = static_cast<std::uint64_t>(begin * elements);
    State x = State::uninitialized(all.with_front(samples));
    sde::draw_normal(x, levels.front().sigma, {seed, streams::initial_state, 0}, first_element);
    nn::Condition<float> told;
    told.classes.assign(result.set.labels.begin() + begin, result.set.labels.begin() + begin + samples);
    auto clipped = diffusion::clipped(model.denoiser(std::move(told)));
    const detail::CountedPictures<decltype(clipped)> denoiser{std::move(clipped), &asked};
    const auto run = diffusion::sample(
        sampler, denoiser, x, levels, sde::BrownianNoise{seed, first_element},
        [&](const diffusion::SamplerView<State>&) { return observer(asked) ? sde::Flow::go_on : sde::Flow::stop; });
    result.stopped = run.stopped;
    std::uint8_t* to = result.set.images.data() + begin * elements;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      result.finite = result.finite && std::isfinite(x[i]);
      to[i] = static_cast<std::uint8_t>(std::lround(std::clamp(127.5F * (x[i] + 1), 0.0F, 255.0F)));
    }
  }
  result.evaluations = static_cast<double>(asked) / static_cast<double>(count);
  return result;
}

/// The first `count` pictures, going round the classes. \throw ValueError where a class has too few
[[nodiscard]] inline data::ImageDataset round_the_classes(const data::ImageDataset& set, std::int64_t classes,
                                                          std::int64_t count) {
  data::ImageDataset result{
      set.name, Tensor<std::uint8_t>::uninitialized(set.images.shape().with_front(count)), {}, {}};
  const std::int64_t elements = set.images.size() / set.size();
  std::vector<std::int64_t> next(static_cast<std::size_t>(classes), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t& at = next[static_cast<std::size_t>(i % classes)];
    while (at < set.size() && set.labels[static_cast<std::size_t>(at)] != i % classes) ++at;
    if (at == set.size())
      throw ValueError(set.name + ": expected pictures of each class for " + std::to_string(count) + " in all");
    std::copy_n(set.images.data() + at++ * elements, elements, result.images.data() + i * elements);
    result.labels.push_back(i % classes);
  }
  return result;
}

/// Means of the classifier's last features over their places, [pictures, channels], as moments.
[[nodiscard]] inline FeatureStatistics feature_statistics(const nn::Classifier<float>& classifier,
                                                          const data::ImageDataset& set) {
  data::Batcher batcher(set, {.batch_size = 250, .shuffle = false});
  Tensor<float> pictures;
  std::vector<float> features;
  std::int64_t channels = 0;
  for (std::int64_t b = 0; b < batcher.batches_per_epoch(); ++b) {
    batcher.fill({0, b}, pictures);
    const Tensor<float> maps = classifier.features(pictures);
    channels = maps.shape().back();
    const std::int64_t places = maps.extent(1) * maps.extent(2);
    for (std::int64_t n = 0; n < maps.extent(0); ++n)
      for (std::int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (std::int64_t p = 0; p < places; ++p) sum += static_cast<double>(maps[(n * places + p) * channels + c]);
        features.push_back(static_cast<float>(sum / static_cast<double>(places)));
      }
  }
  return feature_statistics(std::span<const float>(features), static_cast<std::size_t>(channels));
}

/// Percent of the pictures that get their class.
[[nodiscard]] inline double accuracy(const nn::Classifier<float>& classifier, const data::ImageDataset& set) {
  data::Batcher batcher(set, {.batch_size = 250, .shuffle = false});
  Tensor<float> pictures;
  std::vector<std::int64_t> labels;
  std::int64_t right = 0;
  for (std::int64_t b = 0; b < batcher.batches_per_epoch(); ++b) {
    batcher.fill({0, b}, pictures, &labels);
    const auto classes = train::classify(classifier, pictures);
    for (std::size_t i = 0; i < labels.size(); ++i) right += classes[i] == labels[i];
  }
  return 100 * static_cast<double>(right) / static_cast<double>(set.size());
}

/// Percent of the test set that a new classifier gets right after `steps` steps on the training set.
[[nodiscard]] inline double accuracy_after_training(const nn::ClassifierConfig& config,
                                                    const data::ImageDataset& training, const data::ImageDataset& test,
                                                    std::int64_t steps, std::uint64_t seed) {
  nn::Classifier<float> classifier(config);
  nn::initialize(classifier, seed);
  data::Batcher batcher(training,
                        {.batch_size = std::min<std::int64_t>(64, training.size()), .seed = seed, .mirror = true});
  train::Trainer trainer(classifier, train::Classification(), batcher, nn::Adam<float>(),
                         {.seed = seed, .learning_rate = nn::LearningRate::cosine(1e-3, steps)});
  for (std::int64_t step = 0; step < steps; ++step) trainer.step();
  return accuracy(classifier, test);
}

}  // namespace easy_diffusion::bench
