// The diagonal Gaussian: closed forms, noise by address, gradients, errors.

#include "easy_diffusion/latent/diagonal_gaussian.hpp"

#include <cmath>
#include <cstdint>
#include <numbers>

#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using latent::DiagonalGaussian;

/// One sample of two pixels and one channel: means 0.5 and -1, log-variances 0 and ln 4.
Tensor<double> two_pixels() { return Tensor<double>(Shape{1, 1, 2, 2}, {0.5, 0, -1, std::log(4.0)}); }

TEST_CASE("divergence and likelihood have their closed forms", "[latent][gaussian]") {
  const DiagonalGaussian<double> d(two_pixels());
  CHECK(d.shape() == Shape{1, 1, 2, 1});
  CHECK(same_bits(d.mode(), Tensor<double>(Shape{1, 1, 2, 1}, {0.5, -1})));
  CHECK(d.kl()[0] == Approx(0.5 * (0.25 + 1 - 1 - 0) + 0.5 * (1 + 4 - 1 - std::log(4.0))));
  CHECK(DiagonalGaussian<double>(Tensor<double>(Shape{3, 2, 2, 4})).kl()[2] == 0);  // the standard normal itself
  CHECK(d.kl(d)[0] == Approx(0).margin(1e-15));
  const DiagonalGaussian<double> wide(Tensor<double>(Shape{1, 1, 2, 2}, {0, std::log(2.0), 0, std::log(2.0)}));
  CHECK(d.kl(wide)[0] == Approx(0.5 * (0.25 / 2 + 0.5 - 1 + std::log(2.0)) + 0.5 * (0.5 + 2 - 1 - std::log(2.0))));
  const Tensor<double> z(Shape{1, 1, 2, 1}, {0.5, 1});
  CHECK(d.nll(z)[0] ==
        Approx(0.5 * std::log(2 * std::numbers::pi) + 0.5 * (std::log(2 * std::numbers::pi) + std::log(4.0) + 1)));
}

TEST_CASE("a sample is a function of its noise address, and of its place alone", "[latent][gaussian]") {
  const auto moments = random_tensor<float>(Shape{3, 2, 4, 6}, 1);
  const DiagonalGaussian<float> d(moments);
  const NoiseAddress noise{5, streams::user, 2};
  const auto z = d.sample(noise);
  CHECK(same_bits(z, d.sample(noise)));
  CHECK_FALSE(same_bits(z, d.sample({5, streams::user, 3})));
  const std::int64_t size = z.size() / 3;
  for (std::int64_t n = 0; n < 3; ++n) {
    const DiagonalGaussian<float> one(Tensor<float>::copy_of(moments.view().slice(n, 1)));
    CHECK(same_bits(one.sample(noise, static_cast<std::uint64_t>(n * size)),
                    Tensor<float>::copy_of(std::as_const(z).view().slice(n, 1))));
  }
  const std::int64_t i = 17;  // sample 0, pixel 5, channel 2
  const float want = moments[5 * 6 + 2] + std::exp(0.5F * moments[5 * 6 + 5]) * normal<float>(noise, 17);
  CHECK(z[i] == Approx(want).epsilon(1e-6));
}

TEST_CASE("a sample of given noise is that of the noise's address", "[latent][gaussian]") {
  const latent::DiagonalGaussian<double> posterior(random_tensor<double>(Shape{2, 3, 2, 4}, 1));
  const NoiseAddress address{3, streams::user, 1};
  Tensor<double> noise(posterior.shape());
  fill_normal(noise.span(), address);
  const Tensor<double> dz = random_tensor<double>(posterior.shape(), 2);
  CHECK(same_bits(posterior.sample(noise), posterior.sample(address)));
  CHECK(same_bits(posterior.sample_backward(dz, noise), posterior.sample_backward(dz, address)));
  CHECK_THROWS_AS(posterior.sample(Tensor<double>(Shape{2, 3, 2, 4})), ShapeError);
  CHECK_THROWS_AS(posterior.sample_backward(dz, Tensor<double>(Shape{1, 3, 2, 2})), ShapeError);
}

TEST_CASE("the moments of many samples are those asked for", "[latent][gaussian]") {
  Tensor<double> moments(Shape{1, 100, 100, 2});
  for (std::int64_t i = 0; i < 10000; ++i) {
    moments[2 * i] = 0.7;
    moments[2 * i + 1] = 2 * std::log(3.0);
  }
  const auto z = DiagonalGaussian<double>(moments).sample({1, streams::user, 0});
  double mean = 0, square = 0;
  for (const double v : z) mean += v / 1e4;
  for (const double v : z) square += (v - mean) * (v - mean) / 1e4;
  CHECK(std::abs(mean - 0.7) < 0.12);  // four standard errors
  CHECK(std::abs(std::sqrt(square) - 3) < 0.085);
}

TEST_CASE("gradients of samples and divergences are those of differences", "[latent][gaussian][gradients]") {
  Tensor<double> moments = random_tensor<double>(Shape{2, 1, 2, 4}, 1);
  moments[2] = -31;  // held: no gradient
  moments[7] = 21;
  const auto w = random_tensor<double>(Shape{2, 1, 2, 2}, 2);
  const NoiseAddress noise{5, streams::user, 2};
  const auto check = [&](const Tensor<double>& gradient, auto&& value) {
    for (std::int64_t i = 0; i < moments.size(); ++i) {
      const double at = moments[i], h = 1e-4;
      const auto moved = [&](double by) {
        moments[i] = at + by;
        const double result = value(DiagonalGaussian<double>(moments));
        moments[i] = at;
        return result;
      };
      const double numeric = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
      INFO("moment " << i);
      CHECK(std::abs(gradient[i] - numeric) <= 1e-8 * std::max(1.0, std::abs(numeric)));
    }
  };
  const auto weighted = [&](const Tensor<double>& z) {
    double sum = 0;
    for (std::int64_t i = 0; i < z.size(); ++i) sum += w[i] * z[i];
    return sum;
  };
  const DiagonalGaussian<double> d(moments);
  check(d.mode_backward(w), [&](const auto& at) { return weighted(at.mode()); });
  moments[7] = 1;  // a standard deviation of e^10 drowns the differences of the others
  const DiagonalGaussian<double> e(moments);
  check(e.sample_backward(w, noise), [&](const auto& at) { return weighted(at.sample(noise)); });
  check(e.kl_backward(0.25), [](const auto& at) { return 0.25 * (at.kl()[0] + at.kl()[1]); });
  moments[7] = 21;
  CHECK(DiagonalGaussian<double>(moments).kl_backward(1)[7] == 0);
}

TEST_CASE("a diagonal Gaussian says what does not fit", "[latent][gaussian][errors]") {
  CHECK_THROWS_AS(DiagonalGaussian<float>(Tensor<float>(Shape{1, 2, 2, 3})), ShapeError);
  CHECK_THROWS_AS(DiagonalGaussian<float>(Tensor<float>(Shape{2, 2, 4})), ShapeError);
  const DiagonalGaussian<float> d(Tensor<float>(Shape{1, 2, 2, 4}));
  CHECK_THROWS_AS(d.nll(Tensor<float>(Shape{1, 2, 2, 4})), ShapeError);
  CHECK_THROWS_AS(d.kl(DiagonalGaussian<float>(Tensor<float>(Shape{1, 2, 2, 2}))), ShapeError);
  CHECK_THROWS_AS(d.mode_backward(Tensor<float>(Shape{1, 2, 2, 4})), ShapeError);
}

}  // namespace
