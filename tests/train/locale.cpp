// What a run leaves in files is the same in every locale.

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/train/loss_log.hpp"
#include "support/catch.hpp"
#include "support/comma_locale.hpp"

#include "train/support.hpp"

using namespace easy_diffusion;

namespace {

const train::TrainingState state{.step = 3, .epoch_loss_sum = 1234567.8125, .epoch_samples = 12345};
const nlohmann::json model_settings = {{"architecture", "UNet"}, {"sigma", 25.5}};
const nlohmann::json training_settings = {{"learning_rate", 0.00025}, {"batch", 1234}};

void write_all(const std::filesystem::path& folder) {
  nn::UNet<float> model(test::small_unet());
  nn::initialize(model, 1);
  nn::Adam<float> adam;
  nn::Ema<float> ema(model, 0.999);
  train::save_checkpoint(folder / "checkpoint", model, adam, ema, state, model_settings, training_settings);
  train::LossLog log(folder / "loss.csv", 0);
  for (std::int64_t i = 1; i <= 1500; i += 100) log.append({i, i / 7, 1234.5 / static_cast<double>(i), 2.5e-4});
  log.flush();
}

void read_all(const std::filesystem::path& folder) {
  nn::UNet<float> model(test::small_unet());
  nn::Adam<float> adam;
  nn::Ema<float> ema(model, 0.999);
  const train::Checkpoint checkpoint(folder / "checkpoint");
  CHECK(checkpoint.model_settings() == model_settings);
  CHECK(checkpoint.training_settings() == training_settings);
  CHECK(checkpoint.restore(model, adam, ema).epoch_loss_sum == state.epoch_loss_sum);
  const std::vector<train::LossRow> rows = train::LossLog::read(folder / "loss.csv");
  REQUIRE(rows.size() == 15);
  CHECK(rows[1].step == 101);
  CHECK(rows[1].loss == 1234.5 / 101);
  CHECK(rows[1].learning_rate == 2.5e-4);
}

}  // namespace

TEST_CASE("checkpoints and logs do not depend on the locale", "[locale]") {
  const auto point = test::scratch_folder("locale_point");
  const auto comma = test::scratch_folder("locale_comma");
  write_all(point);
  {
    const test::CommaLocale german;
    write_all(comma);
    read_all(point);
  }
  for (const char* name : {"checkpoint", "loss.csv"}) {
    INFO(name);
    CHECK(test::file_bytes(point / name) == test::file_bytes(comma / name));
  }
  read_all(comma);
  read_all(point);
}

TEST_CASE("settings and messages do not depend on the locale", "[locale]") {
  train::DiffusionSettings settings;
  settings.method = train::DiffusionMethod::edm;
  settings.data_deviation = 1234.5625;
  const nlohmann::json model = {{"diffusion", train::to_json(settings)}};
  const std::string text = model.dump();
  const test::CommaLocale german;
  CHECK(model.dump() == text);
  CHECK(train::diffusion_settings_of(io::parse_json(text, "settings")) == settings);
  nn::UNet<float> network(test::small_unet());
  CHECK_THROWS_WITH(nn::Ema<float>(network, 1.5), ContainsSubstring("got 1.5"));
}

TEST_CASE("a log of losses is read strictly") {
  const auto path = test::scratch_folder("loss_log_strict") / "loss.csv";
  const auto rows = [&](const std::string& text) {
    io::write_file(path, text);
    return train::LossLog::read(path).size();
  };
  const std::string head = "step,epoch,loss,learning_rate\n";
  CHECK(rows(head + "1,0,0.5,1e-3\n2,0,nan,1e-3\r\n") == 2);
  for (const char* line : {"1,0,0,5,0,001\n", "1,0,0.5\n", "1,0,0.5,1e-3,7\n", "1,0,0.5,1e-3", "1;0;0.5;1e-3\n",
                           "1,0,0.5x,1e-3\n", " 1,0,0.5,1e-3\n", "\n"})
    CHECK(rows(head + "1,0,0.5,1e-3\n" + line) == 1);
}
