/// \file
/// The objective of rectified flow \cite liu_2022_rectified_flow.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/flow.hpp"
#include "easy_diffusion/train/detail/noised_regression.hpp"

namespace easy_diffusion::train {

/// The squared error of the velocity: shown (1 - t) x0 + t z, the network shall answer z - x0.
class FlowObjective {
 public:
  /// \param time_scale the network is told t times this: 1000 for one whose embedding is made for timesteps
  explicit FlowObjective(const diffusion::FlowTimes& times = diffusion::FlowTimes::uniform(), double time_scale = 1)
      : times_(times), time_scale_(time_scale) {}

  /// One batch: adds the gradients of the loss to the model's and returns the loss, the mean over the batch and the
  /// pixels. Times and noise are those of the address (seed, streams::training_time and streams::training_noise, step).
  /// \param pictures [N, H, W, C], N >= 1
  /// \param told     whatever the model is told beside the time: `forward(x, t, told..., ctx)`
  /// \throw ShapeError for other shapes, or where the model's answer has another shape than the pictures
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) const {
    const auto part = [&](std::int64_t n) -> detail::RegressionPart {
      const double t = times_.at({seed, streams::training_time, step}, static_cast<std::uint64_t>(n));
      const diffusion::NoiseLevel level = diffusion::flow_level(t);
      return {time_scale_ * level.time, level.alpha, level.sigma, -1, 1};
    };
    return detail::accumulate_regression("flow objective", model, pictures, part, seed, step, ctx, told...);
  }

 private:
  diffusion::FlowTimes times_;
  double time_scale_;
};

}  // namespace easy_diffusion::train
