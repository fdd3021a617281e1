// Clipping and dynamic thresholding of x0.

#include "easy_diffusion/diffusion/clipping.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "support/worst.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

/// Predicts x itself: what is done to x0 is then seen on any numbers.
struct Identity {
  template <class S>
  void operator()(const S& x, const NoiseLevel&, S& x0) const {
    x0 = x;
  }
};

const NoiseLevel somewhere{10, 0.8, 0.6};

template <class D, class S>
S applied(const D& denoiser, const S& x) {
  S x0 = x;
  denoiser(x, somewhere, x0);
  return x0;
}

/// From the sorted magnitudes, interpolated between neighbours.
double quantile_by_sorting(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  const double place = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace

TEST_CASE("clipping keeps x0 in its range and epsilon follows", "[diffusion][clipping]") {
  const std::array<double, 4> x{-3, -0.25, 0.5, 2};
  CHECK(applied(clipped(Identity(), -1, 0.75), x) == std::array<double, 4>{-1, -0.25, 0.5, 0.75});
  CHECK(std::isnan(applied(clipped(Identity()), std::numeric_limits<double>::quiet_NaN())));
  CHECK_THROWS_AS(clipped(Identity(), 1, 1), ValueError);
  CHECK_THROWS_AS(clipped(Identity(), std::numeric_limits<double>::quiet_NaN(), 1), ValueError);

  // A step of DDIM keeps the epsilon that the clipped x0 leaves of x.
  const NoiseLevels levels = noise_levels(Schedule::linear(), 10);
  const GaussianMixture far({{1, {2}, 0.1}});
  Ddim<double> ddim;
  double state = 1.5, x0 = 0;
  NoNoise none;
  const double before = state;
  far(state, levels[3], x0);
  REQUIRE(x0 > 1);
  ddim.start(levels);
  ddim.step(clipped(far), state, levels, 3, none);
  CHECK(ddim.predicted_x0() == 1);
  const double epsilon = (before - levels[3].alpha) / levels[3].sigma;
  CHECK_THAT(state, WithinAbs(levels[4].alpha + levels[4].sigma * epsilon, 1e-14));
  sample(ddim, clipped(far), state, levels, none);
  CHECK_THAT(state, WithinAbs(1, 1e-14));
}

TEST_CASE("dynamic thresholding divides by the quantile of each sample", "[diffusion][clipping]") {
  auto x = random_tensor<double>({3, 5, 7, 3}, 1, 2);
  const std::int64_t elements = x.size() / 3;
  for (std::int64_t i = 0; i < elements; ++i) x[elements + i] *= 0.1;  // a sample in range
  for (const double p : {0.9, 0.995, 0.5, 1.0, 1e-3}) {
    const auto y = applied(thresholded(Identity(), p), x);
    for (std::int64_t n = 0; n < 3; ++n) {
      std::vector<double> magnitudes;
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i) magnitudes.push_back(std::abs(x[i]));
      const double s = std::max(1.0, quantile_by_sorting(magnitudes, p));
      Worst worst;
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i)
        worst.see(std::abs(y[i] - std::clamp(x[i], -s, s) / s));
      CAPTURE(p, n, s);
      CHECK(worst.value() <= 1e-15);
    }
    // The sample in range is as it was, and none depends on its batch or on threads.
    const auto before = Tensor<double>::copy_of(x.view().slice(1, 1));
    CHECK(same_bits(Tensor<double>::copy_of(y.view().slice(1, 1)), before));
    const auto last = Tensor<double>::copy_of(x.view().slice(2, 1));
    CHECK(same_bits(applied(thresholded(Identity(), p), last), Tensor<double>::copy_of(y.view().slice(2, 1))));
    const Threads two(2);
    CHECK(same_bits(applied(thresholded(Identity(), p), x), y));
  }
}

TEST_CASE("dynamic thresholding is not clipping: what was in range moves too", "[diffusion][clipping]") {
  // Guidance that overshoots: most of the picture between -2 and 2.
  std::array<double, 101> x{};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<double>(i) - 50) / 25;
  const auto statically = applied(clipped(Identity()), x), dynamically = applied(thresholded(Identity(), 0.99), x);
  const double s = quantile_by_sorting(std::vector<double>(x.begin(), x.end()), 0.995);  // of |x|, twice each
  const auto at_bound = [](const auto& y) {
    return std::count_if(y.begin(), y.end(), [](double v) { return std::abs(v) >= 1; });
  };
  CHECK(at_bound(statically) == 52);
  CHECK(at_bound(dynamically) <= 2);
  CHECK(statically[60] == x[60]);
  CHECK_THAT(dynamically[60], WithinAbs(x[60] / s, 0.01));
  CHECK(dynamically[60] < 0.55 * x[60]);
  // It is idempotent, as clipping is: the second time s is 1.
  CHECK(applied(thresholded(Identity(), 0.99), dynamically) == dynamically);
}

TEST_CASE("dynamic thresholding of a single number, of NaN, and out of range", "[diffusion][clipping]") {
  CHECK(applied(thresholded(Identity()), 5.0F) == 1.0F);
  CHECK(applied(thresholded(Identity()), -0.5F) == -0.5F);
  auto x = random_tensor<float>({2, 40}, 1, 3);
  x[7] = std::numeric_limits<float>::quiet_NaN();
  const auto y = applied(thresholded(Identity()), x);
  for (std::int64_t i = 0; i < 40; ++i) CHECK(std::isnan(y[i]));
  for (std::int64_t i = 40; i < 80; ++i) CHECK(std::abs(y[i]) <= 1);
  for (const double p : {0.0, -0.1, 1.01, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(thresholded(Identity(), p), ValueError);
}
