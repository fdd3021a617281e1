/// The Brownian path that can be asked for any interval, and adaptive steps on it.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

#include "sde/paths.hpp"
#include "sde/statistics.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;
using namespace easy_diffusion::tests;
using sde::Calculus;
using sde::NoiseType;

namespace {
using State = std::vector<double>;
}

TEST_CASE("a Brownian tree answers the same in any order, and its parts add up", "[sde][noise]") {
  const std::size_t n = 5;
  for (const bool falls : {false, true}) {
    const sde::BrownianTreeConfig config{
        .seed = 4, .start = falls ? 1.0 : -0.5, .end = falls ? -0.5 : 1.0, .depth = 20};
    const auto ask = [&](sde::BrownianTree<State>& tree, double from, double to) {
      State w(n), z(n);
      tree.increment({0, from, to - from}, w, z);
      return std::array<State, 2>{w, z};
    };
    sde::BrownianTree<State> tree(config), other(config);
    const std::array<double, 4> times =
        falls ? std::array<double, 4>{0.9, 0.5, 0.1234, -0.4} : std::array<double, 4>{-0.4, 0.1234, 0.5, 0.9};
    const auto whole = ask(tree, times[0], times[3]);
    std::array<std::array<State, 2>, 3> parts, again;
    for (const std::size_t i : {0U, 1U, 2U}) parts[i] = ask(tree, times[i], times[i + 1]);
    for (const std::size_t i : {2U, 0U, 1U}) again[i] = ask(other, times[i], times[i + 1]);
    CHECK(parts == again);
    CHECK(ask(other, times[0], times[3]) == whole);
    for (std::size_t e = 0; e < n; ++e) {
      double w = 0, z = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        z += parts[i][1][e] + (times[i + 1] - times[i]) * w;
        w += parts[i][0][e];
      }
      CHECK_THAT(whole[0][e], WithinAbs(w, 1e-13));
      CHECK_THAT(whole[1][e], WithinAbs(z, 1e-5));  // times are rounded to the span / 2^20
    }
    State value(n), dw(n);
    tree.value(times[2], value);
    tree.increment({0, config.start, times[2] - config.start}, dw);
    CHECK(value == dw);
    tree.value(config.start, value);
    CHECK(value == State(n));
    // A part of the elements has the noise of its place.
    sde::BrownianTreeConfig tail = config;
    tail.first_element = 3;
    sde::BrownianTree<State> tail_tree(tail);
    State tail_w(2);
    tail_tree.increment({0, times[0], times[3] - times[0]}, tail_w);
    CHECK(std::equal(tail_w.begin(), tail_w.end(), whole[0].begin() + 3));
  }
}

TEST_CASE("increments of a Brownian tree have the right distribution", "[sde][noise]") {
  const std::size_t n = 100'000;
  sde::BrownianTree<State> tree({.seed = 9, .start = 0, .end = 2, .depth = 12});
  const double unit = 2.0 / 4096;
  // Dyadic or not, long or short.
  const std::vector<std::array<double, 2>> intervals{
      {0, 2}, {0, 1}, {0.5, 0.75}, {0.5, 0.5 + unit}, {3 * unit, 1.5 + 5 * unit}, {1 - unit, 1 + unit}};
  State w(n), z(n);
  for (const auto& [from, to] : intervals) {
    const double dt = to - from;
    tree.increment({0, from, dt}, w, z);
    CAPTURE(from, to);
    CHECK(kolmogorov_smirnov(w, std::sqrt(dt)) < 1.95);
    CHECK(kolmogorov_smirnov(z, std::sqrt(dt * dt * dt / 3)) < 1.95);
    const double se = 1 / std::sqrt(static_cast<double>(n));
    CHECK_THAT(mean_product(w, z) / (0.5 * dt * dt), WithinAbs(1, 4 * se * std::sqrt(1.0 / 3 + 0.25) / 0.5));
    CHECK_THAT(mean_product(w, w) / dt, WithinAbs(1, 4 * se * std::sqrt(2.0)));
  }
  // Neighbours are independent, across the middle of the span and elsewhere; so are elements.
  State left(n), right(n), left_z(n), right_z(n);
  for (const double at : {1.0, 0.5, 0.7}) {
    const double h = 0.125;
    tree.increment({0, at - h, h}, left, left_z);
    tree.increment({0, at, h}, right, right_z);
    const double bound = 4 / std::sqrt(static_cast<double>(n));
    CHECK_THAT(mean_product(left, right) / h, WithinAbs(0, bound));
    CHECK_THAT(mean_product(left_z, right) / (h * h / std::sqrt(3.0)), WithinAbs(0, bound));
    CHECK_THAT(mean_product(left_z, right_z) / (h * h * h / 3), WithinAbs(0, bound));
    for (const std::ptrdiff_t lag : {1, 2, 4}) {
      const State moved(left.begin() + lag, left.end());
      CHECK_THAT(mean_product(moved, left) / h, WithinAbs(0, bound));
    }
  }
}

TEST_CASE("a Brownian tree refuses what it cannot answer", "[sde][noise]") {
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(sde::BrownianTree<double>({.start = 1, .end = 1}), ValueError);
  CHECK_THROWS_AS(sde::BrownianTree<double>({.start = 0, .end = infinity}), ValueError);
  CHECK_THROWS_AS(sde::BrownianTree<double>({.depth = 0}), ValueError);
  CHECK_THROWS_AS(sde::BrownianTree<double>({.depth = 32}), ValueError);
  sde::BrownianTree<double> tree({.depth = 4});
  double w = 0;
  CHECK_THROWS_WITH(tree.increment({0, 0.5, 1}, w), ContainsSubstring("got 1.5"));
  CHECK_THROWS_AS(tree.increment({0, 0.5, 0.01}, w), ValueError);
  CHECK_THROWS_AS(tree.increment({0, 0.5, -0.25}, w), ValueError);
}

TEST_CASE("an antithetic pair has opposite noise", "[sde][noise]") {
  const sde::BrownianNoise noise{.seed = 1};
  sde::Antithetic<sde::BrownianNoise> other(noise);
  State w(4), z(4), v(4), y(4);
  noise.increment({2, 0, 0.5}, w, z);
  other.increment({2, 0, 0.5}, v, y);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(v[i] == -w[i]);
    CHECK(y[i] == -z[i]);
  }
  // A mean over pairs has no error at all where the result is linear in the noise.
  State x(100, 1.0), a(100, 1.0);
  const auto grid = sde::TimeGrid::uniform(0, 1, 10);
  const sde::OrnsteinUhlenbeck process(2, 0, 1);
  sde::integrate(sde::EulerMaruyama<State>{}, process, x, grid, noise);
  sde::integrate(sde::EulerMaruyama<State>{}, process, a, grid, other);
  for (std::size_t i = 0; i < 100; ++i) CHECK_THAT(0.5 * (x[i] + a[i]), WithinAbs(std::pow(0.8, 10), 1e-14));
}

namespace {

/// Error at the end of adaptive runs of many paths, and how often a step was thrown away.
template <class Stepper, class Problem>
std::array<double, 3> adaptive_error(double tolerance) {
  double sum = 0, rejected = 0, steps = 0;
  const int paths = 200;
  for (int i = 0; i < paths; ++i) {
    sde::BrownianTree<double> tree({.seed = 6, .depth = 20, .first_element = static_cast<std::uint64_t>(i)});
    double x = 0.5, w = 0;
    const auto result = sde::integrate_adaptive(Stepper{}, Problem{}, x, tree,
                                                {.tolerances = {tolerance, tolerance}, .first_level = 2});
    tree.value(1, w);
    sum += std::abs(x - Problem::exact(0.5, 1, w)) / (1 + std::abs(x));
    rejected += static_cast<double>(result.rejected);
    steps += static_cast<double>(result.steps);
    CHECK(result.t == 1);
  }
  return {sum / paths, rejected / paths, steps / paths};
}

template <class Stepper, class Problem>
void check_adaptive(double tolerance) {
  const auto coarse = adaptive_error<Stepper, Problem>(tolerance);
  const auto fine = adaptive_error<Stepper, Problem>(tolerance / 30);
  CAPTURE(coarse[0], fine[0], coarse[1], fine[1], coarse[2], fine[2]);
  CHECK(fine[0] < 0.4 * coarse[0]);
  CHECK(coarse[1] > 0);
  CHECK(fine[2] > 1.5 * coarse[2]);
  CHECK(fine[0] < 20 * tolerance / 30);
}

}  // namespace

TEST_CASE("adaptive SDE steps converge on the one path, whatever was rejected", "[sde][adaptive]") {
  using Diagonal = HyperbolicSine<Calculus::ito, NoiseType::diagonal>;
  using Heun = HyperbolicSine<Calculus::stratonovich, NoiseType::diagonal>;
  check_adaptive<sde::Sri1W1<double>, Diagonal>(3e-2);
  check_adaptive<sde::Sri2W1<double>, Diagonal>(3e-2);
  check_adaptive<sde::StratonovichHeun<double>, Heun>(1e-1);
  check_adaptive<sde::Sra1<double>, Additive>(3e-3);

  // A tensor, a reverse equation in falling time, and observers.
  const auto system = sde::reverse(sde::VarianceExploding(5), [](const Tensor<double>& x, double t, Tensor<double>& s) {
    const double std = sde::VarianceExploding(5).marginal_std(t);
    sde::update_elements([v = 1 + std * std](const auto& e, auto& o) { o = -e / v; }, x, s);
  });
  Tensor<double> x({50}, 2.0);
  sde::BrownianTree<Tensor<double>> tree({.seed = 2, .start = 1, .end = 1e-3, .depth = 20});
  sde::RecordEvery<Tensor<double>> record(1);
  const auto result = sde::integrate_adaptive(sde::Sra1<Tensor<double>>{}, system, x, tree, {}, record);
  REQUIRE(record.times().size() == static_cast<std::size_t>(result.steps) + 1);
  CHECK(std::is_sorted(record.times().rbegin(), record.times().rend()));
  CHECK(record.times().back() == 1e-3);
  Tensor<double> y({50}, 2.0);
  sde::integrate(sde::Sra1<Tensor<double>>{}, system, y, sde::TimeGrid::uniform(1, 1e-3, 4096), tree);
  easy_diffusion::test::Worst worst;
  for (std::int64_t i = 0; i < 50; ++i) worst.see(std::abs(x[i] - y[i]));
  CHECK(worst.value() < 0.02);

  double z = 1;
  sde::BrownianTree<double> shallow({.depth = 3});
  const Diagonal diagonal;
  sde::Sri1W1<double> stepper;
  CHECK_THROWS_WITH(sde::integrate_adaptive(stepper, diagonal, z, shallow, {.tolerances = {1e-9, 1e-9}, .first_level = 1}),
                    ContainsSubstring("too coarse"));
  CHECK_THROWS_AS(sde::integrate_adaptive(stepper, diagonal, z, shallow, {.tolerances = {0, 1}}), ValueError);
  CHECK_THROWS_AS(sde::integrate_adaptive(stepper, diagonal, z, shallow, {.tolerances = {}, .first_level = 4}), ValueError);
  CHECK_THROWS_WITH(
      sde::integrate_adaptive(stepper, diagonal, z, shallow, {.tolerances = {1, 1}, .first_level = 3, .max_steps = 2}),
      ContainsSubstring("did not suffice"));
}
