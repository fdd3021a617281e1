#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/statistics.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::tests::kolmogorov_smirnov;
using easy_diffusion::tests::mean_product;

namespace {

struct ThreadSetting {
  int before = easy_diffusion::num_threads();
  ~ThreadSetting() { easy_diffusion::set_num_threads(before); }
};

}  // namespace

TEST_CASE("dW and dZ have their variances and their covariance", "[sde][noise]") {
  const std::size_t n = 400'000;
  for (const double dt : {0.25, -0.25}) {
    const sde::Step step{3, 1.0, dt};
    std::vector<double> w(n), z(n), only(n);
    const sde::BrownianNoise noise{.seed = 5};
    noise.increment(step, w, z);
    noise.increment(step, only);
    CHECK(w == only);

    const double h = std::abs(dt);
    const double sigma_w = std::sqrt(h);
    const double sigma_z = std::sqrt(h * h * h / 3);
    const double se = 1 / std::sqrt(static_cast<double>(n));
    const std::vector<double> ones(n, 1.0);
    CHECK_THAT(mean_product(w, ones), WithinAbs(0, 4 * sigma_w * se));
    CHECK_THAT(mean_product(z, ones), WithinAbs(0, 4 * sigma_z * se));
    CHECK_THAT(mean_product(w, w), WithinAbs(h, 4 * std::sqrt(2.0) * h * se));
    CHECK_THAT(mean_product(z, z), WithinAbs(h * h * h / 3, 4 * std::sqrt(2.0) * sigma_z * sigma_z * se));
    // The integral runs with u, so its sign is that of dt.
    const double covariance = 0.5 * dt * h;
    CHECK_THAT(
        mean_product(w, z),
        WithinAbs(covariance, 4 * std::sqrt(sigma_w * sigma_w * sigma_z * sigma_z + covariance * covariance) * se));
  }
}

TEST_CASE("increments pass Kolmogorov-Smirnov and are not correlated along elements and steps", "[sde][noise]") {
  const std::size_t n = 200'000;
  const sde::BrownianNoise noise{.seed = 11};
  std::vector<double> first(n), second(n);
  std::vector<float> floats(n);
  noise.increment({0, 0, 0.04}, first);
  noise.increment({1, 0, 0.04}, second);
  noise.increment({0, 0, 0.04}, floats);
  // The second deviate of dZ = dt/2 (dW + sqrt(dt/3) xi).
  std::vector<double> again(n), other(n);
  noise.increment({0, 0, 0.04}, again, other);
  for (std::size_t i = 0; i < n; ++i) other[i] = other[i] / 0.02 - again[i];
  // Exceeded once in a thousand.
  CHECK(kolmogorov_smirnov(first, 0.2) < 1.95);
  CHECK(kolmogorov_smirnov(second, 0.2) < 1.95);
  CHECK(kolmogorov_smirnov(floats, 0.2) < 1.95);
  CHECK(kolmogorov_smirnov(other, std::sqrt(0.04 / 3)) < 1.95);
  CHECK_FALSE(kolmogorov_smirnov(first, 0.205) < 1.95);  // the test itself notices 2.5 per cent

  const double bound = 4 * 0.04 / std::sqrt(static_cast<double>(n));
  CHECK_THAT(mean_product(first, second), WithinAbs(0, bound));
  CHECK_THAT(mean_product(first, other), WithinAbs(0, bound));
  for (const std::size_t lag : {1U, 2U, 3U, 4U, 64U, 128U}) {
    const std::vector<double> moved(first.begin() + static_cast<std::ptrdiff_t>(lag), first.end());
    CHECK_THAT(mean_product(moved, first), WithinAbs(0, bound));
  }
}

TEMPLATE_TEST_CASE("increments depend on no split, thread or state", "[sde][noise]", float, double) {
  const ThreadSetting setting;
  const std::int64_t n = 100'003;
  const sde::Step step{7, 0.5, -0.125};
  const sde::BrownianNoise noise{.seed = 3, .first_element = 5};
  easy_diffusion::set_num_threads(1);
  Tensor<TestType> w({n}), z({n});
  noise.increment(step, w, z);

  easy_diffusion::set_num_threads(2);
  Tensor<TestType> w2({n}), z2({n});
  noise.increment(step, w2, z2);
  CHECK(std::equal(w.begin(), w.end(), w2.begin()));
  CHECK(std::equal(z.begin(), z.end(), z2.begin()));

  for (const std::int64_t cut : {1, 2, 3, 63, 50'001, 99'999}) {
    auto tail_noise = noise;
    tail_noise.first_element += static_cast<std::uint64_t>(cut);
    Tensor<TestType> tail({n - cut}), tail_z({n - cut});
    tail_noise.increment(step, tail, tail_z);
    CHECK(std::equal(tail.begin(), tail.end(), w.begin() + cut));
    CHECK(std::equal(tail_z.begin(), tail_z.end(), z.begin() + cut));
  }

  std::array<std::array<TestType, 3>, 7> nested{};
  noise.increment(step, nested);
  for (std::size_t i = 0; i < 21; ++i) CHECK(nested[i / 3][i % 3] == w[static_cast<std::int64_t>(i)]);
  TestType number = 0;
  noise.increment(step, number);
  CHECK(number == w[0]);
}

TEST_CASE("other seeds, streams and steps give other increments", "[sde][noise]") {
  const auto draw = [](const sde::BrownianNoise& noise, std::int64_t index) {
    std::array<double, 4> w{};
    noise.increment({index, 0, 1}, w);
    return w;
  };
  const auto base = draw({.seed = 1}, 0);
  CHECK(base == draw({.seed = 1}, 0));
  CHECK(base != draw({.seed = 2}, 0));
  CHECK(base != draw({.seed = 1}, 1));
  CHECK(base != draw({.seed = 1, .stream = easy_diffusion::streams::user}, 0));
  CHECK(base[0] == easy_diffusion::normal<double>({1, easy_diffusion::streams::brownian, 0}, 0));
  CHECK_THROWS_AS(draw({.seed = 1}, -1), easy_diffusion::ValueError);
  CHECK_THROWS_AS(draw({.seed = 1}, std::int64_t{1} << 32), easy_diffusion::ValueError);
}

TEST_CASE("a path in long steps is the path in short ones", "[sde][noise]") {
  const sde::BrownianNoise fine{.seed = 21};
  using State = std::vector<double>;
  for (const double dt : {0.5, -0.5}) {
    sde::CoarseNoise<sde::BrownianNoise, State> coarse(fine, 8);
    State w(3), z(3), w_only(3), sum(3), integral(3), part(3), part_z(3);
    coarse.increment({2, 1, dt}, w, z);
    coarse.increment({2, 1, dt}, w_only);
    for (int i = 0; i < 8; ++i) {
      fine.increment({16 + i, 0, dt / 8}, part, part_z);
      for (std::size_t j = 0; j < 3; ++j) {
        integral[j] += part_z[j] + sum[j] * dt / 8;
        sum[j] += part[j];
      }
    }
    for (std::size_t j = 0; j < 3; ++j) {
      CHECK_THAT(w[j], WithinAbs(sum[j], 1e-14));
      CHECK_THAT(w_only[j], WithinAbs(sum[j], 1e-14));
      CHECK_THAT(z[j], WithinAbs(integral[j], 1e-14));
    }
  }

  // The integral over a long step has the distribution of one drawn at once.
  const std::size_t n = 100'000;
  sde::CoarseNoise<sde::BrownianNoise, State> coarse(fine, 4);
  State w(n), z(n);
  coarse.increment({0, 0, 1}, w, z);
  const double se = 1 / std::sqrt(static_cast<double>(n));
  CHECK_THAT(mean_product(w, w), WithinAbs(1, 4 * std::sqrt(2.0) * se));
  CHECK_THAT(mean_product(z, z), WithinAbs(1.0 / 3, 4 * std::sqrt(2.0) / 3 * se));
  CHECK_THAT(mean_product(w, z), WithinAbs(0.5, 4 * std::sqrt(1.0 / 3 + 0.25) * se));

  CHECK_THROWS_AS((sde::CoarseNoise<sde::BrownianNoise, State>(fine, 0)), easy_diffusion::ValueError);
}

TEST_CASE("given increments are replayed", "[sde][noise]") {
  const sde::GivenIncrements<double> noise({0.5, -1.0}, {0.25, 0.125});
  double x = 1;
  sde::integrate(sde::EulerMaruyama<double>{}, sde::BrownianMotion(2), x, sde::TimeGrid::uniform(0, 1, 2), noise);
  CHECK(x == 0.0);
  double w = 0, z = 0;
  noise.increment({1, 0, 1}, w, z);
  CHECK(z == 0.125);
  CHECK_THROWS_WITH(
      sde::integrate(sde::EulerMaruyama<double>{}, sde::BrownianMotion(2), x, sde::TimeGrid::uniform(0, 1, 3), noise),
      Catch::Matchers::ContainsSubstring("step 2"));
  CHECK_THROWS_AS(sde::GivenIncrements<double>({1, 2}, {1}), easy_diffusion::ShapeError);
  const sde::GivenIncrements<double> without({0.5});
  CHECK_THROWS_AS(without.increment({0, 0, 1}, w, z), easy_diffusion::ValueError);
}

namespace {

/// Brownian noise that gives whole states only.
struct WholeNoise {
  sde::BrownianNoise noise;
  template <sde::State S>
  void increment(const sde::Step& step, S& dw) const {
    noise.increment(step, dw);
  }
  template <sde::State S>
  void increment(const sde::Step& step, S& dw, S& dz) const {
    noise.increment(step, dw, dz);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("noise that is added piece by piece moves a state as noise that is stored does", "[sde][noise]",
                   float, double) {
  using S = std::vector<TestType>;
  static_assert(sde::PiecewiseNoise<sde::BrownianNoise, TestType> && !sde::PiecewiseNoise<WholeNoise, TestType>);
  const ThreadSetting restore;
  const auto score = [](const S& x, double, S& out) {
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = -x[i];
  };
  for (const std::size_t n : {1U, 7U, 2050U, 40003U})
    for (const int threads : {1, 3}) {
      easy_diffusion::set_num_threads(threads);
      const sde::BrownianNoise noise{.seed = 9, .first_element = 6};
      const auto check = [&](const auto& system) {
        S pieces(n, TestType(0.5)), whole = pieces;
        sde::EulerMaruyama<S> stepper;
        for (std::int64_t i = 0; i < 3; ++i) {
          stepper.step(system, pieces, {i, 0.5, -0.01}, noise);
          stepper.step(system, whole, {i, 0.5, -0.01}, WholeNoise{noise});
        }
        CHECK(pieces == whole);
      };
      check(sde::BrownianMotion(2));
      check(sde::reverse(sde::VarianceExploding(25), score));
    }
}
