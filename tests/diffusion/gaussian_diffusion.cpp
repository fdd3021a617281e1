// The discrete chain: levels and posteriors, under strides too, and the step that an output stands for.

#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

const std::vector<std::int64_t> strided = {2, 10, 333, 640, 999};

double log_posterior(const Schedule& schedule, std::int64_t now, std::int64_t then) {
  const double a = schedule.alpha_bar(now), b = schedule.alpha_bar(then);
  return std::log((1 - a / b) * (1 - b) / (1 - a));
}

}  // namespace

TEST_CASE("a chain's betas and posteriors are those of its own timesteps", "[diffusion][chain]") {
  const auto schedule = Schedule::linear();
  const GaussianDiffusion full(schedule), few(schedule, strided);
  REQUIRE(full.steps() == 1000);
  REQUIRE(few.steps() == 5);
  for (std::int64_t t = 0; t < 1000; ++t) {
    CHECK(full.timestep(t) == t);
    CHECK_THAT(full.transition(t).beta, WithinRel(schedule.beta(t), 1e-11));
  }
  CHECK(few.timestep(-1) == -1);
  CHECK(few.level(-1).is_clean());
  for (std::int64_t t = 0; t < 5; ++t) {
    const std::int64_t now = strided[static_cast<std::size_t>(t)];
    const std::int64_t then = t > 0 ? strided[static_cast<std::size_t>(t - 1)] : -1;
    CHECK(few.timestep(t) == now);
    const double a = schedule.alpha_bar(now), b = schedule.alpha_bar(then), beta = 1 - a / b;
    const Transition& step = few.transition(t);
    CHECK_THAT(step.beta, WithinRel(beta, 1e-12));
    CHECK_THAT(step.x0, WithinRel(std::sqrt(b) * beta / (1 - a), 1e-12));
    CHECK_THAT(step.x, WithinAbs(std::sqrt(1 - beta) * (1 - b) / (1 - a), 1e-14));
    CHECK_THAT(step.variance, WithinAbs(beta * (1 - b) / (1 - a), 1e-15));
    if (t > 0) CHECK_THAT(few.posterior_log_variance(t), WithinRel(log_posterior(schedule, now, then), 1e-12));
  }
  // At t = 0 the variance is zero: its logarithm is that of t = 1.
  CHECK(few.transition(0).variance == 0);
  CHECK(few.posterior_log_variance(0) == few.posterior_log_variance(1));
  CHECK(full.posterior_log_variance(0) == full.posterior_log_variance(1));
  const GaussianDiffusion one(schedule, std::vector<std::int64_t>{500});
  CHECK_THAT(one.posterior_log_variance(0), WithinRel(std::log(1 - schedule.alpha_bar(500)), 1e-14));
}

TEST_CASE("the four variances, under a stride", "[diffusion][chain]") {
  const auto schedule = Schedule::linear();
  const auto of = [&](VarianceType type, std::int64_t t, double v) {
    return GaussianDiffusion(schedule, strided, {Prediction::epsilon, type}).log_variance(t)(v);
  };
  for (std::int64_t t = 0; t < 5; ++t) {
    const std::int64_t now = strided[static_cast<std::size_t>(t)];
    const std::int64_t then = t > 0 ? strided[static_cast<std::size_t>(t - 1)] : -1;
    const double small = log_posterior(schedule, t > 0 ? now : strided[1], t > 0 ? then : strided[0]);
    const double large = std::log(1 - schedule.alpha_bar(now) / schedule.alpha_bar(then));
    CHECK_THAT(of(VarianceType::fixed_small, t, 9), WithinRel(small, 1e-12));
    CHECK_THAT(of(VarianceType::fixed_large, t, 9), WithinRel(t == 0 ? small : large, 1e-12));
    CHECK(of(VarianceType::learned, t, -3.5) == -3.5);
    CHECK_THAT(of(VarianceType::learned_range, t, -1), WithinRel(small, 1e-12));
    CHECK_THAT(of(VarianceType::learned_range, t, 1), WithinRel(large, 1e-12));
    CHECK_THAT(of(VarianceType::learned_range, t, 0.5), WithinRel(0.75 * large + 0.25 * small, 1e-12));
  }
  for (std::size_t i = 0; i < variance_type_names.size(); ++i)
    CHECK(variance_type_by_name(variance_type_names[i]) == static_cast<VarianceType>(i));
  CHECK_THROWS_WITH(variance_type_by_name("big"), ContainsSubstring("learned_range") && ContainsSubstring("'big'"));
}

TEST_CASE("samples of q have the chain's mean and variance, and the posterior is Bayes' rule", "[diffusion][chain]") {
  const auto schedule = Schedule::linear();
  const GaussianDiffusion chain(schedule, strided);
  const double x0 = 0.4;
  for (std::int64_t t = 0; t < 5; ++t) {
    double x = 0;
    chain.q_sample(x0, t, -1.5, x);
    const double a = schedule.alpha_bar(chain.timestep(t));
    CHECK_THAT(x, WithinAbs(std::sqrt(a) * x0 - 1.5 * std::sqrt(1 - a), 1e-15));
    if (t == 0) continue;
    // q(x_{t-1} | x_t, x0) is q(x_t | x_{t-1}) q(x_{t-1} | x0) up to a factor: precisions add up.
    const double b = schedule.alpha_bar(chain.timestep(t - 1)), beta = 1 - a / b;
    const double precision = (1 - beta) / beta + 1 / (1 - b);
    double mean = 0;
    chain.posterior_mean(x0, x, t, mean);
    CHECK_THAT(chain.transition(t).variance, WithinRel(1 / precision, 1e-11));
    CHECK_THAT(mean, WithinAbs((std::sqrt(1 - beta) * x / beta + std::sqrt(b) * x0 / (1 - b)) / precision, 1e-11));
  }
}

TEST_CASE("every kind of output finds x0 and the mean of the step", "[diffusion][chain]") {
  const auto schedule = Schedule::linear();
  const std::array<double, 3> x0 = {0.4, -0.9, 1}, noise = {1.2, -0.3, 0.5};
  for (const MeanType mean : {MeanType(Prediction::epsilon), MeanType(Prediction::x0), MeanType(Prediction::v),
                              MeanType(Prediction::score), MeanType(Prediction::velocity), MeanType::previous_x()}) {
    const GaussianDiffusion chain(schedule, strided, {mean, VarianceType::fixed_large});
    for (std::int64_t t = 0; t < 5; ++t) {
      INFO(mean.name() << " at " << t);
      const NoiseLevel& level = chain.level(t);
      std::array<double, 3> x_t{}, posterior{}, output{};
      chain.q_sample(x0, t, noise, x_t);
      chain.posterior_mean(x0, x_t, t, posterior);
      output = posterior;
      if (!mean.is_previous_x()) {
        output = noise;
        convert(Prediction::epsilon, mean.prediction(), level, x_t, output);
      }
      ReverseStep<std::array<double, 3>> step{};
      chain.p_mean_variance(x_t, t, output, false, step);
      for (std::size_t i = 0; i < 3; ++i) {
        CHECK_THAT(step.x0[i], WithinAbs(x0[i], 1e-11));
        CHECK_THAT(step.mean[i], WithinAbs(posterior[i], 1e-12));
        CHECK(step.log_variance[i] == chain.log_variance(t)(0));
      }
      // Clipping reaches the mean through x0, but not a mean that is put out as such.
      for (double& e : output) e += 5;
      ReverseStep<std::array<double, 3>> clipped{};
      chain.p_mean_variance(x_t, t, output, true, clipped);
      std::array<double, 3> want{};
      chain.posterior_mean(clipped.x0, x_t, t, want);
      for (std::size_t i = 0; i < 3; ++i) {
        CHECK(std::abs(clipped.x0[i]) <= 1);
        CHECK_THAT(clipped.mean[i], WithinAbs(mean.is_previous_x() ? output[i] : want[i], 1e-14));
      }
    }
    CHECK(MeanType::by_name(mean.name()) == mean);
  }
  CHECK_THROWS_WITH(MeanType::by_name("x1"), ContainsSubstring("previous_x") && ContainsSubstring("'x1'"));
}

TEST_CASE("a batch has a step for each sample", "[diffusion][chain]") {
  const GaussianDiffusion chain(Schedule::linear(), strided);
  const auto x0 = random_tensor<float>({3, 2, 2, 1}, 1), noise = random_tensor<float>({3, 2, 2, 1}, 2);
  const std::vector<std::int64_t> t = {4, 0, 2};
  const auto x_t = chain.q_sample(x0, t, noise);
  const auto mean = chain.posterior_mean(x0, x_t, t);
  for (std::int64_t i = 0; i < 12; ++i) {
    float want = 0;
    chain.q_sample(x0[i], t[static_cast<std::size_t>(i / 4)], noise[i], want);
    CHECK_THAT(x_t[i], WithinAbs(static_cast<double>(want), 1e-6));
    chain.posterior_mean(x0[i], x_t[i], t[static_cast<std::size_t>(i / 4)], want);
    CHECK_THAT(mean[i], WithinAbs(static_cast<double>(want), 1e-6));
  }
  const auto times = chain.times<float>(t);
  CHECK(times.shape() == Shape{3});
  CHECK((times[0] == 999 && times[1] == 2 && times[2] == 333));
}

TEST_CASE("a chain refuses what it has no step for", "[diffusion][chain]") {
  const auto schedule = Schedule::linear(10);
  using Times = std::vector<std::int64_t>;
  CHECK_THROWS_AS(GaussianDiffusion(schedule, Times{}), ValueError);
  CHECK_THROWS_AS(GaussianDiffusion(schedule, Times{3, 10}), ValueError);
  CHECK_THROWS_AS(GaussianDiffusion(schedule, Times{-1, 3}), ValueError);
  CHECK_THROWS_WITH(GaussianDiffusion(schedule, Times{3, 3}), ContainsSubstring("rise"));
  CHECK_THROWS_AS(GaussianDiffusion(schedule, Times{5, 3}), ValueError);

  const GaussianDiffusion fixed(schedule), learned(schedule, {Prediction::epsilon, VarianceType::learned});
  double x = 0;
  ReverseStep<double> step{};
  for (const std::int64_t t : {-1, 10}) {
    CHECK_THROWS_AS(fixed.q_sample(0.1, t, 0.2, x), ValueError);
    CHECK_THROWS_AS(fixed.posterior_mean(0.1, 0.2, t, x), ValueError);
    CHECK_THROWS_AS(fixed.p_mean_variance(0.1, t, 0.2, false, step), ValueError);
    CHECK_THROWS_AS(fixed.posterior_log_variance(t), ValueError);
  }
  CHECK_THROWS_AS(fixed.level(-2), ValueError);
  CHECK_THROWS_WITH(fixed.p_mean_variance(0.1, 1, 0.2, 0.3, false, step), ContainsSubstring("fixed_small"));
  CHECK_THROWS_WITH(learned.p_mean_variance(0.1, 1, 0.2, false, step), ContainsSubstring("learned"));

  const Tensor<float> batch({2, 3}), twice({2, 6}), other({2, 4});
  const Times t = {0, 1}, few = {0}, outside = {0, 10};
  CHECK_NOTHROW(learned.p_mean_variance(batch, t, twice, true));
  CHECK_THROWS_AS(learned.p_mean_variance(batch, t, batch, true), ShapeError);
  CHECK_THROWS_AS(fixed.p_mean_variance(batch, t, twice, true), ShapeError);
  CHECK_THROWS_AS(fixed.q_sample(batch, t, other), ShapeError);
  CHECK_THROWS_AS(fixed.q_sample(batch, few, batch), ShapeError);
  CHECK_THROWS_AS(fixed.q_sample(batch, outside, batch), ValueError);
  CHECK_THROWS_AS(fixed.q_sample(Tensor<float>({0, 3}), Times{}, Tensor<float>({0, 3})), ShapeError);

  // Pure noise: no x0 from epsilon, but from v.
  const auto ended = schedule.with_zero_terminal_snr();
  CHECK_THROWS_AS(GaussianDiffusion(ended).p_mean_variance(0.1, 9, 0.2, false, step), ValueError);
  GaussianDiffusion(ended, {Prediction::v}).p_mean_variance(0.1, 9, -0.2, false, step);
  CHECK_THAT(step.x0, WithinAbs(0.2, 1e-15));
  CHECK(std::isfinite(step.mean));
}
