// Settings in JSON that mean harm: nested deeply, long, or with texts that a terminal obeys.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/data/caption_dataset.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/weights.hpp"
#include "support/zoo.hpp"

#include "io/file_tools.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using nlohmann::json;

constexpr std::size_t levels = 200'000;

std::string nested_text() { return std::string(levels, '[') + std::string(levels, ']'); }

/// What a program might build by itself; made so that nothing of it is copied.
json nested_value() {
  json value = json::array();
  for (std::size_t i = 1; i < levels; ++i) {
    json outer = json::array();
    outer.push_back(std::move(value));
    value = std::move(outer);
  }
  return value;
}

std::filesystem::path checkpoint_with(const std::string& model, const std::string& training) {
  const auto path = scratch_folder("hostile_checkpoint") / "checkpoint.safetensors";
  const Tensor<float> x({1}, 1.0F);
  io::write_safetensors(path, {{"x", x}},
                        {{"format", train::detail::checkpoint_format}, {"model", model}, {"training", training}});
  return path;
}

TEST_CASE("a checkpoint whose settings are nested 200 000 deep is refused", "[zoo][hostile]") {
  const std::string hostile = R"({"architecture": "UNet", "channels": )" + nested_text() + "}";
  const auto refused = [](const std::filesystem::path& path) {
    const std::string message = refusal<FormatError>([&] { const train::Checkpoint opened(path); });
    CHECK_THAT(message, ContainsSubstring(path.string()));
    return message;
  };
  CHECK_THAT(refused(checkpoint_with(hostile, "{}")),
             ContainsSubstring("metadata \"model\"") && ContainsSubstring("64 levels"));
  CHECK_THAT(refused(checkpoint_with("{}", hostile)),
             ContainsSubstring("metadata \"training\"") && ContainsSubstring("64 levels"));
  CHECK_THAT(refused(checkpoint_with(std::string(levels, '{'), "{}")), ContainsSubstring("64 levels"));
  CHECK_THAT(refused(checkpoint_with(R"({"a": 1)", "{}")),
             ContainsSubstring("expected a JSON object, got a text that is not JSON"));
  CHECK_THAT(refused(checkpoint_with("[1]", "{}")), ContainsSubstring("expected a JSON object, got [1]"));
}

TEST_CASE("captions nested 200 000 deep are refused", "[zoo][hostile]") {
  const auto path = scratch_folder("hostile_captions") / "set.safetensors";
  const Tensor<std::uint8_t> images({1, 1, 1, 1});
  for (const char* key : {"names.en", "keywords.en", "ids", "class_names"}) {
    io::Metadata metadata = {
        {"format", data::detail::caption_format}, {"names.en", "[\"a\"]"}, {"keywords.en", "[[]]"}};
    metadata[key] = nested_text();
    io::write_safetensors(path, {{"images", images}}, metadata);
    CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(data::load_caption_dataset(path)); }),
               ContainsSubstring(path.string() + ": metadata " + key) && ContainsSubstring("64 levels"));
  }
}

TEST_CASE("a value that is refused is shown shortly, however deep or long it is", "[zoo][hostile]") {
  const json deep = nested_value();
  const std::string brackets(90, '[');
  // References to the value, as copying it would call itself for each level.
  const auto refused = [&](const char* key, const std::function<void(const json&)>& read) {
    json settings = {{"architecture", "UNet"}, {"method", "ddpm"}};
    settings[key] = nested_value();
    CHECK_THAT(refusal<FormatError>([&] { read(settings); }), ContainsSubstring(brackets));
  };
  const auto network = [](const json& settings) { static_cast<void>(zoo::read_settings(settings)); };
  for (const char* key : {"architecture", "channels", "embed_dim", "sigma"}) refused(key, network);
  refused("dropout", [](const json& settings) {
    zoo::Keywords keywords("who", settings);
    static_cast<void>(keywords.number("dropout", 0, 0, 1));
  });
  refused("flag", [](const json& settings) {
    zoo::Keywords keywords("who", settings);
    static_cast<void>(keywords.flag("flag", false));
  });
  refused("only", [](const json& settings) {
    zoo::Keywords keywords("who", settings);
    keywords.only("only", 2, "why");
  });
  refused("text", [](const json& settings) {
    zoo::Keywords keywords("who", settings);
    static_cast<void>(keywords.text("text", "a", {"a"}));
  });
  CHECK_THAT(refusal<FormatError>([&] { zoo::Keywords("who", deep); }), ContainsSubstring(brackets));

  CHECK_THAT(refusal<FormatError>([&] {
               network({{"architecture", "UNet"}, {"channels", std::vector<int>(1'000'000, 1)}});
             }),
             ContainsSubstring("\"channels\": expected a list of at most 64 whole numbers, got [1,1,1"));
  CHECK_THAT(refusal<FormatError>([&] {
               network({{"architecture", "UNetTransformerArchResBlock"}, {"res_num", 1'000'000}});
             }),
             ContainsSubstring("\"res_num\": expected a whole number from 1 to 64, got 1000000"));

  json keys = {{"architecture", "UNet"}};
  for (int i = 0; i < 10'000; ++i) keys["unknown" + std::to_string(i)] = i;
  keys[std::string(1'000'000, 'k')] = 1;
  CHECK_THAT(refusal<FormatError>([&] { network(keys); }), ContainsSubstring("and 9981 more"));
  CHECK_THAT(refusal<FormatError>([&] {
               network({{"architecture", "UNet"}, {std::string(1'000'000, 'k'), 1}});
             }),
             ContainsSubstring("kkk..."));
  CHECK_THAT(refusal<FormatError>([&] {
               network({{"architecture", "\x1b[2J\n"}});
             }),
             ContainsSubstring("\"\\u001b[2J\\n\""));
}

TEST_CASE("weights: a tensor too many is named as such, whatever its type", "[zoo][weights]") {
  const auto folder = scratch_folder("zoo_unusual");
  const json settings = small_settings("UNet");
  zoo::Model<float> model(settings);
  zoo::save_weights(folder / "weights", model);
  std::string bytes = slurp(folder / "weights");
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = 256 * length + static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  const std::string data = bytes.substr(8 + static_cast<std::size_t>(length));
  std::string header = bytes.substr(8, static_cast<std::size_t>(length));
  header.resize(header.rfind('}'));
  header += R"(,"extra":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[)" + std::to_string(data.size()) + "," +
            std::to_string(data.size() + 3) + "]}}";
  spill(folder / "more", little_endian(header.size(), 8) + header + data + "abc");
  CHECK_THAT(refusal<FormatError>([&] { zoo::load_weights(model, io::SafetensorsFile::open(folder / "more")); }),
             ContainsSubstring("unexpected: extra"));
}

}  // namespace
