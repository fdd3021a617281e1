// Preconditioning, and the noise levels of training.

#include "easy_diffusion/diffusion/edm.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

TEST_CASE("input, target and weighted error have unit variance at every noise level", "[diffusion][edm]") {
  for (const double data : {0.5, 1.0, 0.1}) {
    const Edm edm({.data_deviation = data});
    for (const double sigma : {0.002, 0.1, 0.5, 3.0, 80.0}) {
      const EdmScales c = edm.scales(sigma);
      CHECK_THAT(c.in * c.in * (data * data + sigma * sigma), WithinAbs(1, 1e-14));
      // The target (x0 - skip x) / out with x0 and epsilon independent.
      const double from_x0 = (1 - c.skip) * data / c.out, from_epsilon = c.skip * sigma / c.out;
      CHECK_THAT(from_x0 * from_x0 + from_epsilon * from_epsilon, WithinAbs(1, 1e-12));
      CHECK_THAT(c.loss_weight * c.out * c.out, WithinAbs(1, 1e-14));
      CHECK_THAT(c.noise, WithinAbs(std::log(sigma) / 4, 1e-15));
      // Any other skip makes the network's error count more: `out` would have to be larger.
      const auto out_for = [&](double skip) { return std::hypot((1 - skip) * data, skip * sigma); };
      CHECK_THAT(out_for(c.skip), WithinAbs(c.out, 1e-14));
      CHECK(out_for(c.skip * 1.01) > c.out);
      CHECK(out_for(c.skip * 0.99) > c.out);
    }
  }
  // Known values: the defaults at sigma = 0.5.
  const EdmScales half = Edm().scales(0.5);
  CHECK_THAT(half.skip, WithinAbs(0.5, 1e-15));
  CHECK_THAT(half.out, WithinAbs(0.25 * std::sqrt(2.0), 1e-15));
  CHECK_THAT(half.in, WithinAbs(std::sqrt(2.0), 1e-15));
  CHECK_THAT(half.loss_weight, WithinAbs(8, 1e-14));
}

TEST_CASE("a network that answers zero is the denoiser of round Gaussian data", "[diffusion][edm]") {
  const auto zero = [](const auto&, double, auto& out) { sde::fill(out, 0); };
  const EdmDenoiser denoiser(zero, Edm({.data_deviation = 0.7}));
  const GaussianMixture gaussian({{1, {0}, 0.7}});
  const auto x = random_tensor<double>({5, 1}, 1, 2);
  Tensor<double> got(x.shape()), want(x.shape());
  for (const NoiseLevel level : {exploding_level(0.3), exploding_level(40), NoiseLevel{3, 0.8, 0.6}, {0.7, 0.3, 0.7}}) {
    denoiser(x, level, got);
    gaussian(x, level, want);
    CHECK(largest_difference(got, want) <= 1e-13);
  }
}

TEST_CASE("the denoiser is skip x + out F(in x, log(sigma) / 4)", "[diffusion][edm]") {
  // The network that the exact denoiser of a mixture would need, on any kind of level.
  const GaussianMixture mixture({{1, {-1}, 0.3}, {2, {1}, 0.2}});
  const Edm edm;
  const auto network = [&](const auto& scaled, double noise, auto& out) {
    const double sigma = std::exp(4 * noise);
    const EdmScales c = edm.scales(sigma);
    auto x = scaled;
    for (auto& e : x) e /= c.in;
    mixture(x, exploding_level(sigma), out);
    for (std::int64_t i = 0; i < out.size(); ++i) out[i] = (out[i] - c.skip * x[i]) / c.out;
  };
  const EdmDenoiser denoiser(network, edm);
  const auto x = random_tensor<double>({50, 1}, 1, 1.5);
  Tensor<double> got(x.shape()), want(x.shape());
  for (const NoiseLevel level :
       {exploding_level(0.02), exploding_level(10), NoiseLevel{3, 0.8, 0.6}, {0.7, 0.3, 0.7}}) {
    denoiser(x, level, got);
    mixture(x, level, want);
    CHECK(largest_difference(got, want) <= 1e-12);
  }
  // A sampler meets neither end; a clean state is its own picture, and pure noise is refused.
  denoiser(x, {0, 0.5, 0}, got);
  for (std::int64_t i = 0; i < x.size(); ++i) CHECK(got[i] == 2 * x[i]);
  CHECK_THROWS_AS(denoiser(x, {1, 0, 1}, got), ValueError);
}

TEST_CASE("noise levels of training are log-normal and addressed", "[diffusion][edm]") {
  const Edm edm({.log_sigma_mean = -0.4, .log_sigma_deviation = 1.6});
  constexpr std::uint64_t count = 20000;
  double mean = 0, square = 0;
  for (std::uint64_t n = 0; n < count; ++n) {
    const double log_sigma = std::log(edm.training_sigma({3, streams::training_time, 9}, n));
    mean += log_sigma / count;
    square += log_sigma * log_sigma / count;
  }
  // Standard errors 0.011 and 0.008.
  CHECK_THAT(mean, WithinAbs(-0.4, 0.045));
  CHECK_THAT(std::sqrt(square - mean * mean), WithinAbs(1.6, 0.032));
  CHECK(edm.training_sigma({3, streams::training_time, 9}, 5) == edm.training_sigma({3, streams::training_time, 9}, 5));
  CHECK(edm.training_sigma({3, streams::training_time, 9}, 5) !=
        edm.training_sigma({3, streams::training_time, 10}, 5));
}

TEST_CASE("EDM refuses what is out of range", "[diffusion][edm]") {
  CHECK_THROWS_AS(Edm({.data_deviation = 0}), ValueError);
  CHECK_THROWS_AS(Edm({.data_deviation = std::nan("")}), ValueError);
  CHECK_THROWS_AS(Edm({.log_sigma_mean = HUGE_VAL}), ValueError);
  CHECK_THROWS_AS(Edm({.log_sigma_deviation = 0}), ValueError);
  for (const double sigma : {0.0, -1.0, HUGE_VAL, std::nan("")}) CHECK_THROWS_AS(Edm().scales(sigma), ValueError);
}
