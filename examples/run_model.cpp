/// Runs any network of the zoo on tensors from a file, forward and backward, in float or double: the exchange with
/// PyTorch. With --describe it prints what the network is made of and what it costs.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/json.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/describe.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/exchange.hpp"
#include "support/options.hpp"
#include "support/table.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

struct Options {
  std::string config, weights, inputs, outputs;
  std::string dtype = "f32";
  bool grad = false;
  bool describe = false;
  std::int64_t size = 0;
  std::int64_t batch = 1;
  std::int64_t tokens = 52;
};

bool is_checkpoint(const ed::io::SafetensorsFile& file) { return file.metadata().contains("training"); }

/// From --config, or from the checkpoint that --weights names.
nlohmann::json read_settings(const Options& options) {
  if (options.config.empty()) {
    if (options.weights.empty()) throw ed::ValueError("--config: expected a file that names the architecture");
    if (!is_checkpoint(ed::io::SafetensorsFile::open(options.weights)))
      throw ed::ValueError("--config: needed, as " + options.weights + " holds weights alone");
    return ed::train::Checkpoint(options.weights).model_settings();
  }
  const ed::io::detail::MappedFile file(options.config);
  return ed::io::parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, options.config);
}

/// The key "training" of a SimpleAutoEncoder's settings, which is taken out: batch statistics, which the running ones take in.
bool take_training(nlohmann::json& settings) {
  if (!settings.is_object() || settings.value("architecture", nlohmann::json()) != "SimpleAutoEncoder" ||
      !settings.contains("training"))
    return false;
  const nlohmann::json training = settings["training"];
  if (!training.is_boolean())
    throw ed::FormatError("SimpleAutoEncoder: \"training\": expected true or false, got " + ed::io::shown(training));
  settings.erase("training");
  return training.get<bool>();
}

template <class T>
void load(ed::zoo::Model<T>& model, const std::string& path) {
  const auto file = ed::io::SafetensorsFile::open(path);
  if (is_checkpoint(file))
    ed::train::Checkpoint(path).load_weights(model);
  else
    ed::zoo::load_weights(model, file);
}

/// Class numbers: whole, whatever type they have in the file; PyTorch makes them so.
std::vector<std::int64_t> read_classes(const ed::io::SafetensorsFile& file) {
  std::vector<std::int64_t> classes;
  const auto refuse = [&](const std::string& got) {
    throw ed::ValueError(file.path() + ": y: expected class numbers from 0, got " + got);
  };
  const ed::Shape& shape = file.shape("y");
  if (shape.rank() != 1 && !(shape.rank() == 2 && shape[1] == 1)) refuse("the shape " + shape.to_string());
  if (ed::zoo::is_integer(file.dtype("y"))) {
    for (const std::int64_t number : file.read<std::int64_t>("y")) {
      // The library takes a negative number for "no condition"; PyTorch refuses it.
      if (number < 0) refuse(ed::number_text(number));
      classes.push_back(number);
    }
  } else {
    for (const double number : file.read<double>("y", ed::io::Finite::required)) {
      if (!(number >= 0 && number <= 1e9) || number != std::floor(number)) refuse(ed::number_text(number));
      classes.push_back(static_cast<std::int64_t>(number));
    }
  }
  return classes;
}

template <class T>
ed::nn::Condition<T> read_condition(const ed::io::SafetensorsFile& file, ed::nn::ConditionKind kind) {
  ed::nn::Condition<T> condition;
  if (!file.contains("y")) return condition;
  if (kind != ed::nn::ConditionKind::sequence) {
    condition.classes = read_classes(file);
    return condition;
  }
  condition.sequence = file.read<T>("y", ed::io::Finite::required);
  const ed::Shape shape = condition.sequence.shape();
  if (shape.rank() == 2)  // one embedding a sample
    condition.sequence = std::move(condition.sequence).reshaped({shape[0], 1, shape[1]});
  return condition;
}

void expect_names(const ed::io::SafetensorsFile& file, bool time, bool grad) {
  std::string problems;
  const auto add = [&](const std::string& what) { problems += (problems.empty() ? ": " : ", ") + what; };
  if (!file.contains("x")) add("x is missing");
  if (time && !file.contains("t")) add("t is missing");
  if (grad && !file.contains("grad_output")) add("grad_output is missing, which --grad needs");
  for (const std::string& name : file.names())
    if (name != "x" && name != "t" && name != "y" && name != "grad_output")
      add("'" + name + "' is not known");
    else if (!time && (name == "t" || name == "y"))
      add(name + ": an autoencoder is told neither a time nor a condition");
  if (!problems.empty()) throw ed::FormatError(file.path() + problems + " (expected x, t, y, grad_output)");
}

template <class T>
void write(const Options& options, const ex::NamedResults<T>& results) {
  std::vector<ed::io::SafetensorsEntry> entries;
  for (const auto& result : results) entries.emplace_back(result.name, result.value);
  ed::io::write_safetensors(options.outputs, entries);
  std::printf("%s: %zu tensors\n", ex::printable(options.outputs).c_str(), entries.size());
}

/// Whether the settings are of a part that is no network of the zoo. They may be anything.
bool is_part(const nlohmann::json& settings) {
  return settings.is_object() && settings.contains("architecture") && settings["architecture"].is_string() &&
         ex::exchange_parts<float>().contains(settings["architecture"].get<std::string>());
}

template <class T>
void run(const Options& options, nlohmann::json settings) {
  if (is_part(settings)) {
    const auto part = ex::exchange_parts<T>().at(settings["architecture"].get<std::string>());
    write<T>(options, part(settings, {ed::io::SafetensorsFile::open(options.weights),
                                      ed::io::SafetensorsFile::open(options.inputs), options.grad}));
    return;
  }
  const bool training = take_training(settings);
  const ed::zoo::NetworkConfig config = ed::zoo::read_settings(settings);
  ed::zoo::Model<T> model(config);
  load(model, options.weights);

  const auto file = ed::io::SafetensorsFile::open(options.inputs);
  const bool time = ed::zoo::takes_time(config);
  expect_names(file, time, options.grad);
  const auto finite = ed::io::Finite::required;
  const auto x = ed::zoo::channels_last(file.read<T>("x", finite));
  const auto t = time ? file.read<T>("t", finite) : ed::Tensor<T>();
  const auto condition = read_condition<T>(file, ed::zoo::condition_of(config).kind);

  typename ed::zoo::Model<T>::Context ctx;
  ctx.mode.training = training;
  ex::NamedResults<T> results;
  const bool context = options.grad || training;
  results.push_back({"output", ed::zoo::channels_first(model.forward(x, t, condition, context ? &ctx : nullptr))});
  if (options.grad) {
    auto gradients = model.backward(ed::zoo::channels_last(file.read<T>("grad_output", finite)), ctx);
    results.push_back({"grad_input.x", ed::zoo::channels_first(gradients.dx)});
    if (!gradients.dcondition.empty())
      results.push_back({"grad_input.y", std::move(gradients.dcondition).reshaped(file.shape("y"))});
    ex::put_gradients(results, model);
  }
  if (training) {
    model.commit(ctx);
    ex::put_statistics(results, model);
  }
  write(options, results);
}

std::string megabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

/// "1.10 M" and the like.
std::string in_millions(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 1e5 ? "%.4f M" : "%.2f M", value / 1e6);
  return text;
}

void describe(const Options& options, nlohmann::json settings) {
  if (is_part(settings)) throw ed::ValueError("--describe: expected a network of the zoo, got " + ed::io::shown(settings["architecture"]));
  take_training(settings);
  const ed::zoo::NetworkConfig config = ed::zoo::read_settings(settings);
  const auto [kind, inputs, unused_width] = ed::zoo::condition_of(config);
  const std::int64_t side = options.size > 0 ? options.size : ed::zoo::usual_size(config);
  const ed::Shape pictures{options.batch, side, side, ed::zoo::picture_channels(config)};
  ed::nn::Condition<float> condition;
  if (kind == ed::nn::ConditionKind::classes) condition.classes.assign(static_cast<std::size_t>(options.batch), 0);
  if (kind == ed::nn::ConditionKind::sequence)
    condition.sequence = ed::Tensor<float>(ed::Shape{options.batch, options.tokens, inputs});
  const auto description = ed::zoo::describe(settings, pictures, condition);

  ex::Table table({"layer", "kind", "input", "output", "parameters", "FLOPs"}, 4);
  for (const auto& row : description.layers)
    table.add({row.name, row.kind.empty() ? "(not used)" : row.kind, row.kind.empty() ? "" : row.in.to_string(),
               row.kind.empty() ? "" : row.out.to_string(), std::to_string(row.parameters),
               row.operations > 0 ? in_millions(row.operations) : ""});
  table.print();
  ex::Table sums({"", ""}, 2);
  sums.add({"architecture", settings["architecture"].get<std::string>()});
  sums.add({"input, output", description.input.to_string() + " to " + description.output.to_string()});
  sums.add({"parameters", std::to_string(description.parameters) + ", of which " + std::to_string(description.trained) +
                              " are trained"});
  sums.add({"FLOPs of one forward pass", in_millions(description.operations) + " (multiplications and additions of matrix products)"});
  sums.add({"memory, float32", megabytes(description.weight_bytes) + " weights"});
  sums.add({"  inference", megabytes(description.inference_bytes) + " at most, beside the weights"});
  sums.add({"  kept for backward", megabytes(description.kept_bytes)});
  sums.add({"  with gradient checkpointing", description.kept_with_checkpoints ? megabytes(*description.kept_with_checkpoints)
                                                                                : "this network has none"});
  std::printf("\n");
  sums.print();
}

/// A tiny network with random weights and inputs, in files.
void make_smoke_files(Options& options, const std::filesystem::path& folder, std::uint64_t seed) {
  const nlohmann::json settings = {
      {"architecture", "UNet"}, {"channels", {32, 32, 32, 32}}, {"embed_dim", 32}, {"sigma", 25.0}};
  if (options.config.empty()) {
    options.config = folder / "config.json";
    ed::io::write_file(options.config, settings.dump(1) + "\n");
  }
  const auto config = ed::zoo::read_settings(read_settings(options));
  if (options.weights.empty()) {
    ed::zoo::Model<float> model(config);
    ed::nn::initialize(model, seed);
    options.weights = folder / "weights.safetensors";
    ed::zoo::save_weights(options.weights, model);
  }
  if (options.inputs.empty()) {
    const std::int64_t side = ed::zoo::usual_size(config);
    ed::Tensor<float> x(ed::Shape{2, ed::zoo::picture_channels(config), side, side}), grad_output(x.shape());
    ed::fill_normal(x.span(), {seed, ed::streams::user, 0});
    ed::fill_normal(grad_output.span(), {seed, ed::streams::user, 1});
    const ed::Tensor<float> t(ed::Shape{2}, {0.3F, 0.8F});
    const ed::Tensor<std::int64_t> classes(ed::Shape{2});
    const auto [kind, inputs, unused_width] = ed::zoo::condition_of(config);
    const ed::Tensor<float> sequence(ed::Shape{2, 5, inputs}, 0.5F);
    std::vector<ed::io::SafetensorsEntry> entries{{"x", x}, {"grad_output", grad_output}};
    if (ed::zoo::takes_time(config)) entries.emplace_back("t", t);
    if (kind == ed::nn::ConditionKind::classes) entries.emplace_back("y", classes);
    if (kind == ed::nn::ConditionKind::sequence) entries.emplace_back("y", sequence);
    options.inputs = folder / "inputs.safetensors";
    ed::io::write_safetensors(options.inputs, entries);
  }
  if (options.outputs.empty()) options.outputs = folder / "outputs.safetensors";
  options.grad = options.describe = true;
}

void program(ex::CommandLine& line) {
  Options options;
  line.describe(
      "Runs a network on tensors from a file: output, and with --grad the gradients of sum(grad_output * output).\n"
      "Files are safetensors in PyTorch's layouts. Inputs: x [N, C, H, W], t [N], y where there is a condition (class\n"
      "numbers [N], or embeddings [N, L, D]), grad_output. Outputs: output, grad_input.x, grad_input.y,\n"
      "grad.<parameter>. A config.json may also name lpips_vgg (x, target), patchgan (\"mode\": \"training\" for batch\n"
      "statistics, written as after.*) or ldm_autoencoder_kl (x, noise): what autoencoders are trained by, and Stable\n"
      "Diffusion's.");
  line.add("--config", options.config,
           "JSON file: \"architecture\" and its keyword arguments; left out: that of the checkpoint in --weights");
  line.add("--weights", options.weights, "weights named as PyTorch's state_dict, or a checkpoint (averaged weights)");
  line.add("--inputs", options.inputs, "file of inputs");
  line.add("--outputs", options.outputs, "file to write");
  line.add("--grad", options.grad, "also the gradients");
  line.add("--dtype", options.dtype, "f32 or f64: the type in which all is computed");
  line.add("--describe", options.describe, "print layers, shapes, parameters, FLOPs and memory");
  line.add<std::int64_t>("--size", options.size, "height and width of the pictures described; 0: what suits the network", 0, 4096);
  line.add<std::int64_t>("--batch", options.batch, "number of the pictures described", 1, 65536);
  line.add<std::int64_t>("--tokens", options.tokens, "length of the embedding sequence described", 1, 65536);
  line.makes_folder = false;
  line.parse();
  if (options.dtype != "f32" && options.dtype != "f64")
    throw ed::ValueError("--dtype: expected f32 or f64, got '" + options.dtype + "'");
  for (const char* name : {"--size", "--batch", "--tokens"})
    if (!options.describe && !line.smoke && line.given(name))
      throw ed::ValueError(std::string(name) + ": only of --describe");
  line.results_are_files = !options.describe && !line.smoke;
  if (line.smoke) make_smoke_files(options, line.out, line.seed);

  const nlohmann::json settings = read_settings(options);
  if (options.describe) describe(options, settings);
  if (options.describe && options.inputs.empty() && options.outputs.empty()) return;
  for (const auto& [name, value] : {std::pair{"--weights", &options.weights}, {"--inputs", &options.inputs}, {"--outputs", &options.outputs}})
    if (value->empty()) throw ed::ValueError(std::string(name) + ": expected a file");
  if (options.dtype == "f64")
    run<double>(options, settings);
  else
    run<float>(options, settings);
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
