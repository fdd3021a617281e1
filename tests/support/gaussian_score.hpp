/// \file
/// A score model that is exact, so that samplers and objectives are tested without a network.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/processes/variance_exploding.hpp"

namespace easy_diffusion::test {

/// The exact score of pictures whose pixels are independent N(mean, deviation^2), under the variance-exploding process.
struct GaussianScore {
  using value_type = double;
  struct Context {
    bool input_gradient = true;
  };
  sde::VarianceExploding process{25};
  double mean = 0.3;
  double deviation = 0.2;

  Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& t, Context* = nullptr) const {
    Tensor<double> score(x.shape());
    const std::int64_t elements = x.size() / x.extent(0);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const double s = process.marginal_std(t[i / elements]);
      score[i] = -(x[i] - mean) / (deviation * deviation + s * s);
    }
    return score;
  }
};

}  // namespace easy_diffusion::test
