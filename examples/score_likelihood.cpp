/// Bits per dimension of held-out pictures under a trained score model: the log-likelihood along the probability-flow
/// equation, with Hutchinson's estimate of its divergence by the network's backward pass.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "easy_diffusion/data/load.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/classes.hpp"
#include "support/dataset.hpp"
#include "support/interrupt.hpp"
#include "support/options.hpp"
#include "support/progress.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

using Picture = ed::Tensor<float>;

/// A network as a score whose Jacobian can be pulled back.
class NetworkScore {
 public:
  explicit NetworkScore(ed::zoo::Model<float>& model) : model_(model) {}

  /// \throw ex::Interrupted after a signal: the solver asks as often as it needs
  void pullback(const Picture& x, double t, const Picture& v, Picture& out, Picture& vjp) const {
    ex::InterruptGuard::check();
    times_.fill(static_cast<float>(t));
    context_.input_gradient = true;
    out = model_.forward(x, times_, &context_);
    vjp = model_.backward(v, context_).dx;
  }

 private:
  ed::zoo::Model<float>& model_;
  mutable Picture times_{ed::Shape{1}};
  mutable ed::zoo::Model<float>::Context context_;
};

void program(ex::CommandLine& line) {
  std::string checkpoint_path;
  std::string data = ed::data::fashion_mnist_folder().string();
  std::int64_t pictures = 16, first = 0, probes = 1;
  ed::sde::LikelihoodOptions options{.tolerances = {1e-3, 1e-3}};
  bool gaussian = false, raw_weights = false;
  line.describe("Bits per dimension of held-out pictures under a trained score model.");
  line.add("--checkpoint", checkpoint_path, "file that train_score_model has left")->required();
  line.add("--data", data, "folder of IDX files (t10k-images-idx3-ubyte.gz), or with a folder test of pictures");
  line.add<std::int64_t>("--pictures", pictures, "number of pictures of the test set", 1, 1'000'000);
  line.add<std::int64_t>("--first", first, "number of the first picture", 0, 1'000'000'000);
  line.add<std::int64_t>("--probes", probes, "probes of the divergence for each picture", 1, 10'000);
  line.add("--gaussian", gaussian, "normal probes in place of signs");
  line.add("--tolerance", options.tolerances.relative, "relative and absolute tolerance of the solver", 1e-10, 1.0);
  line.add("--first-time", options.first_time, "time at which the data stand", 1e-8, 0.5);
  line.add("--raw-weights", raw_weights, "the last weights instead of their average");
  line.results_are_files = true;
  line.parse();
  if (line.smoke) {
    if (!line.given("--pictures")) pictures = 1;
    if (!line.given("--tolerance")) options.tolerances.relative = 0.1;
  }
  options.tolerances.absolute = options.tolerances.relative;
  options.trace = gaussian ? ed::sde::Trace::gaussian : ed::sde::Trace::rademacher;
  options.seed = line.seed;

  const ed::train::Checkpoint checkpoint(checkpoint_path);
  std::optional<ed::zoo::NetworkConfig> network;
  std::optional<ed::zoo::Model<float>> built;
  std::optional<ed::sde::VarianceExploding> process;
  try {
    network = ed::zoo::read_settings(checkpoint.model_settings());
    process = ed::zoo::score_process(checkpoint.model_settings());
    built.emplace(*network);
  } catch (const ed::Error& error) {
    throw ed::FormatError(checkpoint_path + ": " + error.what());
  }
  ed::zoo::Model<float>& model = *built;
  checkpoint.load_weights(model, !raw_weights);
  // Weights need no gradients here.
  ed::nn::for_each_parameter(model, [](const auto&, auto& parameter, const ed::nn::Entry&) { parameter.freeze(); });
  ed::nn::hold_weights(model);

  const auto trained = ex::trained_size(checkpoint.training_settings());
  // A folder of pictures is framed for the model; other sets must fit.
  ed::data::LoadOptions as_trained{.split = ed::data::Split::test, .size = {}, .channels = {}};
  if (trained && (*trained)[0] == (*trained)[1] && ed::data::is_picture_folder(data)) {
    as_trained.size = (*trained)[0];
    as_trained.channels = ed::zoo::picture_channels(*network);
  }
  auto set = ed::data::load_dataset(data, as_trained);
  ex::print_left_out(set);
  if (trained && std::array{set.height(), set.width()} != *trained)
    throw ed::ShapeError(set.name + ": expected pictures of " + std::to_string((*trained)[0]) + "x" +
                         std::to_string((*trained)[1]) + ", as the model was trained on, got " +
                         std::to_string(set.height()) + "x" + std::to_string(set.width()));
  if (set.channels() != ed::zoo::picture_channels(*network))
    throw ed::ShapeError(set.name + ": expected pictures of " + std::to_string(ed::zoo::picture_channels(*network)) +
                         " channels, as the model was trained on, got " + std::to_string(set.channels()));
  if (first + pictures > set.size())
    throw ed::ValueError("--pictures: the test set has " + std::to_string(set.size()) + ", asked for number " +
                         std::to_string(first + pictures - 1));
  ex::take_turns_of_classes(set);
  std::printf("%lld held-out pictures, %lld probes each, tolerance %g, %d threads\n", static_cast<long long>(pictures),
              static_cast<long long>(probes), options.tolerances.relative, ed::num_threads());
  std::fflush(stdout);

  const ex::InterruptGuard guard;
  ex::Progress progress("likelihood");
  const NetworkScore score(model);
  ed::sde::Moments bits;
  std::string csv = "picture,bits_per_dimension,evaluations\n";
  double evaluations = 0;
  for (std::int64_t i = 0; i < pictures; ++i) {
    Picture x({1, set.height(), set.width(), set.channels()});
    const std::int64_t pixels = x.size();
    // Dequantised: a pixel of 8 bits stands for an interval of length 1/256.
    std::vector<float> noise(static_cast<std::size_t>(pixels));
    ed::fill_uniform(std::span<float>(noise), {line.seed, ed::streams::user, 0},
                     static_cast<std::uint64_t>((first + i) * pixels));
    for (std::int64_t p = 0; p < pixels; ++p)
      x[p] = (static_cast<float>(set.images[(first + i) * pixels + p]) + noise[static_cast<std::size_t>(p)]) / 256;
    options.first_element = static_cast<std::uint64_t>((first + i) * pixels);
    ed::sde::Moments estimates;
    double calls = 0;
    for (std::int64_t probe = 0; probe < probes; ++probe) {
      options.probe = static_cast<std::uint32_t>(probe);
      const auto result = ed::sde::log_likelihood(*process, score, x, options);
      estimates.merge({1, ed::sde::bits_per_dimension(result.log_density, pixels, 8), 0});
      calls += static_cast<double>(result.evaluations);
    }
    bits.merge({1, estimates.mean, 0});
    evaluations += calls;
    char text[96];
    csv += std::to_string(first + i) + "," + ed::fixed_text(estimates.mean, 6) + "," + ed::fixed_text(calls, 0) + "\n";
    std::snprintf(text, sizeof text, "picture %lld/%lld  %.3f bits/dim", static_cast<long long>(i + 1),
                  static_cast<long long>(pictures), bits.mean);
    progress.update(static_cast<double>(i + 1) / static_cast<double>(pictures), text, static_cast<double>(i + 1));
  }
  progress.clear();
  ed::io::write_file(line.out / "score_likelihood.csv", csv);
  std::printf("%.4f bits per dimension", bits.mean);
  if (bits.count > 1) std::printf(" (standard error %.4f)", std::sqrt(bits.variance() / static_cast<double>(bits.count)));
  std::printf(", %.0f evaluations a picture, %.1f s\nwrote %s\n", evaluations / static_cast<double>(pictures),
              progress.seconds(), ex::printable(line.out / "score_likelihood.csv").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
