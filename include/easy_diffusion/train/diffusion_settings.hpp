/// \file
/// What a diffusion model was trained for, as its checkpoint says it: schedule, prediction, times, pictures.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/zoo/keywords.hpp"

namespace easy_diffusion::train {

/// The key "diffusion" of a model's settings. Pictures are in [-1, 1].
struct DiffusionSettings {
  std::string schedule = "linear";  ///< see `diffusion::Schedule::by_name`
  std::int64_t timesteps = diffusion::Schedule::default_steps;
  bool zero_terminal_snr = false;
  diffusion::Prediction prediction = diffusion::Prediction::epsilon;
  diffusion::VarianceType variance = diffusion::VarianceType::fixed_small;  ///< learned: the network's second half of channels
  double time_scale = 1;  ///< the network is told the timestep times this
  std::int64_t height = 28, width = 28, channels = 1;

  friend bool operator==(const DiffusionSettings&, const DiffusionSettings&) = default;

  /// \throw ValueError for a schedule that is not known, or cannot have its last state made pure noise
  [[nodiscard]] diffusion::Schedule make_schedule() const {
    auto result = diffusion::Schedule::by_name(schedule, timesteps);
    return zero_terminal_snr ? result.with_zero_terminal_snr() : result;
  }

  [[nodiscard]] bool learns_variance() const noexcept { return diffusion::is_learned(variance); }
  /// All timesteps of the schedule. \throw as `make_schedule`
  [[nodiscard]] diffusion::GaussianDiffusion make_chain() const {
    return diffusion::GaussianDiffusion(make_schedule(), {.mean = prediction, .variance = variance});
  }

  /// Shape of n pictures.
  [[nodiscard]] Shape pictures(std::int64_t n) const { return {n, height, width, channels}; }
};

[[nodiscard]] inline nlohmann::json to_json(const DiffusionSettings& settings) {
  return {{"schedule", settings.schedule},
          {"timesteps", settings.timesteps},
          {"zero_terminal_snr", settings.zero_terminal_snr},
          {"prediction", diffusion::to_string(settings.prediction)},
          {"variance", diffusion::to_string(settings.variance)},
          {"time_scale", settings.time_scale},
          {"height", settings.height},
          {"width", settings.width},
          {"channels", settings.channels}};
}

/// \param model_settings of a checkpoint
/// \throw FormatError where they are not of a diffusion model, or a key is unknown or has another type
[[nodiscard]] inline DiffusionSettings diffusion_settings_of(const nlohmann::json& model_settings) {
  if (!model_settings.contains("diffusion"))
    throw FormatError("model settings: expected those of a diffusion model, with the key \"diffusion\", but there is none");
  const auto listed = [](const auto& names) { return std::vector<std::string>(names.begin(), names.end()); };
  zoo::Keywords keywords("diffusion", model_settings["diffusion"]);
  DiffusionSettings result;
  result.schedule = keywords.text("schedule", result.schedule, listed(diffusion::Schedule::names));
  result.timesteps = keywords.whole("timesteps", result.timesteps);
  result.zero_terminal_snr = keywords.flag("zero_terminal_snr", false);
  result.prediction = diffusion::prediction_by_name(
      keywords.text("prediction", "epsilon", listed(diffusion::prediction_names)));
  result.variance = diffusion::variance_type_by_name(
      keywords.text("variance", "fixed_small", listed(diffusion::variance_type_names)));
  result.time_scale = keywords.number("time_scale", result.time_scale, 1e-9, 1e9);
  result.height = keywords.whole("height", result.height);
  result.width = keywords.whole("width", result.width);
  result.channels = keywords.whole("channels", result.channels);
  keywords.finish();
  return result;
}

}  // namespace easy_diffusion::train
