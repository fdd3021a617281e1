/// \file
/// What a network may predict of a noised state, and the way from each to each.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// At a level with alpha and sigma, x = alpha x0 + sigma epsilon:
enum class Prediction {
  epsilon,  ///< the noise
  x0,       ///< the picture
  v,        ///< alpha epsilon - sigma x0 \cite salimans_2022_distillation
  score,    ///< gradient of log p, -epsilon / sigma
  velocity  ///< epsilon - x0: dx/dt of rectified flow \cite liu_2022_rectified_flow, whose time is sigma
};

inline constexpr std::array<std::string_view, 5> prediction_names = {"epsilon", "x0", "v", "score", "velocity"};

[[nodiscard]] inline std::string to_string(Prediction prediction) {
  return std::string(prediction_names[static_cast<std::size_t>(prediction)]);
}

/// \throw ValueError naming what there is
[[nodiscard]] inline Prediction prediction_by_name(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < prediction_names.size(); ++i) {
    if (prediction_names[i] == name) return static_cast<Prediction>(i);
    known += (i > 0 ? ", " : "") + std::string(prediction_names[i]);
  }
  throw ValueError("prediction: expected one of " + known + ", got '" + std::string(name) + "'");
}

namespace detail {

/// A prediction as x0 times x0 plus epsilon times epsilon; the score as the epsilon that it is a multiple of.
struct PredictionWeights {
  double x0, epsilon;
};

[[nodiscard]] inline PredictionWeights prediction_weights(Prediction prediction, const NoiseLevel& level) {
  switch (prediction) {
    case Prediction::x0: return {1, 0};
    case Prediction::v: return {-level.sigma, level.alpha};
    case Prediction::velocity: return {-1, 1};
    default: return {0, 1};
  }
}

}  // namespace detail

/// to = a x + b from, for predictions of the state x.
struct PredictionMap {
  double x = 0;
  double prediction = 1;
};

/// The map from one prediction to another: with x = alpha x0 + sigma epsilon and from = c x0 + d epsilon, both are solved for
/// what is wanted.
/// \throw ValueError where `from` does not determine it: x0 (or v, velocity) from the epsilon or score of pure noise, epsilon
///        (or v, velocity) from the x0 of a clean state, and anything but x0 from the score of a clean state, which is
///        infinite, as is the way to it
[[nodiscard]] inline PredictionMap prediction_map(Prediction from, Prediction to, const NoiseLevel& level) {
  if (from == to) return {0, 1};
  const auto refuse = [&](const char* why) {
    throw ValueError("parameterization: " + to_string(to) + " cannot be found from " + to_string(from) + " at alpha " +
                     sde::detail::shown(level.alpha) + ", sigma " + sde::detail::shown(level.sigma) + ": " + why);
  };
  if (level.is_clean() && (to == Prediction::score || (from == Prediction::score && to != Prediction::x0)))
    refuse("the score of a clean state is infinite");
  const auto [c, d] = detail::prediction_weights(from, level);
  const auto [e, f] = detail::prediction_weights(to, level);
  // The score is -epsilon / sigma.
  const auto scaled = [&](PredictionMap map) {
    if (from == Prediction::score) map.prediction *= -level.sigma;
    return to == Prediction::score ? PredictionMap{map.x / -level.sigma, map.prediction / -level.sigma} : map;
  };
  if (c == e && d == f) return scaled({0, 1});
  const double determinant = level.alpha * d - level.sigma * c;
  if (determinant == 0) refuse("there the prediction says no more than the state");
  // x0 = (d x - sigma g) / determinant, epsilon = (alpha g - c x) / determinant
  return scaled({(e * d - f * c) / determinant, (f * level.alpha - e * level.sigma) / determinant});
}

/// Turns a prediction of `from` into one of `to`, in place. \param x the state \param value its prediction
/// \throw ValueError as `prediction_map`
template <sde::State S>
void convert(Prediction from, Prediction to, const NoiseLevel& level, const S& x, S& value) {
  if (from == to) return;
  const PredictionMap map = prediction_map(from, to, level);
  sde::update_elements(
      [map](auto& v, const auto& state) {
        using T = std::remove_reference_t<decltype(v)>;
        v = sde::detail::multiply_add(static_cast<T>(map.x), state, static_cast<T>(map.prediction) * v);
      },
      value, x);
}

}  // namespace easy_diffusion::diffusion
