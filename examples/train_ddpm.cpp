/// Trains a diffusion model on pictures, of all of them or of each class: a U-Net learns the noise in pictures that a
/// schedule has noised, or by --method the preconditioned picture of EDM or the velocity of rectified flow. Leaves
/// checkpoint.safetensors, loss.csv and loss.png, with --snapshot-every and --sample-every also
/// snapshot_<step>.safetensors and samples_<step>.png; sample_ddpm paints with the checkpoint.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/clipping.hpp"
#include "easy_diffusion/diffusion/diffusion_loss.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/flow.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_multistep.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/io/image.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/train/conditional.hpp"
#include "easy_diffusion/train/denoising_diffusion.hpp"
#include "easy_diffusion/train/diffusion_model.hpp"
#include "easy_diffusion/train/diffusion_objective.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/train/edm_objective.hpp"
#include "easy_diffusion/train/flow_objective.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/classes.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/picture_models.hpp"
#include "support/samples.hpp"
#include "support/training.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace df = easy_diffusion::diffusion;

namespace {

struct Options {
  ex::TrainingOptions training{
      .decay = ex::RateDecay::cosine, .batch = 64, .warmup = 500, .ema = 0.9995, .clip = 1};
  ed::train::DiffusionSettings diffusion;
  std::string model = "UNet_Tranformer_Arch";
  bool unconditional = false;
  std::string method = "ddpm";
  std::string prediction = "epsilon";
  std::string variance = "fixed_small";
  std::string loss = "mse";
  double min_snr = 0;
  std::string timestep_sampler = "antithetic";
  double log_sigma_mean = df::Edm::Options().log_sigma_mean;
  double log_sigma_deviation = df::Edm::Options().log_sigma_deviation;
  std::string flow_times = "logit_normal";
  double condition_dropout = 0.1;
  double weight_decay = 0.01;
  std::int64_t sample_every = 0;
  std::string from;

  void add_to(ex::CommandLine& line) {
    line.add("--model", model,
             "unet (skips concatenated), unet_res (skips added), unet_transformer (told the class of each picture), or "
             "a class of the original, such as UNet_Tranformer_Arch (the last with padded convolutions: it sees the border "
             "of the picture too)");
    line.add("--unconditional", unconditional, "a model that is made to be told something is told nothing");
    line.add("--method", method,
             "ddpm (the timesteps of a schedule), edm (any noise level, preconditioned) or flow (rectified flow)");
    line.add("--schedule", diffusion.schedule, "linear, scaled_linear, quad, const, jsd, sigmoid or cosine");
    line.add<std::int64_t>("--timesteps", diffusion.timesteps, "of the schedule", 2, 100'000);
    line.add("--zero-terminal-snr", diffusion.zero_terminal_snr, "the schedule's last state is made pure noise");
    line.add("--prediction", prediction, "what the network learns: epsilon, x0 or v");
    line.add("--variance", variance,
             "of a step: fixed_small, fixed_large, or by the network's second half of channels: learned, learned_range");
    line.add("--loss", loss, "mse, rescaled_mse, kl, rescaled_kl, or with a learned variance hybrid");
    line.add("--min-snr", min_snr, "largest weight that a squared error of x0 gets by its signal-to-noise ratio; 0: no weights",
             0.0, 1e9);
    line.add("--timestep-sampler", timestep_sampler,
             "uniform, antithetic (pairs t and T - 1 - t) or importance (by the losses seen lately)");
    line.add("--data-deviation", diffusion.data_deviation,
             "of edm: standard deviation of the pictures' elements in [-1, 1]", 1e-6, 1e6);
    line.add("--log-sigma-mean", log_sigma_mean, "of edm: sigma of training is log-normal", -100.0, 100.0);
    line.add("--log-sigma-deviation", log_sigma_deviation, "of edm", 1e-6, 100.0);
    line.add("--flow-times", flow_times, "of flow: uniform or logit_normal (less of the ends)");
    line.add("--condition-dropout", condition_dropout,
             "probability with which a picture's class is left out, for guidance when sampling", 0.0, 1.0);
    line.add("--weight-decay", weight_decay, "of AdamW", 0.0, 10.0);
    line.add<std::int64_t>("--sample-every", sample_every,
                           "steps between grids of pictures, painted from the same noises; 0: none", 0, 1'000'000'000);
    line.add("--from", from, "weights to start from: a checkpoint, or PyTorch's as safetensors");
    training.add_to(line);
  }

  void make_tiny(const ex::CommandLine& line) {
    if (!line.given("--limit")) training.pictures.limit = 256;
    if (!line.given("--batch")) training.batch = 16;
    if (!line.given("--steps")) training.steps = 20;
    if (!line.given("--warmup")) training.warmup = 0;
  }

  /// Network settings for pictures of so many channels and classes. \throw as `zoo::timed_model_settings`
  [[nodiscard]] nlohmann::json network(std::int64_t channels, std::int64_t classes) const {
    auto settings = ed::zoo::timed_model_settings(
        model, channels, classes, std::nullopt,
        unconditional ? ed::zoo::Told::nothing : ed::zoo::Told::class_if_it_can);
    if (diffusion.learns_variance()) settings["out_channels"] = 2 * channels;
    return settings;
  }

  [[nodiscard]] df::DiffusionLoss make_loss() const {
    return df::DiffusionLoss(diffusion.make_chain(),
                             {.type = df::loss_by_name(loss),
                              .min_snr_gamma = min_snr > 0 ? std::optional<double>(min_snr) : std::nullopt});
  }

  /// \throw ValueError for a name that is not known, or a loss that does not fit the variance
  [[nodiscard]] ed::train::DiffusionObjective make_objective() const {
    using Objective = ed::train::DiffusionObjective;
    switch (diffusion.method) {
      case ed::train::DiffusionMethod::edm:
        return Objective(ed::train::EdmObjective(df::Edm({.data_deviation = diffusion.data_deviation,
                                                          .log_sigma_mean = log_sigma_mean,
                                                          .log_sigma_deviation = log_sigma_deviation})));
      case ed::train::DiffusionMethod::flow:
        return Objective(ed::train::FlowObjective(
            flow_times == "uniform" ? df::FlowTimes::uniform() : df::FlowTimes::logit_normal(), diffusion.time_scale));
      default: break;
    }
    return Objective(ed::train::DenoisingDiffusion(
        make_loss(), ed::train::timestep_sampler_by_name(timestep_sampler, diffusion.timesteps), diffusion.time_scale));
  }

  /// Reads the names. \throw ValueError for one that is not known, or that does not fit the others
  void check(const ex::CommandLine& line) {
    using Method = ed::train::DiffusionMethod;
    diffusion.method = ed::train::diffusion_method_by_name(method);
    const auto only = [&](Method owner, std::initializer_list<const char*> names) {
      for (const char* name : names)
        if (diffusion.method != owner && line.given(name))
          throw ed::ValueError(std::string(name) + ": only of --method " + ed::train::to_string(owner) + ", got " + method);
    };
    only(Method::ddpm, {"--schedule", "--timesteps", "--zero-terminal-snr", "--prediction", "--variance", "--loss",
                        "--min-snr", "--timestep-sampler"});
    only(Method::edm, {"--data-deviation", "--log-sigma-mean", "--log-sigma-deviation"});
    only(Method::flow, {"--flow-times"});
    if (flow_times != "uniform" && flow_times != "logit_normal")
      throw ed::ValueError("--flow-times: expected uniform or logit_normal, got '" + flow_times + "'");
    if (diffusion.method != Method::ddpm) return;
    diffusion.prediction = df::prediction_by_name(prediction);
    diffusion.variance = df::variance_type_by_name(variance);
    if (diffusion.prediction != df::Prediction::epsilon && diffusion.prediction != df::Prediction::x0 &&
        diffusion.prediction != df::Prediction::v)
      throw ed::ValueError("--prediction: expected epsilon, x0 or v, got '" + prediction + "'");
    const auto schedule = diffusion.make_schedule();
    if (diffusion.prediction == df::Prediction::epsilon && schedule.level(schedule.steps() - 1).is_pure_noise())
      throw ed::ValueError("--prediction: epsilon says nothing of the picture where the schedule ends in pure noise; "
                           "expected x0 or v");
    if (min_snr > 0 && (loss == "kl" || loss == "rescaled_kl"))
      throw ed::ValueError("--min-snr: weighs squared errors, of which the loss " + loss + " has none");
    static_cast<void>(make_objective());
  }

  /// What the network is told its time in.
  [[nodiscard]] double time_scale(const ed::zoo::NetworkConfig& network) const {
    const bool timesteps = ed::zoo::takes_timesteps(network);
    switch (diffusion.method) {
      case ed::train::DiffusionMethod::edm: return 1;
      case ed::train::DiffusionMethod::flow: return timesteps ? 1000 : 1;
      default: return timesteps ? 1 : 1 / static_cast<double>(diffusion.timesteps);
    }
  }

  /// What a checkpoint notes of the objective, beyond the model's settings.
  void note(nlohmann::json& settings) const {
    switch (diffusion.method) {
      case ed::train::DiffusionMethod::edm:
        settings["log_sigma_mean"] = log_sigma_mean;
        settings["log_sigma_deviation"] = log_sigma_deviation;
        break;
      case ed::train::DiffusionMethod::flow: settings["flow_times"] = flow_times; break;
      default:
        settings["loss"] = loss;
        settings["min_snr"] = min_snr;
        settings["timestep_sampler"] = timestep_sampler;
    }
  }

  /// What the loss curve shows.
  [[nodiscard]] std::string loss_unit() const {
    switch (diffusion.method) {
      case ed::train::DiffusionMethod::edm: return "weighted squared error (mean over pixels)";
      case ed::train::DiffusionMethod::flow: return "squared error of the velocity (mean over pixels)";
      default: return "loss " + loss + " of " + prediction + " (mean over pixels)";
    }
  }
};

/// Pictures that the averaged weights paint in a few steps, always from the same noises.
class Preview {
 public:
  /// \param classes that are painted, of which a grid has room for the first 32; none: the model is told none
  Preview(const nlohmann::json& model_settings, const ed::train::DiffusionSettings& settings,
          std::vector<std::int64_t> classes, std::uint64_t seed, std::filesystem::path folder)
      : network_(model_settings),
        settings_(settings),
        levels_(settings.levels(std::min<std::int64_t>(20, settings.timesteps), {.spacing = settings.usual_spacing()})),
        seed_(seed),
        folder_(std::move(folder)) {
    classes.resize(std::min<std::size_t>(classes.size(), 32));
    classes_.classes = std::move(classes);
  }

  /// \throw ex::Interrupted after a signal
  template <class Trainer>
  void paint(const Trainer& trainer) {
    trainer.ema().copy_to(network_);
    const std::int64_t count = classes_.count() > 0 ? 8 * classes_.count() : 64;
    ed::nn::Condition<float> told;
    told.classes = classes_.of(0, count);
    const auto clipped = df::clipped(ed::train::DiffusionDenoiser(network_, settings_, std::move(told)));
    const auto denoiser = [&](const ed::Tensor<float>& x, const df::NoiseLevel& level, ed::Tensor<float>& x0) {
      ex::InterruptGuard::check();
      clipped(x, level, x0);
    };
    auto x = ed::Tensor<float>::uninitialized(settings_.pictures(count));
    ed::sde::draw_normal(x, levels_.front().sigma, {seed_, ed::streams::initial_state, 0});
    df::DpmSolver2M<ed::Tensor<float>> sampler;
    df::sample(sampler, denoiser, x, levels_, df::NoNoise());
    for (float& v : x) v = 0.5F * (v + 1);
    ed::io::save_png(folder_ / ex::numbered_name("samples", trainer.steps(), "png"),
                     ex::sample_grid(x, classes_.count(), 2));
  }

 private:
  ed::zoo::Model<float> network_;
  ed::train::DiffusionSettings settings_;
  df::NoiseLevels levels_;
  ex::ClassRound classes_;
  std::uint64_t seed_;
  std::filesystem::path folder_;
};

/// Of the pictures' elements, in [-1, 1].
double deviation_of(const ed::data::ImageDataset& dataset) {
  double sum = 0, squares = 0;
  for (const std::uint8_t byte : dataset.images) {
    const double value = byte / 127.5 - 1;
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(dataset.images.size());
  return std::sqrt(std::max(0.0, squares / count - (sum / count) * (sum / count)));
}

void program(ex::CommandLine& line) {
  Options options;
  ex::TrainingOptions& training = options.training;
  line.describe(
      "Trains a diffusion model on pictures (default: Fashion-MNIST), to paint of each class where the model is told it.\n"
      "Ends after --epochs, --steps or --minutes, whichever comes first; after 10 epochs where none is given.");
  options.add_to(line);
  line.results_are_files = true;
  line.parse();
  training.check(line);
  if (line.smoke) options.make_tiny(line);

  // Refuses settings before anything is loaded.
  options.check(line);
  const auto network = ed::zoo::read_settings(options.network(1, 1));
  const bool conditional = ed::zoo::condition_of(network).kind == ed::nn::ConditionKind::classes;
  if (!conditional && line.given("--condition-dropout"))
    throw ed::ValueError("--condition-dropout: " + options.model + " is told no class");
  training.check_folder(line.out / "checkpoint.safetensors");
  const auto dataset = training.pictures.load(ed::data::Split::train);

  ed::train::DiffusionSettings& diffusion = options.diffusion;
  diffusion.height = dataset.height();
  diffusion.width = dataset.width();
  diffusion.channels = dataset.channels();
  diffusion.time_scale = options.time_scale(network);
  if (diffusion.method == ed::train::DiffusionMethod::edm && !line.given("--data-deviation"))
    std::printf("data deviation %g, as EDM's authors have it; that of these pictures is %.2f (--data-deviation)\n",
                diffusion.data_deviation, deviation_of(dataset));
  const std::int64_t classes = conditional ? ex::classes_of(dataset) : 0;
  if (conditional && classes == 0)
    throw ed::ValueError(dataset.name + ": the pictures have no classes; train without them by --unconditional");
  auto model_settings = options.network(dataset.channels(), classes);
  if (line.smoke) ex::make_small(model_settings, conditional);
  model_settings["diffusion"] = ed::train::to_json(diffusion);

  nlohmann::json settings = training.settings(line.seed, dataset);
  if (!options.from.empty()) settings["from"] = std::filesystem::path(options.from).filename().string();
  settings["weight_decay"] = options.weight_decay;
  options.note(settings);
  if (conditional) {
    settings["condition_dropout"] = options.condition_dropout;
    settings["class_names"] = dataset.class_names;
  }

  const ex::PictureTraining run{.model_settings = model_settings,
                                .settings = settings,
                                .from = options.from,
                                .adam = ed::nn::AdamConfig::adamw(options.weight_decay),
                                .range = ed::data::PixelRange::minus_one_to_one,
                                .title = "Diffusion, method " + options.method,
                                .loss_unit = options.loss_unit()};
  const ed::train::DiffusionObjective objective = options.make_objective();
  std::optional<Preview> preview;
  if (options.sample_every > 0) {
    std::vector<std::int64_t> painted;
    if (conditional) painted = ex::read_classes("--sample-every", "all", classes, ex::unseen_classes(dataset));
    preview.emplace(model_settings, diffusion, std::move(painted), line.seed, line.out);
  }
  const auto after_step = [&](const auto& trainer) {
    if (!preview || trainer.steps() % options.sample_every != 0) return;
    try {
      preview->paint(trainer);
    } catch (const ex::Interrupted&) {}  // the training ends after this step, and is kept
  };
  if (conditional)
    ex::train_on_pictures(line, training, dataset, run, ed::train::Conditional(objective, options.condition_dropout),
                          after_step);
  else
    ex::train_on_pictures(line, training, dataset, run, objective, after_step);
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
