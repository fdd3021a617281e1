// What is frozen, and how often each parameter was moved, travel with a checkpoint; files of before go on as they did.

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

#include "train/support.hpp"

namespace {

using namespace easy_diffusion;
using test::file_bytes;
using test::SmallRun;

void set_frozen(SmallRun& run, const std::string& part, bool frozen) {
  nn::for_each_parameter(run.model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
    if (entry.kind != nn::Kind::parameter || !name.starts_with(part)) return;
    if (frozen)
      parameter.freeze();
    else
      parameter.unfreeze();
  });
}

std::set<std::string> frozen_in(SmallRun& run) {
  std::set<std::string> names;
  nn::for_each_parameter(run.model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    if (entry.kind == nn::Kind::parameter && parameter.frozen()) names.insert(name);
  });
  return names;
}

/// The file with other metadata: empty texts are left out.
void rewrite(const std::filesystem::path& from, const std::filesystem::path& to,
             const std::map<std::string, std::string>& changes) {
  const auto file = io::SafetensorsFile::open(from);
  std::vector<Tensor<float>> tensors;
  for (const std::string& name : file.names()) tensors.push_back(file.read<float>(name));
  std::vector<io::SafetensorsEntry> entries;
  for (std::size_t i = 0; i < tensors.size(); ++i) entries.emplace_back(file.names()[i], tensors[i]);
  io::Metadata metadata;
  for (const std::string key : {"format", "step", "epoch_loss_sum", "epoch_samples", "optimizer_steps", "ema_updates",
                                "model", "training", "optimizer_updates", "frozen"}) {
    const auto change = changes.find(key);
    if (change == changes.end())
      metadata[key] = file.metadata(key);
    else if (!change->second.empty())
      metadata[key] = change->second;
  }
  io::write_safetensors(to, entries, metadata);
}

}  // namespace

TEST_CASE("a run with frozen parameters that is resumed writes the checkpoint of one that was never cut") {
  const auto folder = test::scratch_folder("frozen");
  SmallRun whole;
  set_frozen(whole, "conv", true);
  whole.steps(4);
  set_frozen(whole, "conv1", false);
  whole.steps(3);
  whole.save(folder / "cut.safetensors");
  const auto frozen = frozen_in(whole);
  CHECK(frozen.contains("conv2.weight"));
  CHECK_FALSE(frozen.contains("conv1.weight"));

  SmallRun resumed;
  set_frozen(resumed, "dense", true);  // what the file says holds
  resumed.trainer.resume(train::Checkpoint(folder / "cut.safetensors"));
  CHECK(frozen_in(resumed) == frozen);
  for (SmallRun* const run : {&whole, &resumed}) {
    run->steps(2);
    set_frozen(*run, "conv", false);
    run->steps(3);
  }
  whole.save(folder / "whole.safetensors");
  resumed.save(folder / "resumed.safetensors");
  CHECK(file_bytes(folder / "resumed.safetensors") == file_bytes(folder / "whole.safetensors"));
}

TEST_CASE("a checkpoint of before goes on as it did") {
  const auto folder = test::scratch_folder("checkpoint_of_before");
  SmallRun whole;
  whole.steps(4);
  whole.save(folder / "new.safetensors");
  rewrite(folder / "new.safetensors", folder / "old.safetensors", {{"optimizer_updates", ""}, {"frozen", ""}});
  SmallRun resumed;
  resumed.trainer.resume(train::Checkpoint(folder / "old.safetensors"));
  whole.steps(3);
  resumed.steps(3);
  whole.save(folder / "whole.safetensors");
  resumed.save(folder / "resumed.safetensors");
  CHECK(file_bytes(folder / "resumed.safetensors") == file_bytes(folder / "whole.safetensors"));

  SmallRun in_part;  // what such a file does not say stays
  set_frozen(in_part, "conv2", true);
  in_part.trainer.resume(train::Checkpoint(folder / "old.safetensors"));
  CHECK(frozen_in(in_part) == std::set<std::string>{"conv2.weight"});
}

TEST_CASE("damaged lists of frozen parameters and of updates are refused") {
  const auto folder = test::scratch_folder("checkpoint_lists");
  SmallRun run;
  run.steps(1);
  run.save(folder / "good.safetensors");
  const auto check = [&](const std::string& key, const std::string& text, const std::string& words) {
    rewrite(folder / "good.safetensors", folder / "bad.safetensors", {{key, text}});
    const train::Checkpoint bad(folder / "bad.safetensors");
    SmallRun other;
    CHECK_THROWS_AS(other.trainer.resume(bad), FormatError);
    CHECK_THROWS_WITH(other.trainer.resume(bad),
                      ContainsSubstring("bad.safetensors: metadata \"" + key + "\"") && ContainsSubstring(words));
  };
  check("frozen", "{}", "expected a list of names");
  check("frozen", "[3]", "expected names");
  check("frozen", "[\"conv9.weight\"]", "the model has no parameter \"conv9.weight\"");
  check("frozen", "[", "expected a list of names");
  check("optimizer_updates", "[]", "expected a JSON object");
  check("optimizer_updates", "{}", "expected a whole number for \"");
  check("optimizer_updates", "{\"conv1.weight\": -1}", "expected a whole number for \"");
}
