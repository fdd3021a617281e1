#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <Eigen/Dense>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "support/catch.hpp"
#include "support/metrics/frechet.hpp"
#include "support/metrics/mixture_divergence.hpp"
#include "support/metrics/sliced_wasserstein.hpp"

using namespace easy_diffusion;
using bench::feature_statistics;
using bench::FeatureStatistics;
using bench::frechet_distance;
using bench::mixture_divergence;
using bench::SlicedWasserstein;
using diffusion::GaussianMixture;

namespace {

std::vector<double> normal(std::size_t numbers, std::uint32_t which) {
  std::vector<double> x(numbers);
  fill_normal(std::span<double>(x), {5, streams::user, 100 + which});
  return x;
}

std::vector<double> drawn(const GaussianMixture& mixture, std::size_t count, std::uint64_t seed) {
  const std::size_t d = mixture.dimension();
  std::vector<double> x(count * d);
  for (std::size_t n = 0; n < count; ++n) mixture.draw(seed, n, std::span<double>(x).subspan(n * d, d));
  return x;
}

std::vector<double> with_nan(std::vector<double> x) {
  x[x.size() / 2] = std::numeric_limits<double>::quiet_NaN();
  return x;
}

GaussianMixture two_far_apart(std::size_t dimension) {
  std::vector<double> a(dimension, -2), b(dimension, 2);
  return GaussianMixture({{0.25, a, 0.2}, {0.75, b, 0.1}});
}

FeatureStatistics moments(Eigen::VectorXd mean, Eigen::MatrixXd covariance) {
  return {std::move(mean), std::move(covariance), 100};
}

}  // namespace

TEST_CASE("sliced Wasserstein distance of a shift and a scale is known", "[benchmarks][metrics]") {
  // In one dimension the only directions are +1 and -1: the distance is W2 itself.
  const std::vector<double> points = {0.3, -1.2, 4, 2.5};
  const SlicedWasserstein line(points, 1, 3);
  CHECK(line.distance(points) == 0);
  CHECK_THAT(line.distance(std::vector<double>{4, 2.5, -1.2, 0.3}), WithinAbs(0, 1e-15));  // a set has no order
  CHECK_THAT(line.distance(std::vector<double>{1.3, -0.2, 5, 3.5}), WithinAbs(1, 1e-14));
  double squares = 0;
  std::vector<double> tripled;
  for (const double x : points) {
    tripled.push_back(3 * x);
    squares += 4 * x * x;
  }
  CHECK_THAT(line.distance(tripled), WithinAbs(std::sqrt(squares / 4), 1e-14));

  // In d dimensions a shift s has, over directions, the mean square |s|^2 / d.
  const std::size_t d = 16;
  const auto cloud = normal(200 * d, 0);
  auto shifted = cloud;
  for (std::size_t i = 0; i < shifted.size(); ++i) shifted[i] += i % d < 4 ? 3 : 0;
  const std::int64_t directions = 4000;
  CHECK_THAT(SlicedWasserstein(cloud, d, directions).distance(shifted),
             WithinRel(6 / 4.0, 4 * std::sqrt(0.5 / static_cast<double>(directions))));
}

TEST_CASE("sliced Wasserstein distance is the same for any number of threads", "[benchmarks][metrics]") {
  const auto a = normal(600, 1), b = normal(600, 2);
  const int before = num_threads();
  set_num_threads(1);
  const double alone = SlicedWasserstein(a, 3, 33, 9).distance(b);
  set_num_threads(3);
  CHECK(SlicedWasserstein(a, 3, 33, 9).distance(b) == alone);
  set_num_threads(before);
  CHECK(SlicedWasserstein(a, 3, 33, 8).distance(b) != alone);  // other directions
}

TEST_CASE("sliced Wasserstein distance tells broken samples from exact ones", "[benchmarks][metrics]") {
  for (const std::size_t d : {std::size_t{2}, std::size_t{64}}) {
    const auto mixture = two_far_apart(d);
    const SlicedWasserstein metric(drawn(mixture, 2000, 1), d);
    const auto good = drawn(mixture, 2000, 2);
    const double floor = metric.distance(good);
    CHECK(floor > 0);
    CHECK(floor < 0.15);
    auto one_component = good, wide = good;
    for (double& x : one_component) x = std::abs(x);
    for (double& x : wide) x *= 1.3;
    CHECK(metric.distance(one_component) > 5 * floor);
    CHECK(metric.distance(wide) > 5 * floor);
    CHECK_THROWS_AS(metric.distance(with_nan(good)), ValueError);
    CHECK_THROWS_AS(metric.distance(std::span(good).first(good.size() - d)), ShapeError);
  }
  CHECK_THROWS_AS(SlicedWasserstein(normal(7, 0), 2), ShapeError);
  CHECK_THROWS_AS(SlicedWasserstein(normal(8, 0), 2, 0), ValueError);
  CHECK_THROWS_AS(SlicedWasserstein(std::vector<double>{}, 2), ShapeError);
}

TEST_CASE("divergence from a mixture: exact samples give its bias", "[benchmarks][metrics]") {
  for (const std::size_t d : {std::size_t{2}, std::size_t{64}}) {
    const auto mixture = two_far_apart(d);
    const std::size_t count = 4000;
    const auto parameters = static_cast<double>(2 * 2 * d + 1);
    const auto found = mixture_divergence(mixture, drawn(mixture, count, 3));
    // 2 N KL is about a chi-squared variable of that many degrees of freedom.
    CHECK_THAT(2 * static_cast<double>(count) * found.total(), WithinAbs(parameters, 4 * std::sqrt(2 * parameters)));
  }
}

TEST_CASE("divergence from a mixture is that of shares, means and variances", "[benchmarks][metrics]") {
  const std::size_t d = 3;
  const auto mixture = two_far_apart(d);
  // Each component as points m +- s e_i sqrt(d), whose mean and variances are exactly those of the component.
  const auto points = [&](std::vector<std::size_t> copies, double scale, double shift) {
    std::vector<double> x;
    for (std::size_t k = 0; k < copies.size(); ++k)
      for (std::size_t copy = 0; copy < copies[k]; ++copy)
        for (std::size_t axis = 0; axis < d; ++axis)
          for (const double sign : {-1.0, 1.0})
            for (std::size_t i = 0; i < d; ++i) {
              const auto& c = mixture.components()[k];
              const double spread = i == axis ? sign * scale * std::sqrt(3.0) : 0;
              x.push_back(c.mean[i] + c.deviation * (spread + shift));
            }
    return x;
  };
  CHECK_THAT(mixture_divergence(mixture, points({1, 3}, 1, 0)).total(), WithinAbs(0, 1e-12));
  const auto shares = mixture_divergence(mixture, points({1, 1}, 1, 0));
  CHECK_THAT(shares.shares, WithinAbs(0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75), 1e-12));
  CHECK_THAT(shares.shapes, WithinAbs(0, 1e-12));
  CHECK_THAT(mixture_divergence(mixture, points({0, 2}, 1, 0)).total(), WithinAbs(std::log(1 / 0.75), 1e-12));
  CHECK_THAT(mixture_divergence(mixture, points({1, 3}, 2, 0)).total(),
             WithinAbs(3 * 0.5 * (4 - 1 - std::log(4.0)), 1e-12));
  CHECK_THAT(mixture_divergence(mixture, points({1, 3}, 1, 0.7)).total(), WithinAbs(3 * 0.5 * 0.49, 1e-12));
}

TEST_CASE("divergence from a mixture rejects broken samples", "[benchmarks][metrics]") {
  const std::size_t d = 64;
  const auto mixture = two_far_apart(d);
  const auto good = drawn(mixture, 1000, 3);
  const double floor = mixture_divergence(mixture, good).total();
  auto wide = good;
  for (double& x : wide) x *= 1.1;
  CHECK(mixture_divergence(mixture, wide).total() > 10 * floor);
  CHECK(mixture_divergence(mixture, normal(1000 * d, 4)).total() > 10 * floor);              // the noise itself
  CHECK(std::isinf(mixture_divergence(mixture, std::vector<double>(10 * d, 2.0)).total()));  // all the same
  CHECK_THROWS_AS(mixture_divergence(mixture, with_nan(good)), ValueError);
  CHECK_THROWS_AS(mixture_divergence(mixture, std::span(good).first(65)), ShapeError);
}

TEST_CASE("Frechet distance between normal distributions is known", "[benchmarks][metrics]") {
  using Eigen::MatrixXd;
  using Eigen::VectorXd;
  const VectorXd zero = VectorXd::Zero(3);
  const VectorXd mean = (VectorXd(3) << 1, -2, 0.5).finished();
  const MatrixXd a = (VectorXd(3) << 4, 1, 0).finished().asDiagonal();
  const MatrixXd b = (VectorXd(3) << 1, 9, 0.25).finished().asDiagonal();
  CHECK_THAT(frechet_distance(moments(mean, a), moments(mean, a)), WithinAbs(0, 1e-12));
  // Diagonal: the sum of (m_a - m_b)^2 + (s_a - s_b)^2; also with a direction that has no variance.
  CHECK_THAT(frechet_distance(moments(zero, a), moments(mean, b)), WithinAbs(5.25 + 1 + 4 + 0.25, 1e-12));

  // Two that do not commute: tr (A B)^(1/2) = sqrt(tr(A B) + 2 sqrt(det(A B))).
  const MatrixXd c = (MatrixXd(2, 2) << 2, 0.9, 0.9, 1).finished();
  const MatrixXd e = (MatrixXd(2, 2) << 1, -0.4, -0.4, 3).finished();
  const double root = std::sqrt((c * e).trace() + 2 * std::sqrt((c * e).determinant()));
  const VectorXd plane = VectorXd::Zero(2);
  const double wanted = c.trace() + e.trace() - 2 * root;
  CHECK((c * e - e * c).norm() > 0.5);
  CHECK_THAT(frechet_distance(moments(plane, c), moments(plane, e)), WithinAbs(wanted, 1e-12));
  CHECK_THAT(frechet_distance(moments(plane, e), moments(plane, c)), WithinAbs(wanted, 1e-12));
  CHECK_THROWS_AS(frechet_distance(moments(plane, c), moments(mean, a)), ShapeError);
}

TEST_CASE("moments of features", "[benchmarks][metrics]") {
  const std::vector<float> features = {1, 2, 3, 6, 5, 1};
  const auto found = feature_statistics(std::span(features), 2);
  CHECK(found.count == 3);
  CHECK_THAT(found.mean[0], WithinAbs(3, 1e-12));
  CHECK_THAT(found.mean[1], WithinAbs(3, 1e-12));
  CHECK_THAT(found.covariance(0, 0), WithinAbs(4, 1e-12));
  CHECK_THAT(found.covariance(0, 1), WithinAbs(-1, 1e-12));
  CHECK_THAT(found.covariance(1, 0), WithinAbs(-1, 1e-12));
  CHECK_THAT(found.covariance(1, 1), WithinAbs(7, 1e-12));
  CHECK_THROWS_AS(feature_statistics(std::span(features).first(2), 2), ShapeError);
  CHECK_THROWS_AS(feature_statistics(std::span(features), 4), ShapeError);
}

TEST_CASE("Frechet distance tells broken features from good ones", "[benchmarks][metrics]") {
  const std::size_t d = 16, count = 1000;
  // Features that depend on each other.
  const auto set = [&](std::uint32_t which) {
    auto x = normal(count * d, which);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (i % d > 0) x[i] = 0.7 * x[i - 1] + 0.5 * x[i];
    return x;
  };
  const auto statistics = [&](const std::vector<double>& x) {
    return feature_statistics(std::span<const double>(x), d);
  };
  const auto real = statistics(set(1));
  const auto good = set(2);
  const double floor = frechet_distance(real, statistics(good));
  CHECK(floor > 0);
  CHECK(floor < 0.2);
  auto shifted = good, shuffled = good;
  for (std::size_t i = 0; i < good.size(); ++i) {
    shifted[i] += 0.5;
    // Each feature of another sample: means and variances stay, only what they have to do with each other is lost.
    shuffled[i] = good[(i + (i % d) * 37 * d) % good.size()];
  }
  CHECK(frechet_distance(real, statistics(shifted)) > 10 * floor);
  CHECK(frechet_distance(real, statistics(shuffled)) > 10 * floor);
  CHECK_THROWS_AS(statistics(with_nan(good)), ValueError);
}
