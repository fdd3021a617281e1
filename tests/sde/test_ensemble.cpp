/// Ensembles, predictor-corrector sampling, probability flow and reverse equations on exact scores.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

#include "sde/gaussian_mixture.hpp"

namespace sde = easy_diffusion::sde;
namespace streams = easy_diffusion::streams;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;
using namespace easy_diffusion::tests;

namespace {

struct ThreadSetting {
  int before = easy_diffusion::num_threads();
  ~ThreadSetting() { easy_diffusion::set_num_threads(before); }
};

/// Score of data N(mean, spread^2) under a process.
template <class Process>
struct GaussianScore {
  Process process;
  double mean, spread;
  template <sde::State S>
  void operator()(const S& x, double t, S& out) const {
    const double a = process.mean_factor(t), s = process.marginal_std(t);
    sde::update_elements(
        [m = a * mean, v = a * a * spread * spread + s * s](const auto& e, auto& o) {
          using T = std::remove_reference_t<decltype(o)>;
          o = static_cast<T>((m - static_cast<double>(e)) / v);
        },
        x, out);
  }
};

template <class T>
sde::Moments moments_of(std::span<const T> x) {
  sde::Moments result;
  for (const T e : x) result.merge({1, static_cast<double>(e), 0});
  return result;
}

}  // namespace

TEST_CASE("an ensemble in blocks has the bits of one state, for any threads and any split", "[sde][ensemble]") {
  const ThreadSetting setting;
  const std::int64_t n = 10'007;
  const auto grid = sde::TimeGrid::uniform(0, 1, 20);
  const sde::GeometricBrownianMotion process(0.25, 0.5);
  const sde::BrownianNoise noise{.seed = 12};
  Tensor<float> whole({n}, 1.0F);
  sde::integrate(sde::Sri1W1<Tensor<float>>{}, process, whole, grid, noise);
  for (const int threads : {1, 2}) {
    easy_diffusion::set_num_threads(threads);
    Tensor<float> x({n}, 1.0F);
    sde::integrate_ensemble<sde::Sri1W1>(process, std::span<float>(x.data(), static_cast<std::size_t>(n)), grid, noise);
    CHECK(std::equal(x.begin(), x.end(), whole.begin()));
  }
  for (const std::size_t cut : {1U, 1024U, 9999U}) {
    std::vector<float> x(static_cast<std::size_t>(n), 1.0F);
    const std::span<float> all(x);
    sde::BrownianNoise rest = noise;
    rest.first_element = cut;
    sde::integrate_ensemble<sde::Sri1W1>(process, all.first(cut), grid, noise);
    sde::integrate_ensemble<sde::Sri1W1>(process, all.subspan(cut), grid, rest);
    CHECK(std::equal(x.begin(), x.end(), whole.begin()));
  }
  std::vector<double> few(3, std::numeric_limits<double>::infinity());
  CHECK_THROWS_WITH(sde::integrate_ensemble<sde::EulerMaruyama>(process, std::span<double>(few), grid, noise,
                                                                {.non_finite = sde::NonFinite::fail}),
                    ContainsSubstring("step 1"));
}

TEST_CASE("an ensemble of small states has the bits of its single paths", "[sde][ensemble]") {
  const ThreadSetting setting;
  const auto grid = sde::TimeGrid::uniform(1, 1e-2, 30);
  const sde::VariancePreserving<> process;
  const MixtureScore<sde::VariancePreserving<>> score{process, {{0.5, {-1, 0}, 0.3}, {0.5, {1, 0.5}, 0.2}}};
  const auto system = sde::reverse(process, score);
  const sde::BrownianNoise noise{.seed = 3, .first_element = 100};
  std::vector<Point> one(500, Point{0.5, 0.5}), two = one;
  easy_diffusion::set_num_threads(1);
  sde::integrate_paths(sde::EulerMaruyama<Point>{}, system, std::span<Point>(one), grid, noise);
  easy_diffusion::set_num_threads(2);
  sde::integrate_paths(sde::EulerMaruyama<Point>{}, system, std::span<Point>(two), grid, noise);
  CHECK(one == two);
  Point single{0.5, 0.5};
  sde::BrownianNoise own = noise;
  own.first_element += 2 * 321;
  sde::integrate(sde::EulerMaruyama<Point>{}, system, single, grid, own);
  CHECK(one[321] == single);
}

TEST_CASE("processes: marginals solve their moment equations", "[sde][process]") {
  const auto check = [](const auto& process, double last) {
    // d alpha/dt = a alpha and d var/dt = 2 a var + g^2, by the midpoint rule.
    const int n = 20'000;
    double alpha = 1, variance = 0;
    for (int i = 0; i < n; ++i) {
      const double t = last * (i + 0.5) / n, h = last / n, a = process.linear_drift(t), g = process.diffusion(t);
      const double middle = variance + 0.5 * h * (2 * process.linear_drift(last * i / n) * variance +
                                                  std::pow(process.diffusion(last * i / n), 2));
      alpha *= std::exp(a * h);
      variance += h * (2 * a * middle + g * g);
    }
    CHECK_THAT(process.mean_factor(last), WithinRel(alpha, 1e-5));
    CHECK_THAT(process.marginal_std(last), WithinRel(std::sqrt(variance), 1e-5));
    CHECK_THAT(process.linear_integral(0.2 * last, last),
               WithinAbs(std::log(process.mean_factor(last) / process.mean_factor(0.2 * last)), 1e-10));
    CHECK(process.marginal_std(0) == 0);
    CHECK(process.mean_factor(0) == 1);
    CHECK_THROWS_AS(process.marginal_std(-0.1), ValueError);
  };
  check(sde::OrnsteinUhlenbeck(1.5, 0, 0.7), 1);
  check(sde::VarianceExploding(5), 1);
  check(sde::GeometricVarianceExploding(0.1, 10), 1);
  check(sde::VariancePreserving<>(), 0.7);
  check(sde::CosineVariancePreserving(), 0.9);
  check(sde::SubVariancePreserving<>(), 0.7);
  CHECK_THAT(sde::OrnsteinUhlenbeck(2, 3).mean_offset(0.5), WithinRel(3 * (1 - std::exp(-1.0)), 1e-14));
  CHECK_THAT(sde::CosineVariancePreserving().mean_factor(0.5),
             WithinRel(std::cos(0.508 / 1.008 * 1.5707963267948966) / std::cos(0.008 / 1.008 * 1.5707963267948966), 1e-12));
  const sde::GeometricBrownianMotion growth(0.5, 0.4);
  CHECK_THAT(growth.marginal_mean(2, 1), WithinRel(2 * std::exp(0.5), 1e-14));
  CHECK_THAT(growth.marginal_std(2, 1), WithinRel(2 * std::exp(0.5) * std::sqrt(std::expm1(0.16)), 1e-14));
  CHECK_THAT(growth.exact(2, 1, 0.3), WithinRel(2 * std::exp(0.42 + 0.12), 1e-14));
  CHECK_THROWS_AS(sde::OrnsteinUhlenbeck(0), ValueError);
  CHECK_THROWS_AS(sde::GeometricBrownianMotion(0, -1), ValueError);
  CHECK_THROWS_AS(sde::GeometricVarianceExploding(1, 1), ValueError);
  CHECK_THROWS_AS(sde::LinearBeta(-1), ValueError);
  CHECK_THROWS_AS(sde::CosineBeta(2), ValueError);
  CHECK_THROWS_AS(sde::CosineVariancePreserving().marginal_std(1), ValueError);
}

TEST_CASE("reverse equation and probability flow lead from the prior back to the data", "[sde][process][identity]") {
  const double mean = 0.5, spread = 0.3;
  const auto check = [&](const auto& process, double end) {
    const GaussianScore<std::remove_cvref_t<decltype(process)>> score{process, mean, spread};
    const auto system = sde::reverse(process, score);
    const std::int64_t n = 8000;
    // The marginal at the end itself as the start.
    const double a = process.mean_factor(end), s = process.marginal_std(end);
    Tensor<double> start({n});
    sde::draw_normal(start, std::sqrt(a * a * spread * spread + s * s), {3, streams::initial_state, 0});
    for (double& e : start) e += a * mean;
    const double se = spread / std::sqrt(static_cast<double>(n));
    const auto grid = sde::TimeGrid::quadratic(end, 1e-3, 200);
    const double last_a = process.mean_factor(1e-3), last_s = process.marginal_std(1e-3);
    const double expected = std::sqrt(last_a * last_a * spread * spread + last_s * last_s);
    Tensor<double> x = start;
    sde::integrate(sde::Sra1<Tensor<double>>{}, system, x, grid, sde::BrownianNoise{.seed = 3});
    const auto moments = sde::MomentsOf{}(x);
    CHECK_THAT(moments.mean, WithinAbs(last_a * mean, 4 * se + 2e-3));
    CHECK_THAT(std::sqrt(moments.variance()), WithinAbs(expected, 4 * se + 2e-3));
    // The flow keeps quantiles: its map is known, element by element.
    Tensor<double> y = start, z = start;
    sde::integrate(sde::Heun<Tensor<double>>{}, system.probability_flow(), y, grid);
    sde::integrate(sde::ExponentialHeun<Tensor<double>>{}, sde::probability_flow(process, score), z, grid);
    const double start_std = std::sqrt(a * a * spread * spread + s * s);
    easy_diffusion::test::Worst worst, worst_exponential;
    for (std::int64_t i = 0; i < n; ++i) {
      const double goal = last_a * mean + expected / start_std * (start[i] - a * mean);
      worst.see(std::abs(y[i] - goal));
      worst_exponential.see(std::abs(z[i] - goal));
    }
    CHECK(worst.value() < 0.02);
    CHECK(worst_exponential.value() < 0.02);
  };
  check(sde::VarianceExploding(5), 1);
  check(sde::GeometricVarianceExploding(0.01, 5), 1);
  check(sde::VariancePreserving<>(), 1);
  check(sde::CosineVariancePreserving(), 0.95);
  check(sde::SubVariancePreserving<>(), 1);
  check(sde::OrnsteinUhlenbeck(2, 0, 1), 1);
  // A mean that is not zero: drift and flow at one point.
  const sde::OrnsteinUhlenbeck process(2, 3, 1.5);
  const auto flow = sde::probability_flow(process, [](const double&, double, double& out) { out = 0.25; });
  double drift = 0, nonlinear = 0;
  flow.drift(1.0, 0.5, drift);
  flow.nonlinear_drift(1.0, 0.5, nonlinear);
  CHECK_THAT(drift, WithinAbs(2 * (3 - 1) - 0.5 * 2.25 * 0.25, 1e-14));
  CHECK_THAT(nonlinear + flow.linear_drift(0.5) * 1.0, WithinAbs(drift, 1e-14));
}

TEST_CASE("quadratic and Karras grids", "[sde][grid]") {
  const auto quadratic = sde::TimeGrid::quadratic(1, 0, 4);
  CHECK(quadratic.time(0) == 1);
  CHECK_THAT(quadratic.time(1), WithinAbs(9.0 / 16, 1e-15));
  CHECK(quadratic.time(4) == 0);
  const auto karras = sde::TimeGrid::karras(80, 0.002, 17);
  CHECK(karras.steps() == 17);
  CHECK(karras.time(0) == 80);
  CHECK(karras.time(17) == 0.002);
  const double first = std::pow(80.0, 1.0 / 7), last = std::pow(0.002, 1.0 / 7);
  CHECK_THAT(karras.time(8), WithinRel(std::pow(first + 8.0 / 17 * (last - first), 7), 1e-13));
  CHECK(sde::TimeGrid::karras(80, 0.002, 1).steps() == 1);
  CHECK_THROWS_AS(sde::TimeGrid::karras(80, -1, 4), ValueError);
  CHECK_THROWS_AS(sde::TimeGrid::karras(80, 1, 4, 0), ValueError);
  CHECK_THROWS_AS(sde::TimeGrid::karras(80, 1, 0), ValueError);
  CHECK_THROWS_AS(sde::TimeGrid::quadratic(1, 1, 4), ValueError);
}

TEST_CASE("Langevin correctors lead to the marginal, sample by sample", "[sde][corrector]") {
  using State = Tensor<double>;
  const sde::VarianceExploding process(5);
  const double t = 0.5, mean = 0.5, spread = 0.3;
  const GaussianScore<sde::VarianceExploding> score{process, mean, spread};
  const double goal = std::sqrt(spread * spread + std::pow(process.marginal_std(t), 2));
  const std::int64_t samples = 300, each = 64;
  const auto run = [&](auto corrector, State x, std::uint64_t first) {
    const sde::BrownianNoise noise{.seed = 4, .first_element = first, .stream = streams::corrector};
    for (std::int64_t i = 0; i < 60; ++i) corrector(process, score, x, t, i, noise);
    return x;
  };
  const sde::CorrectorConfig config{.signal_to_noise = 0.2, .corrections = 3, .samples = samples};
  const State start({samples, each}, 4.0);
  const State langevin = run(sde::LangevinCorrector<State>(config), start, 0);
  const State annealed = run(sde::AnnealedLangevinCorrector<State>(config), start, 0);
  for (const State* x : {&langevin, &annealed}) {
    const auto moments = sde::MomentsOf{}(*x);
    CHECK_THAT(moments.mean, WithinAbs(mean, 0.05));
    CHECK_THAT(std::sqrt(moments.variance()), WithinRel(goal, 0.06));  // steps of finite length
  }
  // A sample does not know its batch.
  sde::CorrectorConfig alone = config;
  alone.samples = 1;
  const State single = run(sde::LangevinCorrector<State>(alone), State({1, each}, 4.0), 7 * each);
  CHECK(std::equal(single.begin(), single.end(), langevin.begin() + 7 * each));
  CHECK_THROWS_AS(sde::LangevinCorrector<State>({.signal_to_noise = 0}), ValueError);
  CHECK_THROWS_AS(sde::LangevinCorrector<State>({.corrections = 0}), ValueError);
  State odd({5}, 1.0);
  sde::LangevinCorrector<State> two({.samples = 2});
  CHECK_THROWS_AS(two(process, score, odd, t, 0, sde::BrownianNoise{}), easy_diffusion::ShapeError);
}

TEST_CASE("predictor-corrector sampling is nearer to the data than its predictor", "[sde][corrector]") {
  using State = Tensor<double>;
  const sde::VarianceExploding process(5);
  const GaussianScore<sde::VarianceExploding> score{process, 0.5, 0.3};
  const auto system = sde::reverse(process, score);
  const auto grid = sde::TimeGrid::uniform(1, 1e-3, 25);
  const std::int64_t n = 16'000;
  State x({n}), y({n});
  sde::draw_normal(x, process.prior_std(), {3, streams::initial_state, 0});
  y = x;
  const sde::BrownianNoise noise{.seed = 3}, other{.seed = 3, .stream = streams::corrector};
  sde::integrate(sde::EulerMaruyama<State>{}, system, x, grid, noise);
  sde::AnnealedLangevinCorrector<State> corrector({.signal_to_noise = 0.3, .corrections = 2});
  std::int64_t looks = 0;
  const auto result =
      sde::predictor_corrector(sde::EulerMaruyama<State>{}, system, y, grid, corrector, noise, other, {},
                               [&looks](std::int64_t, double, const State&) { ++looks; });
  CHECK(result.steps == 25);
  CHECK(looks == 26);
  const double plain = std::abs(std::sqrt(sde::MomentsOf{}(x).variance()) - 0.3);
  const double corrected = std::abs(std::sqrt(sde::MomentsOf{}(y).variance()) - 0.3);
  CHECK(corrected < plain);
}
