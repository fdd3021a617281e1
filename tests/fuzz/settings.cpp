// Settings of models in JSON: of the network, of diffusion, and those that a resumed run compares.
#include <string_view>

#include "easy_diffusion/io/json.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/score_model.hpp"

#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace easy_diffusion;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::read_or_refuse([&] {
    const auto settings = io::parse_json(text, "config.json");
    fuzz::require(io::shown(settings).size() <= 110, "what is shown of a value is long");
    fuzz::read_or_refuse([&] { static_cast<void>(zoo::read_settings(settings)); });
    fuzz::read_or_refuse([&] { static_cast<void>(zoo::score_process(settings)); });
    fuzz::read_or_refuse([&] {
      const auto diffusion = train::diffusion_settings_of(settings);
      // What was read says the same again.
      nlohmann::json again;
      again["diffusion"] = train::to_json(diffusion);
      fuzz::require(train::diffusion_settings_of(again) == diffusion, "settings of diffusion do not come back");
    });
    const nlohmann::json wanted = {
        {"architecture", "UNet"}, {"channels", {32, 64}}, {"diffusion", {{"method", "ddpm"}}}};
    fuzz::read_or_refuse([&] { train::expect_same_settings("file", settings, wanted); });
  });
  return 0;
}
