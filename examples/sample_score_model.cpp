/// Paints pictures with a score model: Euler-Maruyama on the reverse-time equation. Leaves samples.png (a grid),
/// samples.gif (the noise turning into pictures) and samples.npy (the numbers); of a model that is told classes also
/// labels.npy, and with --similarity class_similarity.png.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/diffusion/samplers/euler_maruyama.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/classes.hpp"
#include "support/heat_map.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/progress.hpp"
#include "support/samples.hpp"
#include "support/try_to_draw.hpp"

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

/// Cosine of the angle between the vectors that stand for two classes, for every two. The diagonal, always one, is left
/// out as the original does, and so are classes of which the model has seen no picture.
ex::HeatMap class_similarity(const ed::zoo::Model<float>& model, const nlohmann::json& training_settings) {
  const auto names = ex::class_names(training_settings);
  const ed::Tensor<float> table = ex::class_table(model);
  const auto classes = ex::read_classes("--similarity", "all", table.extent(0), ex::unseen_classes(training_settings));
  const std::int64_t width = table.extent(1);
  const auto product = [&](std::int64_t a, std::int64_t b) {
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i)
      sum += static_cast<double>(table[a * width + i]) * static_cast<double>(table[b * width + i]);
    return sum;
  };
  ex::HeatMap map{.title = "Class embeddings", .value_label = "cosine similarity", .names = {}, .values = {}};
  for (const std::int64_t a : classes) {
    map.names.push_back(ex::class_name(names, a));
    for (const std::int64_t b : classes)
      map.values.push_back(a == b ? std::nan("") : product(a, b) / std::sqrt(product(a, a) * product(b, b)));
  }
  return map;
}

void program(ex::CommandLine& line) {
  std::string checkpoint_path;
  std::int64_t samples = 64;
  std::int64_t batch = 64;
  std::int64_t first = 0;
  std::int64_t size = 0;
  std::int64_t frames = 60;
  bool raw_weights = false;
  std::string class_list;
  double guidance = 1;
  bool similarity = false;
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
  line.add<std::int64_t>("--size", size,
                         "height and width of a picture; 0: those that the model was trained on, 28 where the checkpoint does "
                         "not say it",
                         0, 4096);
  line.add<std::int64_t>("--frames", frames, "frames of samples.gif; 0: none", 0, 1000);
  line.add("--raw-weights", raw_weights, "the last weights instead of their average");
  line.add("--classes", class_list,
           "of a model that is told classes: all, or numbers such as 0,3,5; picture after picture goes round them");
  line.add("--guidance", guidance,
           "how much the class counts: 1 as it was learned, more exaggerates it, at twice the time", 0.0, 100.0);
  line.add("--similarity", similarity, "also draw how alike the model's embeddings of the classes are");
  line.results_are_files = true;
  line.parse();
  if (line.smoke) {
    if (!line.given("--samples")) samples = 4;
    if (!line.given("--steps")) config.steps = 10;
    if (!line.given("--frames")) frames = 5;
  }
  config.seed = line.seed;

  const ed::train::Checkpoint checkpoint(checkpoint_path);
  const nlohmann::json& settings = checkpoint.model_settings();
  ed::sde::VarianceExploding process;
  std::optional<ed::zoo::NetworkConfig> network;
  std::optional<ed::zoo::Model<float>> built;
  try {
    network = ed::zoo::read_settings(settings);
    process = ed::zoo::score_process(settings);
    built.emplace(*network);
  } catch (const ed::Error& error) {
    throw ed::FormatError(checkpoint_path + ": " + error.what());
  }
  ed::zoo::Model<float>& model = *built;
  checkpoint.load_weights(model, !raw_weights);
  ed::nn::hold_weights(model);

  const auto condition = ed::zoo::condition_of(*network);
  const bool conditional = condition.kind == ed::nn::ConditionKind::classes;
  for (const char* option : {"--classes", "--guidance", "--similarity"})
    if (!conditional && line.given(option))
      throw ed::ValueError(std::string(option) + ": the model of " + checkpoint_path + " is told no classes");
  ex::ClassRound classes{.classes = {}, .first = first};
  if (conditional) classes.classes = ex::read_classes("--classes", class_list.empty() ? "all" : class_list, condition.inputs,
                                       ex::unseen_classes(checkpoint.training_settings()));
  if (conditional && !line.given("--samples")) samples = classes.count() * (line.smoke ? 1 : 8);

  const std::string architecture = settings["architecture"];
  const auto trained = ex::trained_size(checkpoint.training_settings());
  auto [height, width] = trained.value_or(std::array<std::int64_t, 2>{28, 28});
  if (size > 0) height = width = size;
  std::printf("%s after %lld training steps: %lld pictures of %lldx%lld, %lld steps, %d threads\n", architecture.c_str(),
              static_cast<long long>(checkpoint.steps()), static_cast<long long>(samples), static_cast<long long>(height),
              static_cast<long long>(width), static_cast<long long>(config.steps), ed::num_threads());
  if (trained && std::array{height, width} != *trained)
    std::printf("the model was trained on pictures of %lldx%lld\n", static_cast<long long>((*trained)[0]),
                static_cast<long long>((*trained)[1]));
  std::fflush(stdout);
  if (similarity) {
    const auto map = class_similarity(model, checkpoint.training_settings());
    ex::write_csv(map, line.out / "class_similarity.csv");
    ex::try_to_draw([&] { ex::draw_png(map, line.out / "class_similarity.png"); });
  }

  const ex::InterruptGuard guard;
  ex::Progress progress("sampling");
  const ed::Shape all{samples, height, width, ed::zoo::picture_channels(*network)};
  ed::Tensor<float> pictures = ed::Tensor<float>::uninitialized(all);
  ex::Film film(frames, config.steps, all, classes.count());

  double evaluations = 0;
  for (std::int64_t begin = 0; begin < samples; begin += batch) {
    const std::int64_t count = std::min(batch, samples - begin);
    film.begin_batch(begin);
    const auto observer = [&](std::int64_t step, double t, const ed::Tensor<float>& x) {
      const auto part = static_cast<double>(step) / static_cast<double>(config.steps);
      film.record(step, [&] { return visible(x, process.marginal_std(t)); });
      if (step > 0) evaluations += static_cast<double>(count);
      char text[64];
      std::snprintf(text, sizeof text, "picture %lld/%lld  step %lld/%lld", static_cast<long long>(begin + count),
                    static_cast<long long>(samples), static_cast<long long>(step),
                    static_cast<long long>(config.steps));
      progress.update((static_cast<double>(begin) + part * static_cast<double>(count)) / static_cast<double>(samples),
                      text, evaluations / static_cast<double>(config.steps));
      ex::InterruptGuard::check();
    };
    ed::nn::Condition<float> told;
    told.classes = classes.of(begin, count);
    const ed::diffusion::Guided score(model, std::move(told), guidance);
    const auto x =
        ed::diffusion::sample_score_model(score, process, all.with_front(count), first + begin, config, observer);
    ex::copy_rows(x, pictures.view().slice(begin, count));
  }
  progress.clear();
  ex::save_samples(line.out, checkpoint_path, pictures, classes);
  film.save(line.out / "samples.gif");
  std::printf("%lld pictures in %.1f s: %s\n", static_cast<long long>(samples), progress.seconds(),
              ex::printable(line.out / "samples.png").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
