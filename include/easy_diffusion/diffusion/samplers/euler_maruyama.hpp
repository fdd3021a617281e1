/// \file
/// Sampling pictures from a score model along the reverse-time equation.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/reverse.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"

namespace easy_diffusion::diffusion {

struct ScoreSamplerConfig {
  std::uint64_t seed = 0;
  std::int64_t steps = 250;
  double last_time = 1e-3;  ///< where the integration from t = 1 ends
};

/// Samples number `first_sample` to `first_sample + N - 1`: Euler-Maruyama on the reverse-time equation from
/// x ~ N(0, prior_std^2) at t = 1, the last step without its noise. What a sample becomes does not depend on the
/// others of its batch, on how many there are, or on threads.
/// \param model     `forward(x, t)` is the score
/// \param process   additive noise; offers `prior_std()`
/// \param shape     [N, H, W, C]
/// \param observers see `sde::integrate`
/// \return [N, H, W, C]
/// \throw ValueError for steps < 1, a last time outside (0, 1) or a negative number of a sample; ShapeError for an empty
///        batch
template <class Model, class Process, class... Observers>
[[nodiscard]] Tensor<typename Model::value_type> sample_score_model(const Model& model, const Process& process,
                                                                    const Shape& shape, std::int64_t first_sample,
                                                                    const ScoreSamplerConfig& config,
                                                                    Observers&&... observers) {
  using T = typename Model::value_type;
  expect_rank("sample_score_model", 4, "[N, H, W, C]", shape);
  if (!(config.last_time > 0 && config.last_time < 1))
    throw ValueError("sample_score_model: last time: expected a number between 0 and 1, got " +
                     number_text(config.last_time));
  if (shape.numel() < 1) throw ShapeError("sample_score_model: expected at least one picture, got " + shape.to_string());
  if (first_sample < 0)
    throw ValueError("sample_score_model: first sample: expected at least 0, got " + std::to_string(first_sample));
  const auto first_element = static_cast<std::uint64_t>(first_sample * (shape.numel() / shape[0]));
  Tensor<T> x = Tensor<T>::uninitialized(shape);
  sde::draw_normal(x, process.prior_std(), {config.seed, streams::initial_state, 0}, first_element);

  Tensor<T> times = Tensor<T>::uninitialized(Shape{shape[0]});
  const auto score = [&](const Tensor<T>& at, double t, Tensor<T>& out) {
    times.fill(static_cast<T>(t));
    out = model.forward(at, times);
  };
  sde::integrate(sde::EulerMaruyama<Tensor<T>>(), sde::reverse(process, score), x,
                 sde::TimeGrid::uniform(1, config.last_time, config.steps),
                 sde::BrownianNoise{config.seed, first_element}, {.mean_of_last_step = true}, observers...);
  return x;
}

}  // namespace easy_diffusion::diffusion
