/// Compares all samplers at equal numbers of evaluations: on mixtures whose denoiser is known exactly, and on a model that
/// train_ddpm has left. Leaves samplers.csv, to which an interrupted run goes on adding, and a plot of each measure; with
/// --markdown it writes its tables into a document.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <zlib.h>

#include "easy_diffusion/data/load.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "support/classes.hpp"
#include "support/interrupt.hpp"
#include "support/progress.hpp"
#include "support/samplers/contenders.hpp"
#include "support/samplers/exact_mixtures.hpp"
#include "support/samplers/options.hpp"
#include "support/samplers/pictures.hpp"
#include "support/samplers/report.hpp"
#include "support/samplers/results.hpp"
#include "support/try_to_draw.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace bench = easy_diffusion::bench;
using Options = easy_diffusion::bench::SamplerBenchmarkOptions;

namespace {

bool interrupted = false;

/// A contender that is to be run with about that many evaluations.
struct Cell {
  bench::Contender contender;
  std::int64_t target;
};

std::string spacing_name(const bench::Contender& contender) {
  return std::string(ed::diffusion::spacing_names[static_cast<std::size_t>(contender.spacing)]);
}

/// Names a cell; the numbers that were measured come later.
bench::ResultRow row_of(const std::string& set, const std::string& metric, const Cell& cell, std::int64_t samples,
                        std::uint64_t seed, const std::string& model) {
  return {.set = set,
          .metric = metric,
          .sampler = cell.contender.name,
          .target = cell.target,
          .spacing = spacing_name(cell.contender),
          .samples = samples,
          .seed = seed,
          .model = model};
}

bench::ResultRow exact_row(const std::string& set, const std::string& metric, std::int64_t samples, std::uint64_t seed,
                           const std::string& model, double value = 0) {
  return {.set = set,
          .metric = metric,
          .sampler = "exact",
          .samples = samples,
          .seed = seed,
          .model = model,
          .value = value};
}

/// Runs that come nowhere near the number of evaluations, such as one step of a method that needs four, say nothing.
std::optional<bench::TunedRun> plan(const Cell& cell, const ed::diffusion::Schedule& schedule,
                                    const bench::EvaluationCount& count) {
  auto result = bench::tune_run(cell.contender, schedule, cell.target, count);
  if (!result || 2 * result->evaluations < cell.target) return std::nullopt;
  return result;
}

void measure_mixture(const std::string& set, const ed::diffusion::GaussianMixture& mixture, const Options& options,
                     const std::vector<Cell>& cells, std::uint64_t seed, bench::Results& results) {
  const auto schedule = ed::diffusion::Schedule::linear();
  const auto named = [&](const std::string& metric, const Cell& cell) {
    return row_of(set, metric, cell, options.samples, seed, "exact");
  };
  std::unique_ptr<const bench::MixtureJudge> judge;
  double done = 0, all = 0;
  for (const Cell& cell : cells) all += static_cast<double>(cell.target);
  ex::Progress progress(set, "evaluations");
  for (const Cell& cell : cells) {
    if (interrupted) return;
    done += static_cast<double>(cell.target);
    bench::ResultRow distance = named("sliced_wasserstein", cell), divergence = named("kl", cell);
    if (results.has(distance) && results.has(divergence)) continue;
    if (!judge) {
      judge = std::make_unique<bench::MixtureJudge>(mixture, options.samples, seed);
      for (const auto& [metric, value] : {std::pair{"sliced_wasserstein", judge->floor().sliced_wasserstein},
                                          std::pair{"kl", judge->floor().divergence}})
        if (const auto row = exact_row(set, metric, options.samples, seed, "exact", value); !results.has(row))
          results.add(row);
    }
    const auto run =
        plan(cell, schedule, [&](const bench::Contender& contender, const ed::diffusion::NoiseLevels& levels) {
          return bench::sample_mixture(mixture, contender, schedule, levels, 128, seed).evaluations;
        });
    if (!run) continue;
    const ex::Stopwatch watch;
    const auto samples = bench::sample_mixture(mixture, run->contender, schedule, run->levels, options.samples, seed);
    for (bench::ResultRow* row : {&distance, &divergence}) {
      row->seconds = watch.seconds();
      row->steps = run->levels.steps();
      row->evaluations = samples.evaluations;
      row->value = std::nan("");
    }
    try {
      const bench::MixtureScore score = judge->score(samples.values);
      distance.value = score.sliced_wasserstein;
      divergence.value = score.divergence;
    } catch (const ed::ValueError&) {}  // not finite: the row says so
    for (const bench::ResultRow& row : {distance, divergence})
      if (!results.has(row)) results.add(row);
    interrupted = ex::InterruptGuard::interrupted();
    progress.update(done / all, cell.contender.name + " " + std::to_string(cell.target), done);
  }
}

/// Evaluations beyond which the sampler paints no pictures, as they take their time: at many, samplers do not differ but in
/// how much noise they leave.
std::int64_t most_evaluations(const std::string& sampler) {
  if (sampler.starts_with("ddpm")) return 1000;
  for (const char* name : {"ddim", "dpmpp_2m", "dpmpp_2m_sde", "unipc_2", "deis_2", "heun", "euler_ancestral"})
    if (sampler == name) return 250;
  return 100;
}

/// The runs whose pictures a classifier is trained on.
bool trains_a_classifier(const Cell& cell) {
  const std::string& name = cell.contender.name;
  return (cell.target == 10 && (name == "ddim" || name == "dpmpp_2m" || name == "unipc_2")) ||
         (cell.target == 50 && name == "ddim");
}

/// \throw ValueError naming the file
ed::diffusion::Schedule schedule_of(const ed::train::DiffusionModel<float>& model, const std::string& file) {
  try {
    return model.settings().make_schedule();
  } catch (const ed::ValueError& error) { throw ed::ValueError(file + ": " + error.what()); }
}

/// What tells a model from others in the results: its network, its steps, and the checksum of its file.
std::string name_of(const ed::train::Checkpoint& checkpoint) {
  std::ifstream file(checkpoint.path(), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  char text[32];
  std::snprintf(text, sizeof text, "%08lx", crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  return checkpoint.model_settings()["architecture"].get<std::string>() + " step " + std::to_string(checkpoint.steps()) +
         " " + text;
}

class PictureBenchmark {
 public:
  PictureBenchmark(const Options& options, std::uint64_t seed, bench::Results& results)
      : options_(options),
        seed_(seed),
        results_(results),
        checkpoint_(options.checkpoint),
        model_(checkpoint_),
        schedule_(schedule_of(model_, options.checkpoint)),
        model_name_(name_of(checkpoint_)),
        training_(ed::data::load_dataset(options.data, {.split = ed::data::Split::train, .size = {}, .channels = {}})),
        test_(ed::data::load_dataset(options.data, {.split = ed::data::Split::test, .size = {}, .channels = {}})),
        judge_config_{.height = model_.settings().height,
                      .width = model_.settings().width,
                      .picture_channels = model_.settings().channels,
                      .classes = model_.classes()},
        judge_(judge_config_) {
    if (model_.classes() < 1) throw ed::ValueError(options.checkpoint + ": expected a model that is told classes");
    if (!ex::unseen_classes(checkpoint_.training_settings()).empty())
      throw ed::ValueError(options.checkpoint + ": expected a model that has seen pictures of every class that it is told");
    if (training_.labels.empty() || test_.labels.empty())
      throw ed::FormatError(options.data + ": expected pictures with labels");
    ed::train::Checkpoint(options.classifier).load_weights(judge_);
    ed::nn::hold_weights(judge_);
  }

  void measure(std::vector<Cell> cells) {
    std::erase_if(cells, [&](const Cell& cell) {
      return !options_.all_pictures && cell.target > most_evaluations(cell.contender.name);
    });
    work_ = 0;
    for (const Cell& cell : cells) work_ += static_cast<double>(cell.target * pictures_of(cell));
    measure_real();
    for (const Cell& cell : cells) {
      if (interrupted) return;
      measure(cell);
      done_ += static_cast<double>(cell.target * pictures_of(cell));
    }
  }

 private:
  [[nodiscard]] bool trains(const Cell& cell) const {
    return options_.accuracy_pictures > 0 && trains_a_classifier(cell);
  }
  [[nodiscard]] std::int64_t pictures_of(const Cell& cell) const {
    return trains(cell) ? std::max(options_.pictures, options_.accuracy_pictures) : options_.pictures;
  }

  [[nodiscard]] double distance(const ed::data::ImageDataset& set) const {
    return bench::frechet_distance(*reference_, bench::feature_statistics(judge_, set));
  }
  [[nodiscard]] double accuracy(const ed::data::ImageDataset& set) const {
    return bench::accuracy_after_training(judge_config_, set, test_, options_.accuracy_steps, seed_);
  }

  /// The same with real pictures in place of painted ones: of the test set for the distance from the training set.
  void measure_real() {
    const auto add = [&](bench::ResultRow row, const auto& value) {
      if (results_.has(row)) return;
      row.value = value();
      results_.add(row);
    };
    reference_ = bench::feature_statistics(judge_, training_);
    add(exact_row("pictures", "frechet", options_.pictures, seed_, model_name_),
        [&] { return distance(bench::round_the_classes(test_, model_.classes(), options_.pictures)); });
    if (options_.accuracy_pictures > 0)
      add(exact_row("pictures", "accuracy", options_.accuracy_pictures, seed_, model_name_),
          [&] { return accuracy(bench::round_the_classes(training_, model_.classes(), options_.accuracy_pictures)); });
  }

  void measure(const Cell& cell) {
    bench::ResultRow frechet = row_of("pictures", "frechet", cell, options_.pictures, seed_, model_name_);
    bench::ResultRow learned = row_of("pictures", "accuracy", cell, options_.accuracy_pictures, seed_, model_name_);
    if (results_.has(frechet) && (!trains(cell) || results_.has(learned))) return;
    const auto run =
        plan(cell, schedule_, [&](const bench::Contender& contender, const ed::diffusion::NoiseLevels& levels) {
          return bench::paint(model_, contender, schedule_, levels, model_.classes(), seed_,
                              [](std::int64_t) { return true; })
              .evaluations;
        });
    if (!run) return;
    const ex::Stopwatch watch;
    const std::int64_t count = pictures_of(cell);
    const auto painted =
        bench::paint(model_, run->contender, schedule_, run->levels, count, seed_, [&](std::int64_t evaluations) {
          const double made = done_ + static_cast<double>(evaluations);
          progress_.update(std::min(1.0, made / work_), cell.contender.name + " " + std::to_string(cell.target),
                           painted_ + static_cast<double>(evaluations) / static_cast<double>(cell.target));
          interrupted = ex::InterruptGuard::interrupted();
          return !interrupted;
        });
    if (painted.stopped) return;
    painted_ += static_cast<double>(count);
    for (bench::ResultRow* row : {&frechet, &learned}) {
      row->seconds = watch.seconds();
      row->steps = run->levels.steps();
      row->evaluations = painted.evaluations;
      row->value = std::nan("");
    }
    if (painted.finite)
      frechet.value = distance(bench::round_the_classes(painted.set, model_.classes(), options_.pictures));
    if (!results_.has(frechet)) results_.add(frechet);
    if (!trains(cell) || results_.has(learned)) return;
    if (painted.finite)
      learned.value = accuracy(bench::round_the_classes(painted.set, model_.classes(), options_.accuracy_pictures));
    results_.add(learned);
  }

  const Options& options_;
  std::uint64_t seed_;
  bench::Results& results_;
  ed::train::Checkpoint checkpoint_;
  ed::train::DiffusionModel<float> model_;
  ed::diffusion::Schedule schedule_;
  std::string model_name_;
  ed::data::ImageDataset training_, test_;
  ed::nn::ClassifierConfig judge_config_;
  ed::nn::Classifier<float> judge_;
  std::optional<bench::FeatureStatistics> reference_;
  ex::Progress progress_{"pictures"};
  double work_ = 0, done_ = 0;  // in evaluations of a picture
  double painted_ = 0;
};

void program(ex::CommandLine& line) {
  Options options;
  line.describe("Compares all samplers at equal numbers of evaluations, on exact mixtures and on a trained model.");
  options.add_to(line);
  line.results_are_files = true;
  line.parse();
  if (line.smoke) {
    if (!line.given("--samples")) options.samples = 256;
    if (!line.given("--evaluations")) options.evaluations = "4,8,20";
    if (!line.given("--pictures")) options.pictures = 130;
    if (!line.given("--accuracy-pictures")) options.accuracy_pictures = 0;
  }
  if (options.checkpoint.empty() != options.classifier.empty())
    throw ed::ValueError("--checkpoint and --classifier: expected both or neither");

  std::vector<Cell> cells;
  std::vector<bench::Contender> contenders = bench::chosen_contenders(options.samplers);
  for (const std::int64_t target : bench::read_targets(options.evaluations))
    for (bench::Contender contender : contenders) {
      if (options.spacing != "suited") contender.spacing = ed::diffusion::spacing_by_name(options.spacing);
      cells.push_back({contender, target});
    }

  const ex::InterruptGuard guard;
  if (options.overwrite) std::filesystem::remove(line.out / "samplers.csv");
  bench::Results results(line.out / "samplers.csv");
  if (!options.report) {
    measure_mixture("mixture_2d", bench::mixture_2d(), options, cells, line.seed, results);
    measure_mixture("mixture_64d", bench::mixture_64d(), options, cells, line.seed, results);
    if (!options.checkpoint.empty() && !interrupted) PictureBenchmark(options, line.seed, results).measure(cells);
  }
  std::printf("%zu numbers: %s\n", results.rows().size(), ex::printable(line.out / "samplers.csv").c_str());
  if (interrupted) throw ex::Interrupted("interrupted; the same command goes on");
  for (const bench::Measure& measure : bench::all_measures()) {
    const auto png = line.out / ("samplers_" + measure.set + "_" + measure.metric + ".png");
    const auto draw = [&] {
      if (bench::draw(results, measure, png)) std::printf("%s\n", ex::printable(png).c_str());
    };
    if (options.report)
      draw();  // it is all that was asked for
    else
      ex::try_to_draw(draw);
  }
  if (!options.markdown.empty()) bench::update_document(options.markdown, results);
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
