/// \file
/// Denoising score matching \cite vincent_2011_score_matching, weighted as in \cite song_2021_score.
#pragma once

#include <cstdint>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::train {

/// x_t = x + std(t) z with t uniform in (smallest_time, 1) and z normal;
/// loss = mean over the batch of the sum over pixels of (std(t) score(x_t, t) + z)^2.
/// \tparam Process offers `marginal_std(t)`; its mean is x itself (variance exploding)
template <class Process>
class DenoisingScoreMatching {
 public:
  explicit DenoisingScoreMatching(Process process, double smallest_time = 1e-5)
      : process_(std::move(process)), smallest_time_(smallest_time) {}

  /// One batch: adds the gradients of the loss to the model's and returns the loss. The noise is that of the
  /// address (seed, streams::training_time and streams::training_noise, step).
  /// \param pictures [N, H, W, C], N >= 1
  /// \param told     whatever the model is told beside the time: `forward(x, t, told..., ctx)`
  /// \throw ShapeError for other shapes, or where the model's score has another shape than the pictures
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) const {
    using T = typename Model::value_type;
    const Noised<T> noised = make_noise(pictures, seed, step);
    ctx.input_gradient = false;
    Tensor<T> residual = model.forward(noised.x, noised.t, told..., &ctx);
    const double loss = to_residual(residual, noised);
    // d loss / d score = 2 std residual / N
    const T scale = T(2) / static_cast<T>(pictures.extent(0));
    for_each_sample(residual, [&](std::int64_t n, T* row, std::int64_t elements) {
      for (std::int64_t i = 0; i < elements; ++i) row[i] *= scale * noised.std[n];
    });
    model.backward(residual, ctx);
    return loss;
  }

  /// The loss alone. \param pictures [N, H, W, C], N >= 1 \throw ShapeError as `accumulate`
  template <class Model>
  [[nodiscard]] double evaluate(const Model& model, const Tensor<typename Model::value_type>& pictures,
                                std::uint64_t seed, std::uint32_t step) const {
    const auto noised = make_noise(pictures, seed, step);
    auto residual = model.forward(noised.x, noised.t);
    return to_residual(residual, noised);
  }

 private:
  template <class T>
  struct Noised {
    Tensor<T> x, z, t, std;
  };

  template <class T, class F>
  static void for_each_sample(Tensor<T>& x, F&& f) {
    const std::int64_t elements = x.extent(1) * x.extent(2) * x.extent(3);
    parallel_for(0, x.extent(0), 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) f(n, x.data() + n * elements, elements);
    });
  }

  template <class T>
  Noised<T> make_noise(const Tensor<T>& pictures, std::uint64_t seed, std::uint32_t step) const {
    expect_rank("denoising score matching", 4, "[N, H, W, C]", pictures.shape());
    if (pictures.extent(0) < 1) throw ShapeError("denoising score matching: expected at least one picture, got none");
    const Shape samples{pictures.extent(0)};
    Noised<T> noised{Tensor<T>::uninitialized(pictures.shape()), Tensor<T>::uninitialized(pictures.shape()),
                     Tensor<T>::uninitialized(samples), Tensor<T>::uninitialized(samples)};
    fill_uniform(noised.t.span(), {seed, streams::training_time, step});
    fill_normal(noised.z.span(), {seed, streams::training_noise, step});
    for (std::int64_t n = 0; n < pictures.extent(0); ++n) {
      noised.t[n] = static_cast<T>(smallest_time_ + (1 - smallest_time_) * static_cast<double>(noised.t[n]));
      noised.std[n] = static_cast<T>(process_.marginal_std(static_cast<double>(noised.t[n])));
    }
    for_each_sample(noised.x, [&](std::int64_t n, T* row, std::int64_t elements) {
      const T* picture = pictures.data() + n * elements;
      const T* z = noised.z.data() + n * elements;
      for (std::int64_t i = 0; i < elements; ++i) row[i] = picture[i] + noised.std[n] * z[i];
    });
    return noised;
  }

  /// score becomes std score + z; returns the loss.
  template <class T>
  static double to_residual(Tensor<T>& score, const Noised<T>& noised) {
    expect_shape("denoising score matching: score", noised.x.shape(), score.shape());
    Tensor<double> sums(Shape{score.extent(0)});
    for_each_sample(score, [&](std::int64_t n, T* row, std::int64_t elements) {
      const T* z = noised.z.data() + n * elements;
      double sum = 0;
      for (std::int64_t i = 0; i < elements; ++i) {
        row[i] = noised.std[n] * row[i] + z[i];
        sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
      }
      sums[n] = sum;
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total / static_cast<double>(score.extent(0));
  }

  Process process_;
  double smallest_time_;
};

}  // namespace easy_diffusion::train
