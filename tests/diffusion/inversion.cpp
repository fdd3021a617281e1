// From pictures to their noise and back, between noises, and from picture to picture.

#include "easy_diffusion/diffusion/inversion.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/noised.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include "sde/orders.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

const GaussianMixture two_points({{1, {-1, 0.5}, 0.3}, {2, {1, 0}, 0.4}});

Tensor<double> drawn(std::int64_t count) {
  Tensor<double> x(Shape{count, 2});
  for (std::int64_t n = 0; n < count; ++n)
    two_points.draw(5, static_cast<std::uint64_t>(n), x.span().subspan(static_cast<std::size_t>(2 * n), 2));
  return x;
}

NoiseLevels to_smallest(std::int64_t n) {
  return noise_levels(Schedule::linear(), n, {.spacing = Spacing::log_snr, .end = End::smallest});
}

double root_mean_square(const Tensor<double>& a, const Tensor<double>& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace

TEST_CASE("a picture's noise leads back to it, the closer the more steps there are", "[diffusion][inversion]") {
  const auto pictures = drawn(50);
  std::vector<tests::ErrorAt> errors;
  for (const std::int64_t n : {64, 128, 256, 512, 999}) {
    const NoiseLevels levels = to_smallest(n);
    auto x = pictures;
    const SampleResult there = invert(two_points, x, levels);
    CHECK(there.evaluations == n);
    Ddim<Tensor<double>> ddim;
    sample(ddim, two_points, x, levels, NoNoise());
    errors.push_back({1 / static_cast<double>(n), root_mean_square(x, pictures), 0});
  }
  tests::check_order(errors, 1);
}

TEST_CASE("the noise of a Gaussian's sample is the one that the probability flow gives", "[diffusion][inversion]") {
  constexpr double mean = 0.4, deviation = 0.7;
  const GaussianMixture gaussian({{1, {mean}, deviation}});
  std::vector<tests::ErrorAt> errors;
  for (const std::int64_t n : {50, 100, 200, 400, 800}) {
    const NoiseLevels levels = to_smallest(n);
    // The flow keeps what a state is in deviations of its level.
    const auto spread = [&](const NoiseLevel& level) { return std::hypot(level.alpha * deviation, level.sigma); };
    constexpr double where = 1.3;
    double x = levels.back().alpha * mean + spread(levels.back()) * where;
    invert(gaussian, x, levels);
    const double noise = levels.front().alpha * mean + spread(levels.front()) * where;
    errors.push_back({1 / static_cast<double>(n), std::abs(x - noise), 0});
  }
  tests::check_order(errors, 1);
}

TEST_CASE("inversion refuses levels that it cannot walk", "[diffusion][inversion]") {
  double x = 0.5;
  CHECK_THROWS_AS(invert(two_points, x, noise_levels(Schedule::linear(), 10)), ValueError);
  CHECK_THROWS_AS(invert(two_points, x, to_smallest(10).reversed()), ValueError);
}

TEST_CASE("spherical interpolation keeps the variance of noise", "[diffusion][inversion]") {
  const auto a = random_tensor<double>({3, 10, 10, 10}, 1);
  auto b = random_tensor<double>({3, 10, 10, 10}, 2);
  const auto length = [](const Tensor<double>& x, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = n * 1000; i < (n + 1) * 1000; ++i) sum += x[i] * x[i];
    return std::sqrt(sum);
  };
  for (std::int64_t n = 0; n < 3; ++n) {
    const double factor = length(a, n) / length(b, n);
    for (std::int64_t i = n * 1000; i < (n + 1) * 1000; ++i) b[i] *= factor;
  }
  CHECK(same_bits(interpolate(a, b, 0), a));
  CHECK(same_bits(interpolate(a, b, 1), b));
  for (const double part : {0.1, 0.5, 0.75}) {
    const auto between = interpolate(a, b, part);
    for (std::int64_t n = 0; n < 3; ++n) {
      CHECK_THAT(length(between, n), WithinRel(length(a, n), 1e-12));
      // Samples are each by themselves.
      const auto own = [n](const Tensor<double>& x) { return Tensor<double>::copy_of(x.view().slice(n, 1)); };
      CHECK(same_bits(interpolate(own(a), own(b), part), own(between)));
    }
    const Threads two(2);
    CHECK(same_bits(interpolate(a, b, part), between));
  }
  // A quarter circle in the plane, in thirds.
  using Point = std::array<double, 2>;
  const Point third = interpolate(Point{1, 0}, Point{0, 1}, 1.0 / 3);
  CHECK_THAT(third[0], WithinAbs(std::sqrt(0.75), 1e-15));
  CHECK_THAT(third[1], WithinAbs(0.5, 1e-15));
}

TEST_CASE("interpolation is safe where the angle is none", "[diffusion][inversion]") {
  using Point = std::array<double, 2>;
  const auto near = [](const Point& got, const Point& want) {
    return std::abs(got[0] - want[0]) <= 1e-15 && std::abs(got[1] - want[1]) <= 1e-15;
  };
  CHECK(near(interpolate(Point{3, 4}, Point{3, 4}, 0.3), {3, 4}));
  CHECK(near(interpolate(Point{3, 4}, Point{6, 8}, 0.5), {4.5, 6}));
  CHECK(near(interpolate(Point{1, 0}, Point{1, 1e-9}, 0.25), {1, 0.25e-9}));
  CHECK(near(interpolate(Point{1, 0}, Point{1, 1e-300}, 0.25), {1, 0.25e-300}));
  CHECK(near(interpolate(Point{0, 0}, Point{2, 0}, 0.25), {0.5, 0}));
  CHECK(near(interpolate(Point{0, 0}, Point{0, 0}, 0.25), {0, 0}));
  CHECK(near(interpolate(Point{1, 2}, Point{-1, -2}, 0.5), {0, 0}));
  CHECK(near(interpolate(Point{1, 2}, Point{-1, -2 + 1e-9}, 0.5), {0, 0.5e-9}));
  CHECK(interpolate(2.0F, 4.0F, 0.5) == 3.0F);
  for (const double part : {-0.1, 1.1, std::nan("")}) CHECK_THROWS_AS(interpolate(1.0, 2.0, part), ValueError);
  CHECK_THROWS_AS(interpolate(Tensor<float>({2, 3}), Tensor<float>({2, 4}), 0.5), ShapeError);
}

TEST_CASE("picture to picture starts from a picture with addressed noise", "[diffusion][inversion]") {
  const auto pictures = drawn(60);
  const NoiseLevels all = noise_levels(Schedule::linear(), 50);
  const NoiseAddress address{3, streams::initial_state, 0};
  double before = 0;
  for (const double strength : {0.02, 0.2, 0.5, 1.0}) {
    const NoiseLevels levels = all.tail(strength);
    const auto start = noised(pictures, levels.front(), address);
    for (std::int64_t i = 0; i < start.size(); ++i) {
      const double z = normal<double>(address, static_cast<std::uint64_t>(i));
      CHECK_THAT(start[i], WithinAbs(levels.front().alpha * pictures[i] + levels.front().sigma * z, 1e-14));
    }
    auto x = start;
    Ddim<Tensor<double>> ddim;
    sample(ddim, two_points, x, levels, NoNoise());
    // The more of the way is walked, the less of the picture is left.
    const double change = root_mean_square(x, pictures);
    CHECK(change > before);
    before = change;

    // Parts of the batch give the same bits.
    const auto rest = Tensor<double>::copy_of(pictures.view().slice(41, 19));
    auto part = noised(rest, levels.front(), address, 82);
    CHECK(same_bits(part, Tensor<double>::copy_of(start.view().slice(41, 19))));
  }
  CHECK(same_bits(noised(pictures, all.back(), address), pictures));
}
