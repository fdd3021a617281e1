/// \file
/// What a diffusion model was trained for, as its checkpoint says it: method, schedule, prediction, times, pictures.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/zoo/keywords.hpp"

namespace easy_diffusion::train {

/// Which noise the network was shown, and what it answers.
enum class DiffusionMethod {
  ddpm,  ///< that of a schedule's timesteps; a prediction of choice \cite ho_2020_ddpm
  edm,   ///< x0 + sigma epsilon with any sigma; the preconditioned picture \cite karras_2022_elucidating
  flow   ///< (1 - t) x0 + t epsilon; the velocity \cite liu_2022_rectified_flow
};

inline constexpr std::array<std::string_view, 3> diffusion_method_names = {"ddpm", "edm", "flow"};

[[nodiscard]] inline std::string to_string(DiffusionMethod method) {
  return std::string(diffusion_method_names[static_cast<std::size_t>(method)]);
}

/// \throw ValueError naming what there is
[[nodiscard]] inline DiffusionMethod diffusion_method_by_name(std::string_view name) {
  for (std::size_t i = 0; i < diffusion_method_names.size(); ++i)
    if (diffusion_method_names[i] == name) return static_cast<DiffusionMethod>(i);
  throw ValueError("method: expected one of ddpm, edm, flow, got '" + std::string(name) + "'");
}

/// The key "diffusion" of a model's settings. Pictures are in [-1, 1].
struct DiffusionSettings {
  DiffusionMethod method = DiffusionMethod::ddpm;
  // Of ddpm.
  std::string schedule = "linear";  ///< see `diffusion::Schedule::by_name`
  std::int64_t timesteps = diffusion::Schedule::default_steps;
  bool zero_terminal_snr = false;
  diffusion::Prediction prediction = diffusion::Prediction::epsilon;
  diffusion::VarianceType variance = diffusion::VarianceType::fixed_small;  ///< learned: the network's second half of channels
  // Of edm.
  double data_deviation = 0.5;  ///< see `diffusion::Edm::Options`
  // Of all.
  double time_scale = 1;  ///< the network is told its time (a timestep, or t from 0 to 1) times this; of edm 1
  std::int64_t height = 28, width = 28, channels = 1;

  friend bool operator==(const DiffusionSettings&, const DiffusionSettings&) = default;

  /// \throw ValueError for another method than ddpm, a schedule that is not known, or one that cannot have its last state
  ///        made pure noise
  [[nodiscard]] diffusion::Schedule make_schedule() const {
    if (method != DiffusionMethod::ddpm)
      throw ValueError("expected a model of the method ddpm, which has a schedule, got " + to_string(method));
    auto result = diffusion::Schedule::by_name(schedule, timesteps);
    return zero_terminal_snr ? result.with_zero_terminal_snr() : result;
  }

  /// Of ddpm: what the network puts out.
  [[nodiscard]] diffusion::OutputType output() const noexcept { return {.mean = prediction, .variance = variance}; }
  [[nodiscard]] bool learns_variance() const noexcept { return diffusion::is_learned(variance); }
  /// All timesteps of the schedule. \throw as `make_schedule`
  [[nodiscard]] diffusion::GaussianDiffusion make_chain() const {
    return diffusion::GaussianDiffusion(make_schedule(), output());
  }

  /// The spacing that a run has where none is asked for.
  [[nodiscard]] diffusion::Spacing usual_spacing() const noexcept {
    return method == DiffusionMethod::edm ? diffusion::Spacing::karras : diffusion::Spacing::trailing;
  }

  /// The levels of a run of n steps, from noise to picture: of the schedule (`diffusion::noise_levels`); of edm, sigma from
  /// 80 to 0.002 as in \cite karras_2022_elucidating (`diffusion::karras_levels`); of flow, equal steps of time
  /// (`diffusion::flow_levels`), which the spacing trailing stands for.
  /// \throw ValueError as these, and for a spacing or an end that the method does not have
  [[nodiscard]] diffusion::NoiseLevels levels(std::int64_t n, const diffusion::SpacingOptions& options) const {
    if (method == DiffusionMethod::ddpm) return diffusion::noise_levels(make_schedule(), n, options);
    if (options.spacing != usual_spacing())
      throw ValueError("spacing: a model of the method " + to_string(method) + " has only " +
                       std::string(diffusion::spacing_names[static_cast<std::size_t>(usual_spacing())]) + ", got " +
                       std::string(diffusion::spacing_names[static_cast<std::size_t>(options.spacing)]));
    if (method == DiffusionMethod::edm) return diffusion::karras_levels(80, 0.002, n, options.rho, options.end);
    if (options.end != diffusion::End::clean)
      throw ValueError("levels: a model of the method flow ends at the clean picture, as it has no cleanest noise");
    return diffusion::flow_levels(n);
  }

  /// Levels between those of a run.
  [[nodiscard]] diffusion::LevelPath path() const {
    return method == DiffusionMethod::ddpm  ? diffusion::schedule_path(make_schedule())
           : method == DiffusionMethod::edm ? diffusion::exploding_path()
                                            : diffusion::flow_path();
  }

  /// Shape of n pictures.
  [[nodiscard]] Shape pictures(std::int64_t n) const { return {n, height, width, channels}; }
};

/// Only what the method has.
[[nodiscard]] inline nlohmann::json to_json(const DiffusionSettings& settings) {
  nlohmann::json json = {{"method", to_string(settings.method)},
                         {"time_scale", settings.time_scale},
                         {"height", settings.height},
                         {"width", settings.width},
                         {"channels", settings.channels}};
  if (settings.method == DiffusionMethod::ddpm) {
    json["schedule"] = settings.schedule;
    json["timesteps"] = settings.timesteps;
    json["zero_terminal_snr"] = settings.zero_terminal_snr;
    json["prediction"] = diffusion::to_string(settings.prediction);
    json["variance"] = diffusion::to_string(settings.variance);
  }
  if (settings.method == DiffusionMethod::edm) json["data_deviation"] = settings.data_deviation;
  return json;
}

/// \param model_settings of a checkpoint
/// \throw FormatError where they are not of a diffusion model, or a key is unknown or has another type
[[nodiscard]] inline DiffusionSettings diffusion_settings_of(const nlohmann::json& model_settings) {
  if (!model_settings.contains("diffusion"))
    throw FormatError("model settings: expected those of a diffusion model, with the key \"diffusion\", but there is none");
  const auto listed = [](const auto& names) { return std::vector<std::string>(names.begin(), names.end()); };
  zoo::Keywords keywords("diffusion", model_settings["diffusion"]);
  DiffusionSettings result;
  result.method = diffusion_method_by_name(keywords.text("method", "ddpm", listed(diffusion_method_names)));
  if (result.method == DiffusionMethod::ddpm) {
    result.schedule = keywords.text("schedule", result.schedule, listed(diffusion::Schedule::names));
    result.timesteps = keywords.whole("timesteps", result.timesteps);
    result.zero_terminal_snr = keywords.flag("zero_terminal_snr", false);
    result.prediction = diffusion::prediction_by_name(
        keywords.text("prediction", "epsilon", listed(diffusion::prediction_names)));
    result.variance = diffusion::variance_type_by_name(
        keywords.text("variance", "fixed_small", listed(diffusion::variance_type_names)));
  }
  if (result.method == DiffusionMethod::edm)
    result.data_deviation = keywords.number("data_deviation", result.data_deviation, 1e-6, 1e6);
  result.time_scale = keywords.number("time_scale", result.time_scale, 1e-9, 1e9);
  if (result.method == DiffusionMethod::edm) keywords.only("time_scale", 1.0, "log(sigma) / 4 is told as it is");
  result.height = keywords.whole("height", result.height);
  result.width = keywords.whole("width", result.width);
  result.channels = keywords.whole("channels", result.channels);
  keywords.finish();
  return result;
}

}  // namespace easy_diffusion::train
