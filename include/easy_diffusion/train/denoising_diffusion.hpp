/// \file
/// The objective of a diffusion model over the timesteps of a schedule \cite ho_2020_ddpm.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"

namespace easy_diffusion::train {

/// x_t = alpha x0 + sigma epsilon at a timestep t drawn for each picture; loss = mean over the batch and the pixels of
/// (prediction - what is to be predicted)^2. Samples 2 k and 2 k + 1 of a batch have timesteps t and T - 1 - t, which makes
/// the batch's loss vary less than independent ones.
class DenoisingDiffusion {
 public:
  /// \param time_scale the network is told the timestep times this
  DenoisingDiffusion(diffusion::Schedule schedule, diffusion::Prediction prediction, double time_scale)
      : schedule_(std::move(schedule)), prediction_(prediction), time_scale_(time_scale) {}

  /// One batch: adds the gradients of the loss to the model's and returns the loss. The noise is that of the
  /// address (seed, streams::training_time and streams::training_noise, step).
  /// \param pictures [N, H, W, C] in [-1, 1], N >= 1
  /// \param told     whatever the model is told beside the time: `forward(x, t, told..., ctx)`
  /// \throw ShapeError for other shapes, or where the model's prediction has another shape than the pictures
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) const {
    using T = typename Model::value_type;
    Noised<T> noised = make_noise(pictures, seed, step);
    ctx.input_gradient = false;
    Tensor<T> prediction = model.forward(noised.x, noised.t, told..., &ctx);
    const double loss = to_gradient(prediction, noised.target);
    model.backward(prediction, ctx);
    return loss;
  }

 private:
  template <class T>
  struct Noised {
    Tensor<T> x, t, target;
  };

  template <class T>
  Noised<T> make_noise(const Tensor<T>& pictures, std::uint64_t seed, std::uint32_t step) const {
    expect_rank("denoising diffusion", 4, "[N, H, W, C]", pictures.shape());
    const std::int64_t batch = pictures.extent(0);
    if (batch < 1) throw ShapeError("denoising diffusion: expected at least one picture, got none");
    Noised<T> noised{Tensor<T>::uninitialized(pictures.shape()), Tensor<T>::uninitialized(Shape{batch}),
                     Tensor<T>::uninitialized(pictures.shape())};
    fill_normal(noised.target.span(), {seed, streams::training_noise, step});
    const std::int64_t elements = pictures.size() / batch;
    parallel_for(0, batch, 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) {
        const std::int64_t timestep = drawn(n, seed, step);
        noised.t[n] = static_cast<T>(time_scale_ * static_cast<double>(timestep));
        const diffusion::NoiseLevel level = schedule_.level(timestep);
        const auto [of_x0, of_epsilon] = diffusion::detail::prediction_weights(prediction_, level);
        const T alpha = static_cast<T>(level.alpha), sigma = static_cast<T>(level.sigma);
        const T c = static_cast<T>(of_x0), d = static_cast<T>(of_epsilon);
        const T* x0 = pictures.data() + n * elements;
        T* x = noised.x.data() + n * elements;
        T* target = noised.target.data() + n * elements;  // epsilon to begin with
        for (std::int64_t i = 0; i < elements; ++i) {
          x[i] = alpha * x0[i] + sigma * target[i];
          target[i] = c * x0[i] + d * target[i];
        }
      }
    });
    return noised;
  }

  [[nodiscard]] std::int64_t drawn(std::int64_t sample, std::uint64_t seed, std::uint32_t step) const {
    const auto total = static_cast<std::uint64_t>(schedule_.steps());
    const auto t = static_cast<std::int64_t>(
        uniform_integer(total, {seed, streams::training_time, step}, static_cast<std::uint64_t>(sample / 2)));
    return sample % 2 == 0 ? t : schedule_.steps() - 1 - t;
  }

  /// The prediction becomes the gradient of the loss, which is returned.
  template <class T>
  static double to_gradient(Tensor<T>& prediction, const Tensor<T>& target) {
    expect_shape("denoising diffusion: prediction", target.shape(), prediction.shape());
    const std::int64_t batch = prediction.extent(0), elements = prediction.size() / batch;
    Tensor<double> sums(Shape{batch});
    const T scale = T(2) / static_cast<T>(prediction.size());
    parallel_for(0, batch, 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) {
        T* row = prediction.data() + n * elements;
        const T* wanted = target.data() + n * elements;
        double sum = 0;
        for (std::int64_t i = 0; i < elements; ++i) {
          const T residual = row[i] - wanted[i];
          sum += static_cast<double>(residual) * static_cast<double>(residual);
          row[i] = scale * residual;
        }
        sums[n] = sum;
      }
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total / static_cast<double>(prediction.size());
  }

  diffusion::Schedule schedule_;
  diffusion::Prediction prediction_;
  double time_scale_;
};

}  // namespace easy_diffusion::train
