/// \file
/// What objectives of diffusion models have in common: a network is shown noised pictures, and its answer is compared
/// with another mixture of picture and noise.
#pragma once

#include <cstdint>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::train::detail {

/// A picture's part in the regression, with z its standard normal noise: shown x picture + x_noise z at `time`, it
/// shall answer target picture + target_noise z.
struct RegressionPart {
  double time = 0;
  double x = 1, x_noise = 0;
  double target = 1, target_noise = 0;
};

/// One batch: adds the gradients of the loss to the model's and returns the loss, the mean over the batch and the
/// elements of (answer - target)^2. z is the noise of the address (seed, streams::training_noise, step).
/// \param who      of the message where shapes do not fit
/// \param pictures [N, H, W, C], N >= 1
/// \param part     `part(n)` is picture n's `RegressionPart`; a pure function, called from several threads
/// \param told     whatever the model is told beside the time: `forward(x, t, told..., ctx)`
/// \throw ShapeError for other shapes, or where the model's answer has another shape than the pictures
template <class Model, class Part, class... Told>
double accumulate_regression(const std::string& who, Model& model, const Tensor<typename Model::value_type>& pictures,
                             const Part& part, std::uint64_t seed, std::uint32_t step, typename Model::Context& ctx,
                             const Told&... told) {
  using T = typename Model::value_type;
  expect_rank(who, 4, "[N, H, W, C]", pictures.shape());
  const std::int64_t batch = pictures.extent(0);
  if (batch < 1) throw ShapeError(who + ": expected at least one picture, got none");
  const std::int64_t elements = pictures.size() / batch;
  const auto for_each_picture = [&](const auto& f) {
    parallel_for(0, batch, 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) f(n, n * elements, (n + 1) * elements);
    });
  };

  auto x = Tensor<T>::uninitialized(pictures.shape()), target = Tensor<T>::uninitialized(pictures.shape());
  auto t = Tensor<T>::uninitialized(Shape{batch});
  fill_normal(target.span(), {seed, streams::training_noise, step});
  for_each_picture([&](std::int64_t n, std::int64_t first, std::int64_t last) {
    const RegressionPart p = part(n);
    t[n] = static_cast<T>(p.time);
    const T a = static_cast<T>(p.x), b = static_cast<T>(p.x_noise);
    const T c = static_cast<T>(p.target), d = static_cast<T>(p.target_noise);
    for (std::int64_t i = first; i < last; ++i) {
      const T z = target[i];
      x[i] = a * pictures[i] + b * z;
      target[i] = c * pictures[i] + d * z;
    }
  });

  ctx.input_gradient = false;
  Tensor<T> answer = model.forward(x, t, told..., &ctx);
  expect_shape(who + ": answer", pictures.shape(), answer.shape());
  Tensor<double> sums(Shape{batch});
  const T scale = T(2) / static_cast<T>(pictures.size());
  for_each_picture([&](std::int64_t n, std::int64_t first, std::int64_t last) {
    double sum = 0;
    for (std::int64_t i = first; i < last; ++i) {
      const T residual = answer[i] - target[i];
      sum += static_cast<double>(residual) * static_cast<double>(residual);
      answer[i] = scale * residual;
    }
    sums[n] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  model.backward(answer, ctx);
  return total / static_cast<double>(pictures.size());
}

}  // namespace easy_diffusion::train::detail
