/// Paints pictures with a diffusion model, by any of the library's samplers. Leaves samples.png (a grid), samples.gif (what
/// the model believes to be under the noise, step after step) and samples.npy (the numbers); of a model that is told classes
/// also labels.npy, and with --trajectory trajectory.png and trajectory.npy.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/data/framing.hpp"
#include "easy_diffusion/diffusion/clipping.hpp"
#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/noised.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/any_sampler.hpp"
#include "easy_diffusion/diffusion/samplers/flow_heun.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/io/image.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_model.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "support/classes.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/progress.hpp"
#include "support/samples.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace df = easy_diffusion::diffusion;

namespace {

using Pictures = ed::Tensor<float>;
using Model = ed::train::DiffusionModel<float>;

struct Options {
  std::string checkpoint;
  std::string sampler = "ddim";
  std::int64_t steps = 50;
  std::string spacing;
  double rho = 7;
  bool end_with_noise = false;
  std::string variance;
  double eta = 0, churn = 40, tolerance = 1e-3, signal_to_noise = 0.16;
  double guidance = 1;
  double guidance_rescale = 0;
  std::string clip = "range";
  std::int64_t samples = 64;
  std::int64_t batch = 64;
  std::int64_t first = 0;
  std::int64_t frames = 60;
  bool raw_weights = false;
  bool trajectory = false;
  std::string classes;
  std::string init;
  double strength = 0.6;
  std::string inpaint;
  std::int64_t resampling = 1;

  void add_to(ex::CommandLine& line) {
    std::string names;
    for (const std::string& name : df::sampler_names()) names += (names.empty() ? "" : ", ") + name;
    line.add("--checkpoint", checkpoint, "file that train_ddpm has left")->required();
    line.add("--sampler", sampler, "one of " + names);
    line.add<std::int64_t>("--steps", steps, "number of steps, of a model of the method ddpm up to its timesteps", 1,
                           1'000'000);
    line.add("--spacing", spacing,
             "of the steps: leading, trailing, linspace, quadratic (whole timesteps), karras, exponential or log_snr; "
             "trailing where nothing is given. A model of the method edm has only karras, one of flow only trailing");
    line.add("--rho", rho, "of the Karras spacing", 1e-3, 1e3);
    line.add("--end-with-noise", end_with_noise,
             "end at the cleanest level that has noise (of the schedule; sigma = 0.002 of edm; flow has none) instead of the "
             "clean picture");
    line.add("--eta", eta, "share of the posterior's noise, for samplers that take it", 0.0, 100.0);
    line.add("--variance", variance,
             "of ddpm's steps: fixed_small, fixed_large, learned (of single timesteps: right only with all steps) or "
             "learned_range; what the model was trained for where nothing is given");
    line.add("--churn", churn, "noise that edm adds and removes", 0.0, 1e6);
    line.add("--tolerance", tolerance, "relative and absolute, of rk45's steps", 1e-12, 1.0);
    line.add("--signal-to-noise", signal_to_noise, "of the corrections of predictor_corrector", 1e-6, 10.0);
    line.add("--guidance", guidance,
             "how much the class counts: 1 as it was learned, more exaggerates it, at twice the time", 0.0, 100.0);
    line.add("--guidance-rescale", guidance_rescale, "how far guided pictures get their contrast back", 0.0, 1.0);
    line.add("--clip", clip, "predicted pictures: none, range (clipped to the data's) or dynamic (thresholded)");
    line.add<std::int64_t>("--samples", samples, "number of pictures", 1, 1'000'000);
    line.add<std::int64_t>("--batch", batch, "pictures painted together; changes speed and memory, not the pictures", 1,
                           65536);
    line.add<std::int64_t>("--first", first, "number of the first picture: --first 64 continues where 64 ended", 0,
                           1'000'000'000);
    line.add<std::int64_t>("--frames", frames, "frames of samples.gif; 0: none", 0, 1000);
    line.add("--trajectory", trajectory, "also leave the states of up to 8 pictures, after every step");
    line.add("--raw-weights", raw_weights, "the last weights instead of their average");
    line.add("--classes", classes,
             "of a model that is told classes: all, or numbers such as 0,3,5; picture after picture goes round them");
    line.add("--init", init, "picture to start from, instead of noise; it is cropped to a square and resized");
    line.add("--strength", strength, "share of the steps that an --init picture goes through", 1e-6, 1.0);
    line.add("--inpaint", inpaint, "picture whose white part is painted anew; the rest stays as in --init");
    line.add<std::int64_t>("--resampling", resampling,
                           "times that each step of --inpaint is walked: more fits the new part better to the rest", 1,
                           1000);
  }

  /// What of it does not depend on the checkpoint. \throw ValueError naming the option
  void check(const ex::CommandLine& line) const {
    for (const char* option : {"--strength", "--inpaint"})
      if (init.empty() && line.given(option)) throw ed::ValueError(std::string(option) + ": needs --init");
    if (!inpaint.empty() && line.given("--strength"))
      throw ed::ValueError("--strength: cannot be together with --inpaint, which starts from noise");
    if ((guidance == 0 || guidance == 1) && line.given("--guidance-rescale"))
      throw ed::ValueError("--guidance-rescale: needs a --guidance other than 0 and 1");
    if (inpaint.empty() && line.given("--resampling")) throw ed::ValueError("--resampling: needs --inpaint");
    if (clip != "none" && clip != "range" && clip != "dynamic")
      throw ed::ValueError("--clip: expected none, range or dynamic, got '" + clip + "'");
  }
};

/// What samplers ask, with whatever is behind it. After a signal the next evaluation, within whatever step, ends the run.
struct PictureDenoiser {
  std::function<void(const Pictures&, const df::NoiseLevel&, Pictures&)> x0;
  std::function<void(const Pictures&, const df::NoiseLevel&, Pictures&, Pictures&)> x0_and_variance;

  void operator()(const Pictures& x, const df::NoiseLevel& level, Pictures& out) const {
    ex::InterruptGuard::check();
    x0(x, level, out);
  }
  void operator()(const Pictures& x, const df::NoiseLevel& level, Pictures& out, Pictures& v) const {
    ex::InterruptGuard::check();
    x0_and_variance(x, level, out, v);
  }
};

template <class D>
PictureDenoiser erased(const D& denoiser) {
  return {denoiser, denoiser};
}

/// A denoiser whose x0 is kept in range as the options ask for.
template <class D>
PictureDenoiser in_range(const std::string& clip, const D& denoiser) {
  if (clip == "range") return erased(df::clipped(denoiser));
  if (clip == "dynamic") return erased(df::thresholded(denoiser));
  return erased(denoiser);
}

PictureDenoiser make_denoiser(const Model& model, const Options& options, const std::vector<std::int64_t>& classes) {
  ed::nn::Condition<float> told;
  told.classes = classes;
  const auto conditional = model.denoiser(std::move(told));
  if (options.guidance == 1) return in_range(options.clip, conditional);
  return in_range(options.clip,
                  df::guided(conditional, model.denoiser(), options.guidance, options.guidance_rescale));
}

/// A picture from a file in the model's size and channels, and the size that it had.
struct GivenPicture {
  Pictures picture;  ///< [1, size, size, channels] in [-1, 1]
  std::int64_t height = 0, width = 0;
};

/// Prints how the picture was made to fit. \param shape of the model's pictures
GivenPicture load_picture(const std::string& path, const ed::Shape& shape) {
  if (shape[1] != shape[2])
    throw ed::ShapeError(path + ": expected a model of square pictures, got one of " + shape.to_string());
  if (shape[3] != 1 && shape[3] != 3)
    throw ed::ShapeError(path + ": expected a model of pictures with 1 or 3 channels, got " + shape.to_string());
  const Pictures image = ed::io::load_image<float>(path);
  ed::Tensor<std::uint8_t> bytes;
  try {
    bytes = ed::data::framed(image, {.size = shape[1], .channels = shape[3], .max_enlargement = 4096});
  } catch (const ed::ValueError& error) { throw ed::ValueError(path + ": " + error.what()); }
  GivenPicture given{.picture = Pictures::uninitialized(shape.with_front(1)),
                     .height = image.extent(0),
                     .width = image.extent(1)};
  for (std::int64_t i = 0; i < given.picture.size(); ++i)
    given.picture[i] = static_cast<float>(2 * static_cast<int>(bytes[i]) - 255) / 255.0F;
  if (given.height != shape[1] || given.width != shape[2])
    std::printf("%s: %lldx%lld%s, resized to %lldx%lld\n", ex::printable(path).c_str(), static_cast<long long>(given.height),
                static_cast<long long>(given.width), given.height == given.width ? "" : " cropped to the square in its middle",
                static_cast<long long>(shape[1]), static_cast<long long>(shape[2]));
  return given;
}

/// 1 where a picture stays, 0 where it is painted anew, as the mask is white there. \throw ValueError unless the mask has the
/// shape of the picture, so that both are framed alike, and something white
Pictures load_mask(const std::string& path, const GivenPicture& init, const std::string& init_path) {
  GivenPicture mask = load_picture(path, init.picture.shape());
  if (mask.height * init.width != mask.width * init.height)
    throw ed::ValueError("--inpaint: " + path + ": expected a mask of the proportions of " + init_path + ", " +
                         std::to_string(init.height) + "x" + std::to_string(init.width) + ", got " +
                         std::to_string(mask.height) + "x" + std::to_string(mask.width));
  for (float& v : mask.picture) v = v > 0 ? 0.0F : 1.0F;
  const auto white = std::count(mask.picture.begin(), mask.picture.end(), 0.0F);
  if (white == 0) throw ed::ValueError("--inpaint: " + path + ": expected a mask with a white part to be painted, got none");
  std::printf("%.0f %% of the picture are painted anew\n",
              100 * static_cast<double>(white) / static_cast<double>(mask.picture.size()));
  return std::move(mask.picture);
}

/// From [-1, 1] to [0, 1].
Pictures shown(const Pictures& x) {
  Pictures result = x;
  for (float& v : result) v = 0.5F * (v + 1);
  return result;
}

/// The states of the first pictures after every step.
class Trajectory {
 public:
  Trajectory(std::int64_t steps, const ed::Shape& pictures, std::int64_t most = 8)
      : rows_(std::min(pictures[0], most)),
        states_({steps + 1, rows_, pictures[1], pictures[2], pictures[3]}),
        contrast_(static_cast<std::size_t>(steps + 1)) {}

  void record(std::int64_t begin, std::int64_t step, const df::NoiseLevel& level, const Pictures& x) {
    contrast_[static_cast<std::size_t>(step)] = 0.2 / std::hypot(level.alpha, level.sigma);
    const std::int64_t rows = std::min(x.extent(0), rows_ - begin);
    if (rows <= 0) return;
    const std::int64_t elements = x.size() / x.extent(0);
    std::copy_n(x.data(), rows * elements, states_.data() + (step * rows_ + begin) * elements);
  }

  void save(const std::filesystem::path& folder) const {
    ed::io::write_npy(folder / "trajectory.npy", states_);
    const std::int64_t steps = states_.extent(0), columns = std::min<std::int64_t>(steps, 11);
    const std::int64_t elements = states_.size() / steps / rows_;
    const ed::Shape& s = states_.shape();
    Pictures strip = Pictures::uninitialized({rows_ * columns, s[2], s[3], s[4]});
    for (std::int64_t row = 0; row < rows_; ++row)
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t step = columns > 1 ? column * (steps - 1) / (columns - 1) : 0;
        const auto contrast = static_cast<float>(contrast_[static_cast<std::size_t>(step)]);
        for (std::int64_t i = 0; i < elements; ++i)
          strip[(row * columns + column) * elements + i] = 0.5F + contrast * states_[(step * rows_ + row) * elements + i];
      }
    ed::io::save_png(folder / "trajectory.png",
                     ed::io::make_grid(strip, {.columns = columns, .padding = 2, .scale = 2}));
  }

 private:
  std::int64_t rows_;
  Pictures states_;
  std::vector<double> contrast_;  // of a step's states as pictures: their deviation is about that of its level
};

void program(ex::CommandLine& line) {
  Options options;
  line.describe("Paints pictures with a trained diffusion model.");
  options.add_to(line);
  line.results_are_files = true;
  line.parse();
  options.check(line);
  if (line.smoke) {
    if (!line.given("--samples")) options.samples = 4;
    if (!line.given("--steps")) options.steps = 4;
    if (!line.given("--frames")) options.frames = 4;
  }

  const ed::train::Checkpoint checkpoint(options.checkpoint);
  const Model model(checkpoint, !options.raw_weights);
  const bool conditional = model.classes() > 0;
  for (const char* option : {"--classes", "--guidance", "--guidance-rescale"})
    if (!conditional && line.given(option))
      throw ed::ValueError(std::string(option) + ": the model of " + options.checkpoint + " is told no classes");
  ex::ClassRound classes{.classes = {}, .first = options.first};
  if (conditional)
    classes.classes =
        ex::read_classes("--classes", options.classes.empty() ? "all" : options.classes, model.classes(),
                         ex::unseen_classes(checkpoint.training_settings()));
  if (conditional && !line.given("--samples")) options.samples = classes.count() * (line.smoke ? 1 : 8);

  const df::Spacing spacing =
      options.spacing.empty() ? model.settings().usual_spacing() : df::spacing_by_name(options.spacing);
  if (spacing != df::Spacing::karras && line.given("--rho")) throw ed::ValueError("--rho: needs --spacing karras");
  df::NoiseLevels levels = model.settings().levels(
      options.steps,
      {.spacing = spacing,
       .end = options.end_with_noise ? df::End::smallest : df::End::clean,
       .rho = options.rho});
  const ed::Shape all = model.settings().pictures(options.samples);
  std::optional<Pictures> init, mask;
  if (!options.init.empty()) {
    GivenPicture given = load_picture(options.init, all);
    if (!options.inpaint.empty())
      mask = load_mask(options.inpaint, given, options.init);
    else
      levels = levels.tail(options.strength);
    init = std::move(given.picture);
  }
  const auto repeated = [](const Pictures& one, std::int64_t count) {
    Pictures result = Pictures::uninitialized(one.shape().with_front(count));
    for (std::int64_t i = 0; i < count; ++i) std::copy_n(one.data(), one.size(), result.data() + i * one.size());
    return result;
  };

  df::SamplerOptions sampler_options;
  sampler_options.path = model.settings().path();
  if (line.given("--eta")) sampler_options.eta = options.eta;
  if (line.given("--variance"))
    sampler_options.variance = df::variance_type_by_name(options.variance);
  else if (options.sampler == "ddpm")
    sampler_options.variance = model.settings().variance;
  if (line.given("--churn")) sampler_options.churn = options.churn;
  if (line.given("--tolerance")) sampler_options.tolerance = options.tolerance;
  if (line.given("--signal-to-noise")) sampler_options.signal_to_noise = options.signal_to_noise;

  const ex::InterruptGuard guard;
  ex::Progress progress("sampling");
  Pictures pictures = Pictures::uninitialized(all);
  const std::int64_t elements = pictures.size() / options.samples;
  const std::int64_t walked = levels.steps() * (mask ? options.resampling : 1);
  ex::Film film(options.frames, walked, all, classes.count());
  std::optional<Trajectory> trajectory;
  if (options.trajectory) trajectory.emplace(walked, all);
  const char* const of_two = options.guidance == 0 || options.guidance == 1 ? "" : " of two";
  const auto paint = [&](df::AnySampler<Pictures>& sampler) {
    const bool adaptive = sampler.traits().adaptive;
    const std::int64_t declared = sampler.evaluations(levels);
    std::printf("%s after %lld training steps: %lld pictures, %s, %lld steps, %s%lld evaluations%s, %d threads\n",
                checkpoint.model_settings()["architecture"].get<std::string>().c_str(),
                static_cast<long long>(checkpoint.steps()), static_cast<long long>(options.samples),
                options.sampler.c_str(), static_cast<long long>(levels.steps()), adaptive ? "at least " : "",
                static_cast<long long>(declared), of_two, ed::num_threads());
    std::fflush(stdout);
    // An adaptive sampler chooses steps for each picture, and is told one class at a time.
    const std::int64_t batch = adaptive ? 1 : options.batch;
    std::int64_t made = 0;
    for (std::int64_t begin = 0; begin < options.samples; begin += batch) {
      const std::int64_t count = std::min(batch, options.samples - begin);
      const auto first_element = static_cast<std::uint64_t>((options.first + begin) * elements);
      const ed::NoiseAddress start{line.seed, ed::streams::initial_state, 0};
      Pictures x = Pictures::uninitialized(all.with_front(count));
      if (init && !mask)
        x = df::noised(repeated(*init, count), levels.front(), start, first_element);
      else
        ed::sde::draw_normal(x, levels.front().sigma, start, first_element);

      film.begin_batch(begin);
      if (trajectory) trajectory->record(begin, 0, levels.front(), x);
      const auto observer = [&](const df::SamplerView<Pictures>& view) {
        film.record(view.step == view.steps ? view.step : view.step - 1, [&] { return shown(view.x0); });
        if (trajectory) trajectory->record(begin, view.step, view.level, view.x);
        const double part = static_cast<double>(view.step) / static_cast<double>(view.steps);
        const double done = static_cast<double>(begin) + part * static_cast<double>(count);
        char text[80];
        std::snprintf(text, sizeof text, "picture %lld/%lld  step %lld/%lld", static_cast<long long>(begin + count),
                      static_cast<long long>(options.samples), static_cast<long long>(view.step),
                      static_cast<long long>(view.steps));
        progress.update(done / static_cast<double>(options.samples), text, done);
      };
      const PictureDenoiser denoiser = make_denoiser(model, options, classes.of(begin, count));
      const ed::sde::BrownianNoise noise{line.seed, first_element};
      const df::SampleResult result =
          mask ? df::inpaint(sampler, denoiser, x, levels, noise, repeated(*init, count), repeated(*mask, count),
                             {.resampling = options.resampling, .seed = line.seed, .first_element = first_element},
                             observer)
               : df::sample(sampler, denoiser, x, levels, noise, observer);
      made += result.evaluations * count;
      ex::copy_rows(shown(x), pictures.view().slice(begin, count));
    }
    return made;
  };
  // From pure noise, where a model of flow begins, Heun's method is of second order only on the velocity itself.
  df::AnySampler<Pictures> sampler = df::make_sampler<Pictures>(options.sampler, sampler_options);
  if (model.settings().method == ed::train::DiffusionMethod::flow && options.sampler == "heun")
    sampler = df::AnySampler<Pictures>(df::FlowHeun<Pictures>());
  const std::int64_t evaluations = paint(sampler);
  progress.clear();

  ex::save_samples(line.out, options.checkpoint, pictures, classes);
  film.save(line.out / "samples.gif");
  if (trajectory) trajectory->save(line.out);
  std::printf("%lld pictures, %.4g evaluations%s each, in %.1f s: %s\n", static_cast<long long>(options.samples),
              static_cast<double>(evaluations) / static_cast<double>(options.samples), of_two, progress.seconds(),
              ex::printable(line.out / "samples.png").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
