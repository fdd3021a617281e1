/// \file
/// What the network of a discrete chain puts out for the mean of a step.
#pragma once

#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"

namespace easy_diffusion::diffusion {

/// One of the predictions, or the previous x: the mean of the step itself, which depends on the step's length and so
/// is no prediction of the state alone.
class MeanType {
 public:
  constexpr MeanType(Prediction prediction) : prediction_(prediction) {}  // NOLINT: a prediction is a mean type
  [[nodiscard]] static constexpr MeanType previous_x() {
    MeanType type(Prediction::x0);
    type.previous_x_ = true;
    return type;
  }
  /// \throw ValueError naming what there is
  [[nodiscard]] static MeanType by_name(std::string_view name) {
    if (name == "previous_x") return previous_x();
    std::string known = "previous_x";
    for (const std::string_view each : prediction_names) {
      if (each == name) return prediction_by_name(name);
      known += ", " + std::string(each);
    }
    throw ValueError("mean type: expected one of " + known + ", got '" + std::string(name) + "'");
  }

  [[nodiscard]] constexpr bool is_previous_x() const noexcept { return previous_x_; }
  /// \pre not the previous x
  [[nodiscard]] constexpr Prediction prediction() const noexcept { return prediction_; }
  [[nodiscard]] std::string name() const { return previous_x_ ? "previous_x" : diffusion::to_string(prediction_); }

  friend constexpr bool operator==(const MeanType&, const MeanType&) = default;

 private:
  Prediction prediction_;
  bool previous_x_ = false;
};

}  // namespace easy_diffusion::diffusion
