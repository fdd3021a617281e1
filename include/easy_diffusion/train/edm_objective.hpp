/// \file
/// The objective of a network under the preconditioning of \cite karras_2022_elucidating.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/train/detail/noised_regression.hpp"

namespace easy_diffusion::train {

/// The squared error of `diffusion::EdmDenoiser` with the weight of `EdmScales`, which is that of the network F alone:
/// shown in (x0 + sigma z) and told log(sigma) / 4, it shall answer (x0 - skip (x0 + sigma z)) / out. sigma is
/// log-normal.
class EdmObjective {
 public:
  explicit EdmObjective(const diffusion::Edm& edm = diffusion::Edm()) : edm_(edm) {}

  /// One batch: adds the gradients of the loss to the model's and returns the loss, the mean over the batch and the
  /// pixels. Noise levels and noise are those of the address (seed, streams::training_time and streams::training_noise,
  /// step).
  /// \param pictures [N, H, W, C] with the mean 0 and the deviation that `Edm` expects, N >= 1
  /// \param told     whatever the model is told beside the noise level: `forward(x, t, told..., ctx)`
  /// \throw ShapeError for other shapes, or where the model's answer has another shape than the pictures
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) const {
    const auto part = [&](std::int64_t n) -> detail::RegressionPart {
      const double sigma = edm_.training_sigma({seed, streams::training_time, step}, static_cast<std::uint64_t>(n));
      const diffusion::EdmScales c = edm_.scales(sigma);
      return {c.noise, c.in, c.in * sigma, (1 - c.skip) / c.out, -c.skip * sigma / c.out};
    };
    return detail::accumulate_regression("EDM objective", model, pictures, part, seed, step, ctx, told...);
  }

 private:
  diffusion::Edm edm_;
};

}  // namespace easy_diffusion::train
