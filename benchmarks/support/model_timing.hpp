/// \file
/// How bench_models times a model: its forward pass, and its training step (forward, backward, Adam).
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "support/memory.hpp"
#include "support/timing.hpp"

namespace easy_diffusion::bench {

struct ModelOptions {
  std::string name;
  std::int64_t batch = 64;
  int threads = 1;
  int repetitions = 15;
  bool forward = true;
  bool train = true;
  bool json = false;
};

/// A batch of noise, with its times and class numbers.
struct ModelInputs {
  Tensor<float> x;               ///< [N, H, W, C]
  Tensor<float> t;               ///< [N], in [0.05, 0.95)
  nn::Condition<float> classes;  ///< 0 to 9

  ModelInputs(std::int64_t batch, const Shape& picture) : x(picture.with_front(batch)), t(Shape{batch}) {
    fill_normal(x.span(), {1, streams::user, 0});
    fill_uniform(t.span(), {1, streams::user, 1});
    for (float& time : t) time = 0.05F + 0.9F * time;
    for (std::int64_t n = 0; n < batch; ++n) classes.classes.push_back(n * 7 % 10);
  }

  [[nodiscard]] ModelInputs first() const {
    ModelInputs one = *this;
    one.x = Tensor<float>::copy_of(x.view().slice(0, 1));
    one.t = Tensor<float>::copy_of(t.view().slice(0, 1));
    one.classes.classes.resize(1);
    return one;
  }
};

/// Prints a line of figures: medians in milliseconds, and memory. Before it times, it makes sure that a picture comes out
/// the same alone as in its batch; after that, that Adam has brought the loss down.
/// \param picture the shape of a batch; its first extent is replaced by the batch size
/// \param make    makes the model
/// \param forward called as forward(model, inputs, ctx), where ctx is null for inference
/// \throw std::runtime_error where a check fails
template <class Make, class Forward>
void time_model(const ModelOptions& options, const Shape& picture, Make&& make, Forward&& forward) {
  const double rss_before = rss_mb();
  auto model = make();
  using Model = decltype(model);
  nn::initialize(model, 1);
  const ModelInputs inputs(options.batch, picture);
  typename Model::Context* const inference = nullptr;

  constexpr double least_seconds = 0.1;  // spent on each figure
  double forward_ms = 0;
  if (options.forward) {
    nn::hold_weights(model);  // as a sampler does
    const Tensor<float> whole = forward(std::as_const(model), inputs, inference);
    const Tensor<float> first = forward(std::as_const(model), inputs.first(), inference);
    for (std::int64_t i = 0; i < first.size(); ++i)
      if (!(first[i] == whole[i])) throw std::runtime_error(options.name + ": a picture depends on its batch");
    forward_ms = 1e3 * median_seconds(options.repetitions,
                                      [&] { static_cast<void>(forward(std::as_const(model), inputs, inference)); });
    nn::release_weights(model);
  }

  double train_ms = 0;
  if (options.train) {
    nn::Adam<float> adam;
    typename Model::Context ctx;
    ctx.input_gradient = false;
    double loss = 0;
    const auto step = [&] {
      nn::zero_gradients(model);
      Tensor<float> y = forward(std::as_const(model), inputs, &ctx);
      loss = 0;
      for (float& v : y) {
        loss += static_cast<double>(v) * static_cast<double>(v);
        v /= static_cast<float>(options.batch);
      }
      static_cast<void>(model.backward(y, ctx));
      adam.step(model, 1e-4);
    };
    step();
    const double before = loss;
    train_ms = 1e3 * median_seconds(options.repetitions, step, least_seconds);
    if (!(loss < before)) throw std::runtime_error(options.name + ": training does not bring the loss down");
  }

  const double peak = peak_rss_mb();
  const auto batch = static_cast<long long>(options.batch);
  const auto rate = [&](double ms) { return 1e3 * static_cast<double>(options.batch) / ms; };
  if (options.json) {
    std::printf("{\"model\":\"%s\",\"batch\":%lld,\"threads\":%d", options.name.c_str(), batch, options.threads);
    if (options.forward) std::printf(",\"forward_ms\":%.4f", forward_ms);
    if (options.train) std::printf(",\"train_ms\":%.4f", train_ms);
    if (!options.forward) std::printf(",\"train_memory_mb\":%.1f", peak - rss_before);
    std::printf(",\"peak_rss_mb\":%.1f}\n", peak);
    return;
  }
  std::printf("%s, batch %lld, %d threads:", options.name.c_str(), batch, options.threads);
  if (options.forward) std::printf(" forward %.2f ms (%.0f pictures/s)", forward_ms, rate(forward_ms));
  if (options.train) std::printf(" training step %.2f ms (%.0f pictures/s)", train_ms, rate(train_ms));
  if (!options.forward) std::printf(" memory of a training step %.1f MiB", peak - rss_before);
  std::printf("\n");
}

}  // namespace easy_diffusion::bench
