/// Paints pictures with a score model: Euler-Maruyama on the reverse-time equation. Leaves samples.png (a grid),
/// samples.gif (the noise turning into pictures) and samples.npy (the numbers).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/gif.hpp"
#include "easy_diffusion/io/grid.hpp"
#include "easy_diffusion/io/image.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/diffusion/samplers/euler_maruyama.hpp"
#include "easy_diffusion/zoo/unet.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/progress.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

/// A state of the process as a picture: at large t it is drawn to a visible contrast around grey.
ed::Tensor<float> visible(const ed::Tensor<float>& x, double deviation) {
  ed::Tensor<float> picture = x;
  const auto scale = static_cast<float>(1 / (1 + 2 * deviation));
  for (float& v : picture) v = 0.5F + (v - 0.5F) * scale;
  return picture;
}

void program(ex::CommandLine& line) {
  std::string checkpoint_path;
  std::int64_t samples = 64;
  std::int64_t batch = 64;
  std::int64_t first = 0;
  std::int64_t size = 28;
  std::int64_t frames = 60;
  bool raw_weights = false;
  ed::diffusion::ScoreSamplerConfig config;
  line.describe("Paints pictures with a trained score model, from noise, by Euler-Maruyama steps in reverse time.");
  line.add("--checkpoint", checkpoint_path, "file that train_score_model has left")->required();
  line.add<std::int64_t>("--samples", samples, "number of pictures", 1, 1'000'000);
  line.add<std::int64_t>("--steps", config.steps, "number of steps from t = 1 down", 1, 1'000'000);
  line.add("--last-time", config.last_time, "time at which the last step ends", 1e-5, 0.9);
  line.add<std::int64_t>("--batch", batch, "pictures painted together; changes speed and memory, not the pictures", 1,
                         65536);
  line.add<std::int64_t>("--first", first, "number of the first picture: --first 64 continues where 64 ended", 0,
                         1'000'000'000);
  line.add<std::int64_t>("--size", size, "height and width of a picture", 1, 4096);
  line.add<std::int64_t>("--frames", frames, "frames of samples.gif; 0: none", 0, 1000);
  line.add("--raw-weights", raw_weights, "the last weights instead of their average");
  line.parse();
  if (line.smoke) {
    if (!line.given("--samples")) samples = 4;
    if (!line.given("--steps")) config.steps = 10;
    if (!line.given("--frames")) frames = 5;
  }
  config.seed = line.seed;

  const ed::train::Checkpoint checkpoint(checkpoint_path);
  ed::zoo::ScoreModelConfig model_config;
  ed::sde::VarianceExploding process;
  std::optional<ed::nn::UNet<float>> built;
  try {
    model_config = ed::zoo::ScoreModelConfig::from_json(checkpoint.model_settings());
    process = ed::sde::VarianceExploding(model_config.sigma);
    built.emplace(model_config.network([process](double t) { return process.marginal_std(t); }));
  } catch (const ed::Error& error) {
    throw ed::FormatError(checkpoint_path + ": " + error.what());
  }
  ed::nn::UNet<float>& model = *built;
  checkpoint.load_weights(model, !raw_weights);
  std::printf("%s after %lld training steps: %lld pictures, %lld steps, %d threads\n",
              model_config.architecture.c_str(), static_cast<long long>(checkpoint.steps()),
              static_cast<long long>(samples), static_cast<long long>(config.steps), ed::num_threads());
  std::fflush(stdout);

  const ex::InterruptGuard guard;
  ex::Progress progress("sampling");
  const ed::Shape all{samples, size, size, model_config.picture_channels};
  ed::Tensor<float> pictures = ed::Tensor<float>::uninitialized(all);
  // The animation shows what fits into an 8 x 8 grid.
  const std::int64_t shown = std::min<std::int64_t>(samples, 64);
  std::vector<ed::Tensor<float>> film;
  if (frames > 0)
    film.assign(static_cast<std::size_t>(std::min(frames, config.steps)), ed::Tensor<float>(all.with_front(shown)));
  const auto copy_rows = [](const ed::Tensor<float>& from, ed::TensorView<float> to) {
    std::copy_n(from.data(), to.size(), to.data());
  };

  double evaluations = 0;
  bool stopped = false;
  for (std::int64_t begin = 0; begin < samples && !stopped; begin += batch) {
    const std::int64_t count = std::min(batch, samples - begin);
    std::size_t frame = 0;
    const auto observer = [&](std::int64_t step, double t, const ed::Tensor<float>& x) {
      const auto part = static_cast<double>(step) / static_cast<double>(config.steps);
      // Frame k of F is the first state at or after the share k / (F - 1) of the steps.
      while (frame < film.size() && static_cast<double>(frame) <= part * static_cast<double>(film.size() - 1) + 1e-9) {
        const std::int64_t rows = std::min(count, shown - begin);
        if (rows > 0) copy_rows(visible(x, process.marginal_std(t)), film[frame].view().slice(begin, rows));
        ++frame;
      }
      if (step > 0) evaluations += static_cast<double>(count);
      char text[64];
      std::snprintf(text, sizeof text, "picture %lld/%lld  step %lld/%lld", static_cast<long long>(begin + count),
                    static_cast<long long>(samples), static_cast<long long>(step),
                    static_cast<long long>(config.steps));
      progress.update((static_cast<double>(begin) + part * static_cast<double>(count)) / static_cast<double>(samples),
                      text, evaluations / static_cast<double>(config.steps));
      stopped = ex::InterruptGuard::interrupted();
      return stopped ? ed::sde::Flow::stop : ed::sde::Flow::go_on;
    };
    const auto x =
        ed::diffusion::sample_score_model(model, process, all.with_front(count), first + begin, config, observer);
    copy_rows(x, pictures.view().slice(begin, count));
  }
  progress.clear();
  if (stopped) throw ed::Error("interrupted; nothing was written");
  for (const float v : pictures)
    if (!std::isfinite(v)) throw ed::ValueError(checkpoint_path + ": the model's samples are not finite numbers");

  ed::io::write_npy(line.out / "samples.npy", pictures);
  const ed::io::GridOptions grid{
      .columns = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(samples)))),
      .padding = 2,
      .scale = samples <= 256 ? 2 : 1};
  ed::io::save_png(line.out / "samples.png", ed::io::make_grid(pictures, grid));
  if (!film.empty()) {
    const auto first_grid = ed::io::make_grid(film[0], {.padding = 2, .scale = 2});
    const ed::Shape s = first_grid.shape();
    auto animation = ed::Tensor<float>::uninitialized({static_cast<std::int64_t>(film.size()), s[0], s[1], s[2]});
    for (std::size_t k = 0; k < film.size(); ++k)
      copy_rows(ed::io::make_grid(film[k], {.padding = 2, .scale = 2}),
                animation.view().slice(static_cast<std::int64_t>(k), 1));
    ed::io::save_gif(line.out / "samples.gif", animation, {.delay = 6, .hold = 200});
  }
  std::printf("%lld pictures in %.1f s: %s\n", static_cast<long long>(samples), progress.seconds(),
              (line.out / "samples.png").c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const int code = ex::run_main(argc, argv, program);
  return code == 2 && ex::InterruptGuard::interrupted() ? 130 : code;
}
