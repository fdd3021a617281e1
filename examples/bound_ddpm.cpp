/// The variational bound of a diffusion model over held-out pictures: how many bits per dimension its chain needs at most to
/// store them, in terms of its steps. Leaves bound.csv and bound.png.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "easy_diffusion/data/load.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/diffusion/variational_bound.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_model.hpp"
#include "support/classes.hpp"
#include "support/dataset.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/plot.hpp"
#include "support/progress.hpp"
#include "support/try_to_draw.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace df = easy_diffusion::diffusion;

namespace {

struct Options {
  std::string checkpoint;
  std::string data = ed::data::fashion_mnist_folder().string();
  std::int64_t pictures = 64, first = 0, batch = 64, steps = 0;
  bool no_clip = false, raw_weights = false;

  void add_to(ex::CommandLine& line) {
    line.add("--checkpoint", checkpoint, "file that train_ddpm has left, of the method ddpm")->required();
    line.add("--data", data, "folder of IDX files (t10k-images-idx3-ubyte.gz), or with a folder test of pictures");
    line.add<std::int64_t>("--pictures", pictures, "number of pictures of the test set", 1, 1'000'000);
    line.add<std::int64_t>("--first", first, "number of the first picture", 0, 1'000'000'000);
    line.add<std::int64_t>("--batch", batch, "pictures at a time; changes speed and memory, not the bound", 1, 65536);
    line.add<std::int64_t>("--steps", steps,
                           "steps of the chain, even over the model's timesteps: fewer cost less and are looser; 0: all. A "
                           "variance learned as it is (--variance learned) needs all",
                           0, 1'000'000);
    line.add("--no-clip", no_clip, "predicted pictures are not clipped to their range");
    line.add("--raw-weights", raw_weights, "the last weights instead of their average");
  }
};

/// The chain of the options in a model. \throw ValueError naming the file, for a model of another method; or the option
df::GaussianDiffusion make_chain(const ed::train::DiffusionSettings& settings, const Options& options) {
  if (settings.method != ed::train::DiffusionMethod::ddpm)
    throw ed::ValueError(options.checkpoint + ": expected a model of the method ddpm, which is a chain of steps, got " +
                         ed::train::to_string(settings.method));
  if (options.steps == 0 || options.steps == settings.timesteps) return settings.make_chain();
  if (settings.variance == df::VarianceType::learned)
    throw ed::ValueError("--steps: " + options.checkpoint + " has learned the variance of single timesteps; expected all " +
                         std::to_string(settings.timesteps) + " of them, got " + std::to_string(options.steps));
  const auto timesteps = df::timesteps(settings.timesteps, options.steps, {.spacing = df::Spacing::linspace});
  return df::GaussianDiffusion(settings.make_schedule(), timesteps, settings.output());
}

/// \throw ShapeError, ValueError where the model cannot be shown these pictures
void check(const ed::data::ImageDataset& set, const ed::train::DiffusionModel<float>& model,
           const nlohmann::json& training_settings, const Options& options) {
  const auto& settings = model.settings();
  if (set.images.shape().with_front(1) != settings.pictures(1))
    throw ed::ShapeError(set.name + ": expected pictures " + settings.pictures(1).to_string() +
                         ", as the model was trained on, got " + set.images.shape().with_front(1).to_string());
  if (options.first + options.pictures > set.size())
    throw ed::ValueError("--pictures: the test set has " + std::to_string(set.size()) + ", asked for number " +
                         std::to_string(options.first + options.pictures - 1));
  if (model.classes() == 0) return;
  if (set.labels.empty()) throw ed::ValueError(set.name + ": the pictures have no classes, which the model is told");
  const std::int64_t largest = *std::max_element(set.labels.begin(), set.labels.end());
  if (largest >= model.classes())
    throw ed::ValueError(set.name + ": expected classes from 0 to " + std::to_string(model.classes() - 1) +
                         ", which the model is told, got " + std::to_string(largest));
  const auto names = ex::class_names(training_settings);
  if (!names.empty() && !set.class_names.empty() && names != set.class_names)
    throw ed::ValueError(set.name + ": its classes have other names than those that the model was trained on");
  const auto unseen = ex::unseen_classes(training_settings);
  for (const std::int64_t label : set.labels)
    if (std::find(unseen.begin(), unseen.end(), label) != unseen.end())
      throw ed::ValueError(set.name + ": has pictures of class " + std::to_string(label) + ", of which the model has seen none");
}

void save(const ex::CommandLine& line, const df::GaussianDiffusion& chain, const df::VariationalBound& bound,
          const std::string& title) {
  std::string csv = "timestep,bits_per_dimension\n";
  ex::Curve curve{.label = {}, .x = {}, .y = {}};
  for (std::int64_t t = 0; t < chain.steps(); ++t) {
    const double bits = bound.terms[static_cast<std::size_t>(t)];
    csv += std::to_string(chain.timestep(t)) + "," + ed::number_text(bits, 9) + "\n";
    curve.x.push_back(static_cast<double>(chain.timestep(t)));
    curve.y.push_back(bits);
  }
  csv += "prior," + ed::number_text(bound.prior, 9) + "\n";
  ed::io::write_file(line.out / "bound.csv", csv);
  const ex::Axes axes{
      .title = title, .x_label = "timestep (0: the decoder)", .y_label = "bits per dimension", .log_y = true};
  ex::try_to_draw([&] { ex::draw_png(ex::LinePlot{.axes = axes, .curves = {std::move(curve)}}, line.out / "bound.png"); });
}

void program(ex::CommandLine& line) {
  Options options;
  line.describe("Bound in bits per dimension of held-out pictures under a trained diffusion model.");
  options.add_to(line);
  line.results_are_files = true;
  line.parse();
  if (line.smoke) {
    if (!line.given("--pictures")) options.pictures = 4;
    if (!line.given("--steps")) options.steps = 5;
  }

  const ed::train::Checkpoint checkpoint(options.checkpoint);
  const ed::train::DiffusionModel<float> model(checkpoint, !options.raw_weights);
  const df::GaussianDiffusion chain = make_chain(model.settings(), options);
  // A folder of pictures is framed for the model; other sets must fit.
  const ed::train::DiffusionSettings& settings = model.settings();
  const bool square = settings.height == settings.width;
  auto set = ed::data::load_dataset(
      options.data, {.split = ed::data::Split::test,
                     .size = square ? std::optional<std::int64_t>(settings.height) : std::nullopt,
                     .channels = settings.channels});
  ex::print_left_out(set);
  check(set, model, checkpoint.training_settings(), options);
  ex::take_turns_of_classes(set);
  std::printf("%lld held-out pictures, %lld steps of %lld, %d threads\n", static_cast<long long>(options.pictures),
              static_cast<long long>(chain.steps()), static_cast<long long>(settings.timesteps),
              ed::num_threads());
  std::fflush(stdout);

  const ex::InterruptGuard guard;
  ex::Progress progress("bound", "evaluations");
  df::BoundEstimate estimate(chain, line.seed, {.clip = !options.no_clip});
  const double work = static_cast<double>(options.pictures * chain.steps());
  double done = 0;
  for (std::int64_t begin = 0; begin < options.pictures; begin += options.batch) {
    const std::int64_t count = std::min(options.batch, options.pictures - begin);
    ed::Tensor<float> x0 = ed::Tensor<float>::uninitialized(settings.pictures(count));
    const std::uint8_t* bytes = set.images.data() + (options.first + begin) * (x0.size() / count);
    for (std::int64_t i = 0; i < x0.size(); ++i) x0[i] = static_cast<float>(bytes[i] / 127.5 - 1);
    ed::nn::Condition<float> told;
    if (model.classes() > 0)
      told.classes.assign(set.labels.begin() + options.first + begin, set.labels.begin() + options.first + begin + count);
    estimate.add(
        [&](const ed::Tensor<float>& x, const ed::Tensor<float>& timesteps) {
          ex::InterruptGuard::check();
          done += static_cast<double>(count);
          progress.update(done / work, "picture " + std::to_string(begin + count), done);
          return model.output(x, timesteps, told);
        },
        x0);
  }
  progress.clear();

  const df::VariationalBound bound = estimate.result();
  if (!std::isfinite(bound.total()))
    throw ed::ValueError(options.checkpoint + ": expected a model whose bound is finite, got " +
                         ed::number_text(bound.total()) + " bits per dimension");
  const std::string architecture = checkpoint.model_settings()["architecture"];
  save(line, chain, bound, "Terms of the bound, " + architecture);
  const double decoder = bound.terms.front();
  std::printf("%.4f bits per dimension: decoder %.4f, steps %.4f, prior %.4g; %.1f s\nwrote %s\n", bound.total(), decoder,
              bound.total() - decoder - bound.prior, bound.prior, progress.seconds(), ex::printable(line.out / "bound.csv").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
