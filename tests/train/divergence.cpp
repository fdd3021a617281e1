// A state that is not finite ends the training, and never replaces a good checkpoint.

#include "easy_diffusion/train/divergence.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

#include "train/support.hpp"

namespace {

using namespace easy_diffusion;
using test::file_bytes;

constexpr float inf = std::numeric_limits<float>::infinity();
const float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// A loss and a gradient for each batch: of 1 and small, but for one batch.
struct Scripted {
  std::uint32_t batch = UINT32_MAX;
  float gradient = 0;
  double loss = 1;
  Tensor<float> history = Tensor<float>(Shape{3}, 1.0F);

  double accumulate(nn::UNet<float>& model, const Tensor<float>&, std::uint64_t, std::uint32_t step,
                    nn::UNet<float>::Context&) const {
    nn::for_each_trained(model, [&](const std::string&, auto& parameter, const nn::Entry&) {
      parameter.grad.fill(step == batch ? gradient : 1e-3F);
    });
    return step == batch ? loss : 1;
  }
  template <class F>
  void visit_state(F&& f) {
    f("history", history);
  }
};

struct Run {
  explicit Run(const Scripted& objective)
      : model(test::small_unet()),
        batcher(dataset, {.batch_size = 5}),
        trainer((nn::initialize(model, 1), model), objective, batcher, nn::Adam<float>(), {}) {}

  void save(const std::filesystem::path& path) { trainer.save(path, {{"architecture", "UNet"}}, {{"seed", 1}}); }

  data::ImageDataset dataset = test::small_dataset();
  nn::UNet<float> model;
  data::Batcher batcher;
  train::Trainer<nn::UNet<float>, Scripted> trainer;
};

/// `save` must refuse with that name (or one that begins so), and leave the good file as it is and fit to go on from.
void check_refused(Run& run, const std::filesystem::path& path, const std::string& name) {
  const std::string good = file_bytes(path);
  REQUIRE_FALSE(good.empty());
  INFO(name);
  CHECK_THROWS_AS(run.save(path), train::DivergenceError);
  CHECK_THROWS_WITH(run.save(path), ContainsSubstring("training: ") &&
                                        ContainsSubstring(name) && ContainsSubstring(" is not finite after step ") &&
                                        ContainsSubstring(path.string() + " is not written") &&
                                        ContainsSubstring("a smaller learning rate may help"));
  CHECK(file_bytes(path) == good);
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path()))
    CHECK(entry.path().filename() == path.filename());  // nothing half written beside it
  Run resumed((Scripted()));
  resumed.trainer.resume(train::Checkpoint(path));
  CHECK(resumed.trainer.steps() == 2);
  resumed.trainer.step();
}

template <class Model>
nn::Parameter<float>& parameter_of(Model& model, const std::string& wanted) {
  nn::Parameter<float>* found = nullptr;
  nn::for_each_parameter(model, [&](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name == wanted) found = &parameter;
  });
  REQUIRE(found != nullptr);
  return *found;
}

}  // namespace

TEST_CASE("a checkpoint whose moments, weights, averages or objective are not finite is not written") {
  const auto folder = test::scratch_folder("divergence_state");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "checkpoint.safetensors";

  SECTION("moments that overflow") {
    Run run({.batch = 2, .gradient = 1e25F});  // finite, as are its norm and the weights; its square is not
    run.trainer.step();
    run.trainer.step();
    run.save(path);
    const auto report = run.trainer.step();
    CHECK(std::isfinite(report.gradient_norm));
    for (const float v : parameter_of(run.model, "conv1.weight").value) REQUIRE(std::isfinite(v));
    check_refused(run, path, "optimizer.v.");
    try {
      run.save(path);
    } catch (const train::DivergenceError& error) {
      CHECK(error.step() == 3);
      CHECK(error.loss() == 1);
    }
  }
  SECTION("weights and their averages") {
    for (const float bad : {not_a_number, inf, -inf}) {
      Run run((Scripted()));
      run.trainer.step();
      run.trainer.step();
      run.save(path);
      parameter_of(run.model, "conv2.weight").value[3] = bad;
      check_refused(run, path, "conv2.weight");
      const_cast<nn::Ema<float>&>(run.trainer.ema()).update(run.model);
      parameter_of(run.model, "conv2.weight").value[3] = 0;
      check_refused(run, path, "ema.conv2.weight");
    }
  }
  SECTION("the objective's state") {
    Scripted objective;
    Run good(objective);
    good.trainer.step();
    good.trainer.step();
    good.save(path);
    objective.history[2] = not_a_number;
    Run run(objective);
    check_refused(run, path, "objective.history");
  }
}

TEST_CASE(
    "a loss or a gradient that is not finite ends the run with its step, and the state of the step before stays") {
  const auto folder = test::scratch_folder("divergence_step");
  const auto check = [&](const Scripted& objective, const std::string& words, bool finite_loss) {
    Run run(objective);
    run.trainer.step();
    run.trainer.step();
    run.save(folder / "before.safetensors");
    try {
      run.trainer.step();
      FAIL("the step was made");
    } catch (const train::DivergenceError& error) {
      CHECK(error.step() == 3);
      CHECK(std::isfinite(*error.loss()) == finite_loss);
      CHECK_THAT(error.what(), ContainsSubstring(words));
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
    CHECK(run.trainer.steps() == 2);
    run.save(folder / "after.safetensors");
    CHECK(file_bytes(folder / "after.safetensors") == file_bytes(folder / "before.safetensors"));
  };
  check({.batch = 2, .loss = std::nan("")}, "training: the loss is not finite at step 3 (loss nan); a smaller", false);
  check({.batch = 2, .loss = HUGE_VAL}, "training: the loss is not finite at step 3 (loss inf); a smaller", false);
  check({.batch = 2, .gradient = not_a_number}, "training: a gradient is not finite at step 3 (loss 1); a smaller",
        true);
  check({.batch = 2, .gradient = -inf}, "training: a gradient is not finite at step 3 (loss 1); a smaller", true);
}

TEST_CASE("all_finite sees each element, and every kind of number that is not finite") {
  const auto check = [](auto zero) {
    using T = decltype(zero);
    using Limits = std::numeric_limits<T>;
    for (const std::int64_t size : {1, 7, 64, 1001}) {
      Tensor<T> x(Shape{size}, Limits::max());
      x[size / 3] = Limits::denorm_min();
      x[0] = -Limits::max();
      CHECK(train::all_finite(std::as_const(x).view()));
      for (const T bad : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN(), Limits::infinity(),
                          -Limits::infinity()})
        for (const std::int64_t i : {std::int64_t{0}, size / 2, size - 1}) {
          Tensor<T> y = x;
          y[i] = bad;
          CHECK_FALSE(train::all_finite(std::as_const(y).view()));
        }
    }
  };
  check(0.0F);
  check(0.0);
  CHECK(train::all_finite(TensorView<const float>()));
  const Tensor<std::int64_t> whole(Shape{2}, -1);
  CHECK(train::all_finite(whole.view()));
}
