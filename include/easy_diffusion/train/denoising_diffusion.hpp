/// \file
/// The objective of a diffusion model over the timesteps of a schedule \cite ho_2020_ddpm.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/diffusion_loss.hpp"
#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/timestep_sampler.hpp"

namespace easy_diffusion::train {

/// Which timesteps a batch is shown.
using TimestepSampler =
    std::variant<diffusion::UniformTimesteps, diffusion::AntitheticTimesteps, diffusion::ImportanceTimesteps>;

inline constexpr std::array<std::string_view, 3> timestep_sampler_names = {"uniform", "antithetic", "importance"};

/// \throw ValueError naming what there is
[[nodiscard]] inline TimestepSampler timestep_sampler_by_name(std::string_view name, std::int64_t timesteps) {
  if (name == "uniform") return diffusion::UniformTimesteps(timesteps);
  if (name == "antithetic") return diffusion::AntitheticTimesteps(timesteps);
  if (name == "importance") return diffusion::ImportanceTimesteps(timesteps);
  throw ValueError("timestep sampler: expected one of uniform, antithetic, importance, got '" + std::string(name) + "'");
}

/// x_t = alpha x0 + sigma epsilon at a timestep drawn for each picture; the loss is that of `diffusion::DiffusionLoss`,
/// averaged over the batch with the weights of the timestep sampler.
class DenoisingDiffusion {
 public:
  /// \param time_scale the network is told the timestep times this
  DenoisingDiffusion(diffusion::DiffusionLoss loss, TimestepSampler timesteps, double time_scale)
      : loss_(std::move(loss)), timesteps_(std::move(timesteps)), time_scale_(time_scale) {}

  /// One batch: adds the gradients of the loss to the model's and returns the loss. The noise is that of the
  /// address (seed, streams::training_time and streams::training_noise, step). What the timestep sampler learns of the
  /// losses, it uses from the next batch on.
  /// \param pictures [N, H, W, C] in [-1, 1], N >= 1
  /// \param told     whatever the model is told beside the time: `forward(x, t, told..., ctx)`
  /// \throw ShapeError for other shapes, or where the model's output has not the shape of a prediction, with a learned
  ///        variance of twice the channels; ValueError as the loss
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) {
    using T = typename Model::value_type;
    expect_rank("denoising diffusion", 4, "[N, H, W, C]", pictures.shape());
    const std::int64_t batch = pictures.extent(0);
    if (batch < 1) throw ShapeError("denoising diffusion: expected at least one picture, got none");
    const diffusion::DrawnTimesteps drawn =
        std::visit([&](const auto& sampler) { return sampler.draw(seed, step, 0, batch); }, timesteps_);

    Tensor<T> noise = Tensor<T>::uninitialized(pictures.shape());
    fill_normal(noise.span(), {seed, streams::training_noise, step});
    const Tensor<T> x = loss_.diffusion().q_sample(pictures, drawn.t, noise);
    Tensor<T> times = loss_.diffusion().template times<T>(drawn.t);
    for (T& time : times) time *= static_cast<T>(time_scale_);
    ctx.input_gradient = false;
    const Tensor<T> output = model.forward(x, times, told..., &ctx);

    std::vector<double> shares;
    for (const double weight : drawn.weights) shares.push_back(weight / static_cast<double>(batch));
    Tensor<T> gradient;
    const std::vector<double> losses = loss_(pictures, noise, drawn.t, output, gradient, shares);
    double mean = 0;
    for (std::size_t n = 0; n < losses.size(); ++n) mean += shares[n] * losses[n];
    // What is not finite stops the training and must not be learned from.
    auto* const importance = std::get_if<diffusion::ImportanceTimesteps>(&timesteps_);
    if (importance != nullptr && std::isfinite(mean)) importance->update(drawn.t, losses);
    model.backward(gradient, ctx);
    return mean;
  }

  /// Calls f(name, tensor) for what the timestep sampler has learned; this is how a checkpoint saves and restores it.
  template <class F>
  void visit_state(F&& f) {
    auto* const importance = std::get_if<diffusion::ImportanceTimesteps>(&timesteps_);
    if (importance == nullptr) return;
    diffusion::ImportanceTimesteps::History history = importance->history();
    f("timestep_losses", history.losses);
    f("timestep_counts", history.count);
    importance->restore(std::move(history));
  }

  [[nodiscard]] const diffusion::DiffusionLoss& loss() const noexcept { return loss_; }

 private:
  diffusion::DiffusionLoss loss_;
  TimestepSampler timesteps_;
  double time_scale_;
};

}  // namespace easy_diffusion::train
