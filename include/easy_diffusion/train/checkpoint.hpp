/// \file
/// Checkpoints: everything that a training run needs to go on to the last bit, in one safetensors file.
///
/// Tensors: the model's parameters under PyTorch's names and in PyTorch's layouts, their averages as "ema.<name>", the
/// optimiser's state as "optimizer.<what>.<name>", that of the objective, where it has one, as "objective.<what>".
/// Metadata: counters, settings, the names of what is frozen, and how often each parameter was moved. Nothing of it depends on the
/// machine, the number of threads or the time of day: equal runs write equal bytes.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/json.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "easy_diffusion/train/divergence.hpp"

namespace easy_diffusion::train {

/// Counters that travel with the weights.
struct TrainingState {
  std::int64_t step = 0;           ///< training steps made
  double epoch_loss_sum = 0;       ///< of the epoch under way, over samples
  std::int64_t epoch_samples = 0;  ///< of the epoch under way
  std::optional<double> loss{};    ///< of the last step, for messages; a file does not keep it
};

namespace detail {

inline constexpr const char* checkpoint_format = "easy_diffusion checkpoint 1";

inline std::int64_t whole_number(const io::SafetensorsFile& file, const std::string& key) {
  const std::string& text = file.metadata(key);
  const auto value = parse_number<std::int64_t>(text);
  if (!value || *value < 0)
    throw FormatError(file.path() + ": metadata \"" + key + "\": expected a whole number, got " + io::shown(text));
  return *value;
}

inline double exact_number(const io::SafetensorsFile& file, const std::string& key) {
  const std::string& text = file.metadata(key);
  const auto value = parse_number<double>(text);
  if (!value || !std::isfinite(*value))
    throw FormatError(file.path() + ": metadata \"" + key + "\": expected a number, got " + io::shown(text));
  return *value;
}

inline nlohmann::json json_metadata(const io::SafetensorsFile& file, const std::string& key) {
  const std::string where = file.path() + ": metadata \"" + key + "\"";
  auto parsed = io::parse_json(file.metadata(key), where, "a JSON object");
  if (!parsed.is_object()) throw FormatError(where + ": expected a JSON object, got " + io::shown(parsed));
  return parsed;
}

}  // namespace detail

/// The same settings, also within settings such as "diffusion". A setting that both have is named before one that only one
/// of them has: what else there is may depend on it.
/// \throw FormatError naming file, setting, the value in the file and the value asked for, where they differ
inline void expect_same_settings(const std::string& file, const nlohmann::json& saved, const nlohmann::json& wanted,
                                 const std::string& within = {}) {
  const auto refuse = [&](const std::string& key, const std::string& was, const nlohmann::json& value) {
    throw FormatError(file + ": cannot be resumed: its setting " + within + key + " is " + was + ", asked for is " +
                      io::shown(value));
  };
  for (const auto& [key, value] : wanted.items()) {
    if (!saved.contains(key)) continue;
    if (value.is_object() && saved[key].is_object())
      expect_same_settings(file, saved[key], value, within + key + ".");
    else if (saved[key].dump() != value.dump())
      refuse(key, io::shown(saved[key]), value);
  }
  for (const auto& [key, value] : wanted.items())
    if (!saved.contains(key)) refuse(key, "not there", value);
  for (const auto& [key, value] : saved.items())
    if (!wanted.contains(key))
      throw FormatError(file + ": cannot be resumed: its setting " + within + key + " is " + io::shown(value) +
                        ", which is not asked for");
}

namespace detail {

/// Names of the parameters that are not trained at present.
template <class Model>
[[nodiscard]] nlohmann::json frozen_parameters(const Model& model) {
  nlohmann::json names = nlohmann::json::array();
  nn::for_each_parameter(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    if (entry.kind == nn::Kind::parameter && parameter.frozen()) names.push_back(name);
  });
  return names;
}

/// By name, where the optimiser counts them: in how many steps it has moved each parameter.
template <class Model, class Optimizer>
[[nodiscard]] nlohmann::json parameter_updates(Model& model, Optimizer& optimizer) {
  nlohmann::json counts = nlohmann::json::object();
  const auto add = [&](const std::string& name, const std::int64_t& updates) { counts[name] = updates; };
  if constexpr (requires { optimizer.visit_updates(model, add); }) optimizer.visit_updates(model, add);
  return counts;
}

}  // namespace detail

/// For an objective that has no state of its own.
struct NoObjectiveState {};

/// Writes a checkpoint, atomically.
/// \param objective where it has a state: `visit_state(f)` calls f(name, tensor) for each part of it
/// \throw DivergenceError where weights, moments, averages or the objective's state are not finite, IoError; the
///        checkpoint before stays
template <class Model, class Optimizer, class Objective = NoObjectiveState>
void save_checkpoint(const std::filesystem::path& path, Model& model, Optimizer& optimizer,
                     nn::Ema<typename Model::value_type>& ema, const TrainingState& state,
                     const nlohmann::json& model_settings, const nlohmann::json& training_settings,
                     Objective&& objective = {}) {
  using T = typename Model::value_type;
  std::vector<nn::NamedTensor<T>> tensors = nn::state_dict(model);
  const auto add = [&](const std::string& prefix) {
    return [&tensors, prefix](const std::string& name, const Tensor<T>& value, nn::Layout layout) {
      tensors.push_back({prefix + name, nn::to_pytorch(value, layout)});
    };
  };
  ema.visit_state(model, add(""));
  optimizer.visit_state(model, add("optimizer."));
  std::vector<io::SafetensorsEntry> entries;
  const auto enter = [&](const std::string& name, const auto& tensor) {
    if (!all_finite(tensor.view()))
      throw DivergenceError(name + " is not finite after step " + std::to_string(state.step), state.step, state.loss,
                            path.string());
    entries.emplace_back(name, tensor);
  };
  for (const auto& tensor : tensors) enter(tensor.name, tensor.value);
  const auto add_objective = [&](const char* name, const auto& tensor) {
    enter(std::string("objective.") + name, tensor);
  };
  if constexpr (requires { objective.visit_state(add_objective); }) objective.visit_state(add_objective);
  io::write_safetensors(path, entries,
                        {{"format", detail::checkpoint_format},
                         {"step", std::to_string(state.step)},
                         {"epoch_loss_sum", hexadecimal_text(state.epoch_loss_sum)},
                         {"epoch_samples", std::to_string(state.epoch_samples)},
                         {"optimizer_steps", std::to_string(optimizer.steps())},
                         {"optimizer_updates", detail::parameter_updates(model, optimizer).dump()},
                         {"frozen", detail::frozen_parameters(model).dump()},
                         {"ema_updates", std::to_string(ema.updates())},
                         {"model", model_settings.dump()},
                         {"training", training_settings.dump()}});
}

/// A checkpoint opened for reading: settings first, then weights or the whole state.
class Checkpoint {
 public:
  /// \throw IoError, FormatError naming the file
  explicit Checkpoint(const std::filesystem::path& path) : file_(io::SafetensorsFile::open(path)) {
    if (file_.metadata("format") != detail::checkpoint_format)
      throw FormatError(file_.path() + ": expected format \"" + std::string(detail::checkpoint_format) + "\", got \"" +
                        file_.metadata("format") + "\"");
    model_settings_ = detail::json_metadata(file_, "model");
    training_settings_ = detail::json_metadata(file_, "training");
  }

  [[nodiscard]] const std::string& path() const noexcept { return file_.path(); }
  [[nodiscard]] const nlohmann::json& model_settings() const noexcept { return model_settings_; }
  [[nodiscard]] const nlohmann::json& training_settings() const noexcept { return training_settings_; }
  [[nodiscard]] std::int64_t steps() const { return detail::whole_number(file_, "step"); }

  /// Gives the model the averaged weights, or with `averaged` false the last ones.
  /// \throw FormatError naming the file and what is missing, misshapen or not finite
  template <class Model>
  void load_weights(Model& model, bool averaged = true) const {
    using T = typename Model::value_type;
    const std::string prefix = averaged ? "ema." : "";
    std::map<std::string, Tensor<T>> tensors;
    for (const std::string& name : file_.names()) {
      const bool is_average = name.starts_with("ema.");
      if (name.starts_with("optimizer.") || name.starts_with("objective.") || is_average != averaged) continue;
      tensors[name.substr(prefix.size())] = file_.read<T>(name, io::Finite::required);
    }
    try {
      nn::load_state_dict(model, tensors);
    } catch (const FormatError& error) { throw FormatError(file_.path() + ": " + error.what()); }
  }

  /// Restores everything, also what is frozen. A file of an older version does not say that, nor how often each parameter
  /// was moved: it is then what it is in `model`, and in each step made.
  /// \throw FormatError naming the file and what does not fit; then nothing may be relied on
  template <class Model, class Optimizer, class Objective = NoObjectiveState>
  TrainingState restore(Model& model, Optimizer& optimizer, nn::Ema<typename Model::value_type>& ema,
                        Objective&& objective = {}) const {
    load_weights(model, false);
    const auto set = [&](const std::string& prefix) {
      return [this, prefix](const std::string& name, auto& tensor, nn::Layout layout) {
        using T = typename std::remove_reference_t<decltype(tensor)>::value_type;
        try {
          tensor = nn::from_pytorch(file_.read<T>(prefix + name, io::Finite::required), layout, tensor.shape());
        } catch (const ShapeError& error) {
          throw FormatError(file_.path() + ": tensor \"" + prefix + name + "\": " + error.what());
        }
      };
    };
    ema.visit_state(model, set(""));
    optimizer.visit_state(model, set("optimizer."));
    optimizer.set_steps(detail::whole_number(file_, "optimizer_steps"));
    restore_updates(model, optimizer);
    restore_frozen(model);
    ema.set_updates(detail::whole_number(file_, "ema_updates"));
    const auto set_objective = [this](const char* name, auto& tensor) {
      using T = typename std::remove_reference_t<decltype(tensor)>::value_type;
      Tensor<T> saved = file_.read<T>(std::string("objective.") + name);
      expect_saved_shape(std::string("objective.") + name, tensor.shape(), saved.shape());
      tensor = std::move(saved);
    };
    if constexpr (requires { objective.visit_state(set_objective); }) objective.visit_state(set_objective);
    return {steps(), detail::exact_number(file_, "epoch_loss_sum"), detail::whole_number(file_, "epoch_samples")};
  }

 private:
  template <class Model, class Optimizer>
  void restore_updates(Model& model, Optimizer& optimizer) const {
    if (!file_.has_metadata("optimizer_updates")) return;
    const nlohmann::json counts = detail::json_metadata(file_, "optimizer_updates");
    const auto set = [&](const std::string& name, std::int64_t& updates) {
      const auto saved = counts.find(name);
      if (saved == counts.end() || !saved->is_number_integer() || saved->get<std::int64_t>() < 0)
        throw FormatError(file_.path() + ": metadata \"optimizer_updates\": expected a whole number for \"" + name +
                          "\"");
      updates = saved->get<std::int64_t>();
    };
    if constexpr (requires { optimizer.visit_updates(model, set); }) optimizer.visit_updates(model, set);
  }

  template <class Model>
  void restore_frozen(Model& model) const {
    if (!file_.has_metadata("frozen")) return;
    const std::string where = file_.path() + ": metadata \"frozen\"";
    const auto names = io::parse_json(file_.metadata("frozen"), where, "a list of names in JSON");
    if (!names.is_array()) throw FormatError(where + ": expected a list of names in JSON");
    std::set<std::string> frozen;
    for (const auto& name : names) {
      if (!name.is_string())
        throw FormatError(file_.path() + ": metadata \"frozen\": expected names, got another value");
      frozen.insert(name.get<std::string>());
    }
    nn::for_each_parameter(model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
      if (entry.kind != nn::Kind::parameter) return;
      if (frozen.erase(name) > 0)
        parameter.freeze();
      else
        parameter.unfreeze();
    });
    if (!frozen.empty())
      throw FormatError(file_.path() + ": metadata \"frozen\": the model has no parameter \"" + *frozen.begin() + "\"");
  }

  void expect_saved_shape(const std::string& name, const Shape& expected, const Shape& got) const {
    if (got != expected)
      throw FormatError(file_.path() + ": tensor \"" + name + "\": expected " + expected.to_string() + ", got " +
                        got.to_string());
  }

  io::SafetensorsFile file_;
  nlohmann::json model_settings_, training_settings_;
};

}  // namespace easy_diffusion::train
