#include "easy_diffusion/train/trainer.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/loss_log.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

#include "train/support.hpp"

using namespace easy_diffusion;
using test::SmallRun;

TEST_CASE("a resumed run writes the checkpoint of a run that was never cut, with any number of threads") {
  const auto folder = test::scratch_folder("trainer_resume");
  const int before = num_threads();
  SmallRun whole;
  whole.steps(12);
  whole.save(folder / "whole.safetensors");

  // Cut in the middle of the second epoch, and go on with another number of threads.
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    SmallRun first;
    first.steps(7);
    first.save(folder / "cut.safetensors");
    set_num_threads(threads == 1 ? 2 : 1);
    SmallRun second;
    second.trainer.resume(train::Checkpoint(folder / "cut.safetensors"));
    CHECK(second.trainer.steps() == 7);
    second.steps(5);
    second.save(folder / "resumed.safetensors");
    CHECK(test::file_bytes(folder / "resumed.safetensors") == test::file_bytes(folder / "whole.safetensors"));
    CHECK(second.last.loss == whole.last.loss);
  }
  set_num_threads(before);

  SmallRun other(2);
  other.steps(12);
  other.save(folder / "other.safetensors");
  CHECK(test::file_bytes(folder / "other.safetensors") != test::file_bytes(folder / "whole.safetensors"));
}

TEST_CASE("the epoch's loss is the average over its samples, also across a resume") {
  const auto folder = test::scratch_folder("trainer_epoch");
  SmallRun run;
  double sum = 0;
  for (int i = 0; i < 5; ++i) {
    run.steps(1);
    sum += run.last.loss * static_cast<double>(run.last.samples);
    CHECK(run.last.epoch_loss.has_value() == (i == 4));
  }
  CHECK(*run.last.epoch_loss == Approx(sum / 23).epsilon(1e-12));

  SmallRun first;
  first.steps(3);
  first.save(folder / "cut.safetensors");
  SmallRun second;
  second.trainer.resume(train::Checkpoint(folder / "cut.safetensors"));
  second.steps(2);
  CHECK(*second.last.epoch_loss == *run.last.epoch_loss);
}

TEST_CASE("training makes the network better than one that says nothing") {
  // A score of zero has the loss E |z|^2 = 81, one for each pixel; an epoch of 23 pictures knows that to about 2.6.
  SmallRun run;
  run.steps(200);
  REQUIRE(run.last.epoch_loss.has_value());
  CHECK(*run.last.epoch_loss < 81 - 3 * 2.6);
}

TEST_CASE("a training step asks the operating system for no memory after the first epoch") {
  const int threads = num_threads();
  set_num_threads(1);  // how many work buffers live at once would depend on the scheduler
  SmallRun run;
  run.steps(5);  // the last batch is shorter
  const auto before = allocator_stats().system_allocations;
  run.steps(10);
  if (detail::CachingAllocator::keeps_blocks)  // under the address sanitizer it does not
    CHECK(allocator_stats().system_allocations == before);
  set_num_threads(threads);
}

TEST_CASE("a loss that is not finite stops the training with its step") {
  SmallRun run;
  run.steps(2);
  nn::for_each_parameter(run.model, [](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name == "conv1.weight") parameter.value[0] = std::numeric_limits<float>::quiet_NaN();
  });
  CHECK_THROWS_WITH(run.trainer.step(), ContainsSubstring("not finite at step 3"));
}

TEST_CASE("a gradient that is not finite stops the training before it reaches the weights") {
  struct Poisoned {
    double accumulate(nn::UNet<float>& model, const Tensor<float>&, std::uint64_t, std::uint32_t step,
                      nn::UNet<float>::Context&) const {
      nn::for_each_trained(model, [&](const std::string& name, auto& parameter, const nn::Entry&) {
        if (name == "conv1.weight" && step == 1) parameter.grad[0] = std::numeric_limits<float>::infinity();
      });
      return 1;
    }
  };
  const auto dataset = test::small_dataset();
  nn::UNet<float> model(test::small_unet());
  nn::initialize(model, 1);
  data::Batcher batcher(dataset, {.batch_size = 5});
  for (const double clip : {0.0, 1.0}) {
    train::Trainer trainer(model, Poisoned(), batcher, nn::Adam<float>(), {.clip_norm = clip});
    trainer.step();
    CHECK_THROWS_WITH(trainer.step(), ContainsSubstring("a gradient is not finite at step 2"));
    nn::for_each_parameter(model, [](const std::string&, auto& parameter, const nn::Entry&) {
      for (const float v : parameter.value) REQUIRE(std::isfinite(v));
    });
  }
}

TEST_CASE("checkpoints that do not fit are refused, with the file and what is wrong") {
  const auto folder = test::scratch_folder("checkpoint_refused");
  SmallRun run;
  run.steps(2);
  run.save(folder / "good.safetensors");
  const train::Checkpoint good(folder / "good.safetensors");
  CHECK(good.steps() == 2);
  CHECK(good.model_settings()["architecture"] == "UNet");

  SECTION("weights of another model") {
    auto config = test::small_unet();
    config.skip = nn::Skip::add;
    nn::UNet<float> other(config);
    CHECK_THROWS_AS(good.load_weights(other), FormatError);
    CHECK_THROWS_WITH(good.load_weights(other),
                      ContainsSubstring("good.safetensors") && ContainsSubstring("tconv2.weight (expected"));
  }
  SECTION("a file cut short, one that is no checkpoint, one that is missing") {
    const std::string bytes = test::file_bytes(folder / "good.safetensors");
    io::write_file(folder / "cut.safetensors", std::string_view(bytes).substr(0, bytes.size() / 2));
    CHECK_THROWS_AS(train::Checkpoint(folder / "cut.safetensors"), FormatError);
    const Tensor<float> x(Shape{2});
    io::write_safetensors(folder / "weights.safetensors", {{"x", x}});
    CHECK_THROWS_WITH(train::Checkpoint(folder / "weights.safetensors"), ContainsSubstring("format"));
    CHECK_THROWS_AS(train::Checkpoint(folder / "none.safetensors"), IoError);
  }
  SECTION("NaN among the weights") {
    std::string bytes = test::file_bytes(folder / "good.safetensors");
    const auto file = io::SafetensorsFile::open(folder / "good.safetensors");
    const std::string_view weight(reinterpret_cast<const char*>(file.bytes("conv2.weight").data()),
                                  file.bytes("conv2.weight").size());
    const auto at = bytes.find(weight);
    REQUIRE(at != std::string::npos);
    const float bad = std::numeric_limits<float>::quiet_NaN();
    bytes.replace(at + 12, sizeof bad, reinterpret_cast<const char*>(&bad), sizeof bad);
    io::write_file(folder / "nan.safetensors", bytes);
    CHECK_THROWS_WITH(train::Checkpoint(folder / "nan.safetensors").load_weights(run.model, false),
                      ContainsSubstring("conv2.weight"));
  }
  SECTION("other settings") {
    CHECK_NOTHROW(train::expect_same_settings("f", {{"seed", 1}, {"batch", 5}}, {{"batch", 5}, {"seed", 1}}));
    CHECK_THROWS_WITH(train::expect_same_settings("f", {{"mirror", true}, {"batch", 5}}, {{"batch", 5}}),
                      ContainsSubstring("setting mirror is true, which is not asked for"));
    CHECK_THROWS_WITH(train::expect_same_settings("f", {{"diffusion", {{"schedule", "linear"}, {"width", 28}}}},
                                                  {{"diffusion", {{"schedule", "cosine"}, {"width", 28}}}}),
                      ContainsSubstring("setting diffusion.schedule is \"linear\", asked for is \"cosine\""));
    CHECK_THROWS_WITH(train::expect_same_settings("f", {{"batch", 5}}, {{"batch", 6}}),
                      ContainsSubstring("f: cannot be resumed: its setting batch is 5, asked for is 6"));
    CHECK_THROWS_WITH(train::expect_same_settings("f", nlohmann::json::object(), {{"batch", 6}}),
                      ContainsSubstring("batch is not there"));
  }
}

TEST_CASE("the loss log is cut back to the checkpoint that is resumed") {
  const auto folder = test::scratch_folder("loss_log");
  {
    train::LossLog log(folder / "loss.csv", 0);
    for (std::int64_t i = 1; i <= 10; ++i) log.append({i, 0, 1.0 / static_cast<double>(i), 1e-3});
  }
  const std::string ten = test::file_bytes(folder / "loss.csv");
  {
    train::LossLog log(folder / "loss.csv", 6);
    log.flush();
    CHECK(train::LossLog::read(folder / "loss.csv").size() == 6);
    for (std::int64_t i = 7; i <= 10; ++i) log.append({i, 0, 1.0 / static_cast<double>(i), 1e-3});
  }
  CHECK(test::file_bytes(folder / "loss.csv") == ten);

  // A crash in the middle of a line.
  io::write_file(folder / "loss.csv", std::string_view(ten).substr(0, ten.size() - 9));
  CHECK(train::LossLog::read(folder / "loss.csv").size() == 9);
  CHECK(train::LossLog::read(folder / "none.csv").empty());
}
