/// Times a model's forward pass and its training step (forward, backward, Adam): medians over repetitions.
/// With --json one line: {"model","batch","threads","forward_ms","train_ms","peak_rss_mb"}.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>
#include <sys/resource.h>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "support/timing.hpp"

namespace ed = easy_diffusion;

namespace {

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace

int main(int argc, char** argv) {
  std::string name = "unet";
  std::int64_t batch = 64;
  int threads = ed::num_threads();
  int repetitions = 15;
  bool json = false;
  CLI::App app("Times a model's forward pass and training step.");
  app.add_option("--model", name, "unet or unet_res")
      ->check(CLI::IsMember({"unet", "unet_res"}))
      ->capture_default_str();
  app.add_option("--batch", batch)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--threads", threads)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_flag("--json", json, "one line of JSON");
  CLI11_PARSE(app, argc, argv);
  ed::set_num_threads(threads);

  const auto deviation = [](double t) { return std::sqrt(0.01 + t); };
  ed::nn::UNet<float> model(name == "unet" ? ed::nn::UNetConfig::unet(deviation)
                                           : ed::nn::UNetConfig::unet_res(deviation));
  ed::nn::initialize(model, 1);
  ed::Tensor<float> x(ed::Shape{batch, 28, 28, 1});
  ed::Tensor<float> t(ed::Shape{batch});
  ed::fill_normal(x.span(), {1, ed::streams::user, 0});
  ed::fill_uniform(t.span(), {1, ed::streams::user, 1});

  // The timed code gives the same picture alone as in its batch, and a loss that Adam brings down.
  const auto whole = model.forward(x, t);
  const auto first = model.forward(ed::Tensor<float>::copy_of(std::as_const(x).view().slice(0, 1)),
                                   ed::Tensor<float>::copy_of(std::as_const(t).view().slice(0, 1)));
  for (std::int64_t i = 0; i < first.size(); ++i)
    if (!(first[i] == whole[i])) throw std::runtime_error("bench_models: a picture depends on its batch");

  const double forward = ed::bench::median_seconds(repetitions, [&] { static_cast<void>(model.forward(x, t)); });
  ed::nn::Adam<float> adam;
  ed::nn::UNet<float>::Context ctx;
  ctx.input_gradient = false;
  double loss = 0;
  const auto train = [&] {
    ed::nn::zero_gradients(model);
    auto y = model.forward(x, t, &ctx);
    loss = 0;
    for (float& v : y) {
      loss += static_cast<double>(v) * static_cast<double>(v);
      v /= static_cast<float>(batch);
    }
    model.backward(y, ctx);
    adam.step(model, 1e-3);
  };
  train();
  const double before = loss;
  const double step = ed::bench::median_seconds(repetitions, train);
  if (!(loss < before)) throw std::runtime_error("bench_models: training does not bring the loss down");

  if (json)
    std::printf(
        "{\"model\":\"%s\",\"batch\":%lld,\"threads\":%d,\"forward_ms\":%.3f,\"train_ms\":%.3f,\"peak_rss_mb\":%.1f}\n",
        name.c_str(), static_cast<long long>(batch), threads, 1e3 * forward, 1e3 * step, peak_rss_mb());
  else
    std::printf(
        "%s, batch %lld, %d threads: forward %.2f ms (%.0f pictures/s), training step %.2f ms (%.0f pictures/s)\n",
        name.c_str(), static_cast<long long>(batch), threads, 1e3 * forward, static_cast<double>(batch) / forward,
        1e3 * step, static_cast<double>(batch) / step);
}
