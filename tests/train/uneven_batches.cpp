// Several batches that make one step do the work of one batch with all their pictures, however they are cut.

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/data/batcher.hpp"
#include "easy_diffusion/nn/models/classifier.hpp"
#include "easy_diffusion/nn/optim/clip.hpp"
#include "easy_diffusion/train/classification.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using Gradients = std::map<std::string, Tensor<double>>;

nn::Classifier<double> small_classifier() {
  nn::Classifier<double> model(
      {.height = 6, .width = 5, .picture_channels = 1, .classes = 3, .channels = {4, 4, 4}, .groups = 2});
  nn::initialize(model, 3);
  return model;
}

data::ImageDataset labelled(std::int64_t count) {
  data::ImageDataset dataset;
  dataset.name = "labelled";
  dataset.images = Tensor<std::uint8_t>(Shape{count, 6, 5, 1});
  for (std::int64_t i = 0; i < dataset.images.size(); ++i)
    dataset.images[i] =
        static_cast<std::uint8_t>(uniform_integer(256, {3, streams::user, 0}, static_cast<std::uint64_t>(i)));
  for (std::int64_t i = 0; i < count; ++i) dataset.labels.push_back(i % 3);
  return dataset;
}

Gradients gradients_of(nn::Classifier<double>& model) {
  Gradients gradients;
  nn::for_each_trained(model, [&](const std::string& name, const auto& parameter, const nn::Entry&) {
    gradients[name] = parameter.grad;
  });
  return gradients;
}

/// Keeps the gradients that it is given, and moves nothing.
struct Recorder {
  Gradients* last;
  void step(nn::Classifier<double>& model, double) const { *last = gradients_of(model); }
};

struct Recorded {
  Gradients gradients;
  train::StepReport report;
};

/// Gradients and report of step number `step`, counted from 0.
Recorded run(std::int64_t pictures, std::int64_t batch, std::int64_t accumulate, int step = 0) {
  const auto dataset = labelled(pictures);
  auto model = small_classifier();
  data::Batcher batcher(dataset, {.batch_size = batch, .shuffle = false});
  Recorded result;
  train::Trainer trainer(model, train::Classification(), batcher, Recorder{&result.gradients},
                         {.accumulate = accumulate});
  for (int i = 0; i <= step; ++i) result.report = trainer.step();
  return result;
}

/// Largest difference of two gradients, as a share of the largest number in that tensor.
double difference(const Gradients& a, const Gradients& b) {
  double worst = 0;
  CHECK(a.size() == b.size());
  for (const auto& [name, value] : a) {
    const double error = test::relative_error(value, b.at(name));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace

TEST_CASE("uneven batches that make a step have the gradient of one batch with all their pictures") {
  const Recorded whole = run(7, 7, 1);
  for (const auto& [batch, count] :
       {std::pair{4, 2}, std::pair{3, 3}, std::pair{5, 2}, std::pair{2, 4}, std::pair{6, 2}}) {
    const Recorded parts = run(7, batch, count);
    INFO(count << " batches of at most " << batch);
    CHECK(difference(parts.gradients, whole.gradients) <= 1e-12);
    CHECK(parts.report.samples == 7);
    CHECK(parts.report.loss == Approx(whole.report.loss).epsilon(1e-13));
    CHECK(parts.report.gradient_norm == Approx(whole.report.gradient_norm).epsilon(1e-12));
  }
}

TEST_CASE("a step across the end of an epoch weights its short batch by its pictures") {
  // Batches of 3, 3, 1; 3, 3, 1: the second step has the batches of 1 and of 3.
  const Recorded across = run(7, 3, 2, 1);
  CHECK(across.report.samples == 4);
  auto model = small_classifier();
  const auto dataset = labelled(7);
  data::Batcher batcher(dataset, {.batch_size = 3, .shuffle = false});
  nn::Classifier<double>::Context ctx;
  Gradients expected;
  for (const auto& [batch, share] : {std::pair{2, 0.25}, std::pair{3, 0.75}}) {
    Tensor<double> pictures;
    std::vector<std::int64_t> labels;
    batcher.fill(batch, pictures, &labels);
    nn::zero_gradients(model);
    static_cast<void>(train::Classification().accumulate(model, pictures, labels, 0, 0, ctx));
    nn::scale_gradients(model, share);
    for (const auto& [name, part] : gradients_of(model)) {
      if (!expected.contains(name)) expected[name] = Tensor<double>(part.shape());
      for (std::int64_t i = 0; i < part.size(); ++i) expected[name][i] += part[i];
    }
  }
  CHECK(difference(across.gradients, expected) <= 1e-12);
}

TEST_CASE("even batches that make a step have the bits of their mean") {
  const Recorded parts = run(9, 3, 3);
  auto model = small_classifier();
  const auto dataset = labelled(9);
  data::Batcher batcher(dataset, {.batch_size = 3, .shuffle = false});
  nn::Classifier<double>::Context ctx;
  nn::zero_gradients(model);
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    Tensor<double> pictures;
    std::vector<std::int64_t> labels;
    batcher.fill(batch, pictures, &labels);
    static_cast<void>(train::Classification().accumulate(model, pictures, labels, 0, 0, ctx));
  }
  nn::scale_gradients(model, 1.0 / 3);
  for (const auto& [name, value] : gradients_of(model)) CHECK(test::same_bits(parts.gradients.at(name), value));
}
