// The program run_model against the reference values of the original, and on wrong input.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/paths.hpp"
#include "support/skip.hpp"
#include "support/zoo.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
namespace fs = std::filesystem;

/// The program, or nothing, and the case is said to be skipped: tests/CMakeLists.txt says where it is.
std::string program() {
  const char* path = std::getenv("EASY_DIFFUSION_RUN_MODEL");
  if (path != nullptr && fs::exists(path)) return path;
  skip("the program run_model is not built");
  return {};
}

struct Result {
  int code = -1;
  std::string out, error;
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Runs it with arguments that need no quoting beyond apostrophes.
Result run(const std::string& program, const fs::path& scratch, const std::vector<std::string>& arguments) {
  std::string command = "'" + program + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  command += " > '" + (scratch / "stdout").string() + "' 2> '" + (scratch / "stderr").string() + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text_of(scratch / "stdout"), text_of(scratch / "stderr")};
}

/// Of large gradients the reference keeps, for each row, the sum over j of cos(j + 1) gradient[row, j], as "grad_rows.<name>".
const std::string rows_prefix = "grad_rows.";
std::string gradient_of(const std::string& name) { return "grad." + name.substr(rows_prefix.size()); }
Tensor<double> rows_of(const Tensor<double>& gradient) {
  const std::int64_t rows = gradient.extent(0), width = gradient.size() / rows;
  Tensor<double> result(Shape{rows});
  for (std::int64_t i = 0; i < gradient.size(); ++i)
    result[i / width] += std::cos(static_cast<double>(i % width + 1)) * gradient[i];
  return result;
}

/// Every tensor of `want` against that of the same name in `got`.
Agreement compare(const io::SafetensorsFile& got, const io::SafetensorsFile& want) {
  Agreement agreement;
  for (const std::string& name : want.names()) {
    if (name.starts_with(rows_prefix) && got.contains(gradient_of(name)))
      agreement.compare(name, rows_of(got.read<double>(gradient_of(name))), want.read<double>(name, io::Finite::required));
    else if (!got.contains(name)) FAIL_CHECK(name << " is missing");
    else agreement.compare(name, got.read<double>(name), want.read<double>(name, io::Finite::required));
  }
  return agreement;
}

TEST_CASE("run_model agrees with the original", "[zoo][reference]") {
  const std::string binary = program();
  const auto reference = shared_data("reference");
  if (binary.empty() || !reference) return;
  int cases = 0;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(*reference)) folders.push_back(entry.path());
  for (const char* part : {"ldm_autoencoder_kl", "lpips_vgg", "patchgan", "patchgan_training"})
    folders.push_back(*reference / "second_half" / part);
  for (const fs::path& folder : folders) {
    if (!fs::exists(folder / "config.json")) continue;
    const auto settings = nlohmann::json::parse(text_of(folder / "config.json"));
    ++cases;
    const auto scratch = scratch_folder("reference_" + folder.filename().string());
    for (const std::string dtype : {"f32", "f64"}) {
      const fs::path outputs = scratch / (dtype + ".safetensors");
      const Result result =
          run(binary, scratch,
              {"--config", (folder / "config.json").string(), "--weights", (folder / "weights.safetensors").string(),
               "--inputs", (folder / "inputs.safetensors").string(), "--outputs", outputs.string(), "--grad", "--dtype",
               dtype});
      INFO(folder.filename().string() << " in " << dtype << ": " << result.error);
      REQUIRE(result.code == 0);
      const auto got = io::SafetensorsFile::open(outputs);
      CHECK(got.dtype("output") == (dtype == "f32" ? io::ElementType::f32 : io::ElementType::f64));
      const auto want =
          io::SafetensorsFile::open(folder / (dtype == "f32" ? "outputs.safetensors" : "outputs_f64.safetensors"));
      const Agreement agreement = compare(got, want);
      UNSCOPED_INFO(agreement);
      CHECK(agreement.worst() <= (dtype == "f32" ? 1e-3 : 1e-8));
      if (dtype == "f32")  // nothing beyond what PyTorch has
        for (const std::string& name : got.names())
          if (!want.contains(name) && !(name.starts_with("grad.") && want.contains(rows_prefix + name.substr(5)))) FAIL_CHECK(name << " is not among the reference values");
      if (std::getenv("EASY_DIFFUSION_SHOW") != nullptr) WARN(folder.filename().string() << " " << dtype << ": " << agreement);
    }
  }
  CHECK(cases > 0);
}

TEST_CASE("the comparison with the original notices NaN and a wrong number", "[zoo][reference]") {
  const auto folder = scratch_folder("compare");
  Tensor<float> x(Shape{2, 2}, 1.0F), g(Shape{3}, 2.0F);
  io::write_safetensors(folder / "want", {{"output", x}, {"grad.a", g}});
  const auto want = io::SafetensorsFile::open(folder / "want");
  CHECK(compare(want, want).worst() == 0);
  g[1] = 2.1F;
  io::write_safetensors(folder / "wrong", {{"output", x}, {"grad.a", g}});
  CHECK_FALSE(compare(io::SafetensorsFile::open(folder / "wrong"), want).worst() <= 1e-3);
  x[3] = std::nanf("");
  io::write_safetensors(folder / "nan", {{"output", x}, {"grad.a", g}});
  CHECK_FALSE(compare(io::SafetensorsFile::open(folder / "nan"), want).worst() <= 1e-3);
}

TEST_CASE("run_model says in one line what is wrong", "[zoo][errors]") {
  const std::string binary = program();
  if (binary.empty()) return;
  const auto scratch = scratch_folder("run_model_errors");
  const nlohmann::json settings = small_settings("UNet");
  io::write_file(scratch / "config.json", settings.dump());
  zoo::Model<float> model(settings);
  nn::initialize(model, 1);
  zoo::save_weights(scratch / "weights", model);
  Tensor<float> x(Shape{2, 1, 28, 28}, 0.5F), t(Shape{2}, 0.5F);
  io::write_safetensors(scratch / "inputs", {{"x", x}, {"t", t}, {"grad_output", x}});

  const auto arguments = [&](std::vector<std::pair<std::string, std::string>> changed) {
    std::vector<std::pair<std::string, std::string>> all = {{"--config", "config.json"}, {"--weights", "weights"},
                                                            {"--inputs", "inputs"}, {"--outputs", "outputs"}};
    for (auto& [key, value] : all) {
      for (const auto& [name, other] : changed)
        if (name == key) value = other;
      value = (scratch / value).string();
    }
    std::vector<std::string> list;
    for (const auto& [key, value] : all) list.insert(list.end(), {key, value});
    return list;
  };
  const auto refused = [&](const std::string& text, const std::vector<std::string>& list) {
    const Result result = run(binary, scratch, list);
    INFO(result.error);
    CHECK(result.code == 2);
    CHECK(std::count(result.error.begin(), result.error.end(), '\n') == 1);
    CHECK_THAT(result.error, ContainsSubstring(text));
    CHECK_FALSE(fs::exists(scratch / "outputs"));
  };
  const auto refused_config = [&](const std::string& text, const std::string& config) {
    io::write_file(scratch / "changed.json", config);
    refused(text, arguments({{"--config", "changed.json"}}));
  };

  refused_config("expected one of UNet, UNet_res", R"({"architecture": "Net"})");
  refused_config("\"architecture\"", R"({"channels": [4, 8]})");
  refused_config("not JSON", "{");
  refused_config("unknown key \"chanels\"; known are", R"({"architecture": "UNet", "chanels": [4, 8]})");
  refused_config("\"channels\": expected a list", R"({"architecture": "UNet", "channels": 4})");
  refused_config("\"embed_dim\": expected a whole number", R"({"architecture": "UNet", "embed_dim": "wide"})");
  refused_config("\"embed_dim\": expected a whole number", R"({"architecture": "UNet", "embed_dim": 0})");
  refused_config("even width", R"({"architecture": "UNet", "embed_dim": 7})");
  refused_config("do not divide", R"({"architecture": "UNet", "channels": [6, 32, 32, 32]})");
  refused_config("\"widths\": expected five numbers, got 2", R"({"architecture": "lpips_vgg", "widths": [8, 16]})");
  refused_config("missing: scaling_layer.shift", R"({"architecture": "lpips_vgg", "widths": [8, 8, 8, 8, 8]})");
  refused_config("\"mode\": expected \"evaluation\", \"training\"", R"({"architecture": "patchgan", "mode": "test"})");
  refused_config("unknown key \"nfd\"", R"({"architecture": "patchgan", "nfd": 16})");
  refused_config("\"scale_factor\": expected a number", R"({"architecture": "ldm_autoencoder_kl", "scale_factor": 0})");
  refused_config("unknown key \"ch\"", R"({"architecture": "ldm_autoencoder_kl", "ch": 32})");
  refused_config("\"training\": expected true or false", R"({"architecture": "SimpleAutoEncoder", "training": 1})");
  refused("none: cannot open: No such file", arguments({{"--config", "none"}}));
  refused("none: cannot open", arguments({{"--weights", "none"}}));
  refused("no/outputs", arguments({{"--outputs", "no/outputs"}}));
  refused("--inputs", {"--config", (scratch / "config.json").string(), "--weights", (scratch / "weights").string()});

  // Missing, unexpected and misshapen all at once.
  const auto weights = io::SafetensorsFile::open(scratch / "weights");
  std::vector<nn::NamedTensor<float>> tensors = nn::state_dict(model);
  std::erase_if(tensors, [](const auto& tensor) { return tensor.name == "conv1.weight" || tensor.name == "gnorm2.bias"; });
  tensors.push_back({"extra.weight", Tensor<float>(Shape{3})});
  for (auto& tensor : tensors)
    if (tensor.name == "tconv1.bias") tensor.value = Tensor<float>(Shape{2});
  const auto write = [&](const std::string& name) {
    std::vector<io::SafetensorsEntry> entries;
    for (const auto& tensor : tensors) entries.emplace_back(tensor.name, tensor.value);
    io::write_safetensors(scratch / name, entries);
  };
  write("other");
  refused("missing: conv1.weight, gnorm2.bias; unexpected: extra.weight; wrong shape: tconv1.bias (expected [1], got [2])",
          arguments({{"--weights", "other"}}));
  tensors = nn::state_dict(model);
  tensors[3].value[0] = std::nanf("");
  write("nan");
  refused("expected finite numbers, got nan", arguments({{"--weights", "nan"}}));

  const auto refused_inputs = [&](const std::string& text, const std::vector<io::SafetensorsEntry>& entries,
                                  const std::string& option = "") {
    io::write_safetensors(scratch / "changed", entries);
    auto list = arguments({{"--inputs", "changed"}});
    if (!option.empty()) list.push_back(option);
    refused(text, list);
  };
  const Tensor<float> small(Shape{2, 1, 12, 28}), flat(Shape{2, 28, 28}), colour(Shape{2, 3, 28, 28}), three(Shape{3});
  const Tensor<std::int64_t> classes(Shape{2}, {0, 1}), negative(Shape{2}, {0, -1});
  refused_inputs("x is missing, t is missing, 'X' is not known", {{"X", x}});
  refused_inputs("grad_output is missing", {{"x", x}, {"t", t}}, "--grad");
  refused_inputs("at least 17x17, got [2, 12, 28, 1]", {{"x", small}, {"t", t}});
  refused_inputs("expected [N, C, H, W], got [2, 28, 28]", {{"x", flat}, {"t", t}});
  refused_inputs("expected pictures of 1 channels, got [2, 28, 28, 3]", {{"x", colour}, {"t", t}});
  refused_inputs("expected [2], got [3]", {{"x", x}, {"t", three}});
  refused_inputs("expected a floating-point type, got I64", {{"x", x}, {"t", classes}});
  refused_inputs("takes none", {{"x", x}, {"t", t}, {"y", classes}});
  refused_inputs("class numbers from 0, got -1", {{"x", x}, {"t", t}, {"y", negative}});
  refused_inputs("expected [2, 28, 28, 1], got [2, 12, 28, 1]", {{"x", x}, {"t", t}, {"grad_output", small}}, "--grad");
  auto list = arguments({});
  list.insert(list.end(), {"--dtype", "f16"});
  refused("--dtype: expected f32 or f64", list);

  // Conditions and sizes, of other networks.
  const auto use = [&](const std::string& architecture) {
    io::write_file(scratch / "other.json", small_settings(architecture).dump());
    zoo::save_weights(scratch / "other", zoo::Model<float>(small_settings(architecture)));
  };
  const auto refused_other = [&](const std::string& text, const std::vector<io::SafetensorsEntry>& entries) {
    io::write_safetensors(scratch / "changed", entries);
    refused(text, arguments({{"--config", "other.json"}, {"--weights", "other"}, {"--inputs", "changed"}}));
  };
  const Tensor<std::int64_t> beyond(Shape{2}, {0, 10});
  const Tensor<float> half(Shape{2}, {0, 0.5F}), words(Shape{2, 3, 7}), odd(Shape{2, 1, 30, 30});
  use("UNet_Tranformer");
  refused_other("expected class numbers from 0 to 9", {{"x", x}, {"t", t}, {"y", beyond}});
  refused_other("class numbers from 0, got 0.5", {{"x", x}, {"t", t}, {"y", half}});
  refused_other("got the shape [2, 3, 7]", {{"x", x}, {"t", t}, {"y", words}});
  refused_other("expected 2 class numbers, got 3", {{"x", x}, {"t", t}, {"y", three}});
  use("UNetTransformerArchResBlock");
  refused_other("expected [2, 3, 6], got [2, 3, 7]", {{"x", x}, {"t", t}, {"y", words}});
  refused_other("multiples of 4, got [2, 30, 30, 1]", {{"x", odd}, {"t", t}});
  use("SimpleAutoEncoder");
  refused_other("t: an autoencoder is told neither a time nor a condition", {{"x", x}, {"t", t}});
  const Tensor<float> uneven(Shape{2, 1, 27, 28});
  refused_other("even height and width", {{"x", uneven}});

  const Result good = run(binary, scratch, arguments({}));
  CHECK(good.code == 0);
  CHECK(fs::exists(scratch / "outputs"));
}

}  // namespace
