// Noise schedules: values, what is rescaled, what is refused.

#include "easy_diffusion/diffusion/schedule.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

#include "diffusion/reference.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

void check_betas(const Schedule& schedule, const Tensor<double>& want) {
  REQUIRE(schedule.steps() == want.size());
  for (std::int64_t t = 0; t < want.size(); ++t) CHECK_THAT(schedule.beta(t), WithinRel(want[t], 1e-15));
}

}  // namespace

TEST_CASE("a hundred thousand timesteps work, or say why not", "[diffusion][schedule]") {
  // With the betas of 1000 timesteps nothing is left of a picture long before the end.
  CHECK_THROWS_WITH(Schedule::linear(100'000), ContainsSubstring("of 100000") && ContainsSubstring("smaller betas"));
  CHECK_THROWS_WITH(Schedule::constant(100'000), ContainsSubstring("smaller betas"));
  CHECK_THROWS_WITH(Schedule::by_name("sigmoid", 100'000), ContainsSubstring("smaller betas"));
  for (const Schedule& schedule : {Schedule::linear(100'000, 1e-6, 2e-4), Schedule::cosine(100'000), Schedule::jsd(100'000),
                                   Schedule::linear(100'000, 1e-6, 2e-4).with_zero_terminal_snr()}) {
    CHECK(schedule.steps() == 100'000);
    for (const std::int64_t n : {10, 100'000}) {
      const NoiseLevels levels = noise_levels(schedule, n);  // checks that signal-to-noise ratios rise
      CHECK(levels.steps() == n);
      CHECK(levels.front().time == 99'999);
    }
  }
  double x = 1.3;
  Ddim<double> ddim;
  const GaussianMixture data({{1, {0.3}, 0.2}});
  const SampleResult result =
      sample(ddim, data, x, noise_levels(Schedule::linear(100'000, 1e-6, 2e-4), 100'000), NoNoise());
  CHECK(result.evaluations == 100'000);
  CHECK(std::abs(x - 0.3) < 1);
}

TEST_CASE("betas are those of the reference", "[diffusion][schedule]") {
  const Reference golden(test_data() / "discrete_diffusion.safetensors", "betas_50.");
  for (const std::string name : {"linear", "quad", "const", "jsd", "sigmoid"}) {
    INFO(name);
    check_betas(Schedule::by_name(name, 50), golden.read(name));
  }
  // Differences of squared cosines lose digits.
  const auto cosine = Schedule::cosine(50);
  const auto want = golden.read("cosine");
  for (std::int64_t t = 0; t < 50; ++t) CHECK_THAT(cosine.beta(t), WithinRel(want[t], 1e-12));
}

TEST_CASE("betas are those of the original", "[diffusion][schedule]") {
  const auto file = shared_data("reference/diffusion/beta_schedules_T1000.safetensors");
  if (!file) return;
  const Reference reference(*file);
  for (const std::string name : {"linear", "quad", "const", "jsd", "sigmoid"}) {
    INFO(name);
    check_betas(Schedule::by_name(name), reference.read(name));
  }
}

TEST_CASE("alpha_bar is the product of 1 - beta, and falls", "[diffusion][schedule]") {
  for (const std::string_view name : Schedule::names)
    for (const std::int64_t steps : {1, 2, 10, 1000}) {
      INFO(name << ", " << steps);
      const auto schedule = Schedule::by_name(name, steps);
      REQUIRE(schedule.steps() == steps);
      double product = 1;
      for (std::int64_t t = 0; t < steps; ++t) {
        product *= 1 - schedule.beta(t);
        CHECK(schedule.alpha_bar(t) == product);
        CHECK(schedule.alpha_bar(t) < schedule.alpha_bar(t - 1));
        CHECK(schedule.alpha_bar(t) >= 0);
        const NoiseLevel level = schedule.level(t);
        CHECK(level.time == static_cast<double>(t));
        CHECK_THAT(level.alpha * level.alpha + level.sigma * level.sigma, WithinAbs(1, 1e-15));
      }
      CHECK(schedule.alpha_bar(-1) == 1);
      CHECK(schedule.level(-1) == NoiseLevel{-1, 1, 0});
    }
  CHECK(Schedule::jsd().alpha_bar(999) == 0);
  CHECK(Schedule::linear(1).beta(0) == 1e-4);
  CHECK(Schedule::by_name("scaled_linear").beta(500) == Schedule::by_name("quad").beta(500));
}

TEST_CASE("a schedule is made of betas at hand", "[diffusion][schedule]") {
  const auto schedule = Schedule::from_betas({0.5, 0.25, 1});
  CHECK(schedule.alpha_bar(0) == 0.5);
  CHECK(schedule.alpha_bar(1) == 0.375);
  CHECK(schedule.level(2).is_pure_noise());
  CHECK_THROWS_AS(Schedule::from_betas({}), ValueError);
  CHECK_THROWS_WITH(Schedule::from_betas({0.1, 1, 0.1}), ContainsSubstring("timestep 1"));
  CHECK_THROWS_AS(Schedule::from_betas({0.0}), ValueError);
  CHECK_THROWS_AS(Schedule::from_betas({-0.1}), ValueError);
  CHECK_THROWS_AS(Schedule::from_betas({1.5}), ValueError);
  CHECK_THROWS_AS(Schedule::from_betas({std::nan("")}), ValueError);
}

TEST_CASE("zero terminal SNR keeps the first level and ends in pure noise", "[diffusion][schedule]") {
  for (const std::string_view name : Schedule::names) {
    INFO(name);
    const auto before = Schedule::by_name(name), after = before.with_zero_terminal_snr();
    REQUIRE(after.steps() == before.steps());
    CHECK(after.alpha_bar(0) == before.alpha_bar(0));
    CHECK(after.alpha_bar(999) == 0);
    CHECK(after.beta(999) == 1);
    double product = 1;
    for (std::int64_t t = 0; t < 1000; ++t) {
      CHECK(after.alpha_bar(t) < after.alpha_bar(t - 1));
      CHECK((after.beta(t) > 0 && after.beta(t) <= 1));
      product *= 1 - after.beta(t);
      CHECK_THAT(after.alpha_bar(t), WithinAbs(product, 1e-12));
      // The root is shifted and scaled.
      const double last = std::sqrt(before.alpha_bar(999)), first = std::sqrt(before.alpha_bar(0));
      CHECK_THAT(std::sqrt(after.alpha_bar(t)),
                 WithinAbs((std::sqrt(before.alpha_bar(t)) - last) * first / (first - last), 1e-14));
    }
  }
  CHECK_THROWS_AS(Schedule::linear(1).with_zero_terminal_snr(), ValueError);
}

TEST_CASE("the cosine schedule is finite in float to its end", "[diffusion][schedule]") {
  const auto schedule = Schedule::cosine();
  CHECK(schedule.beta(999) == 0.999);
  for (std::int64_t t = 0; t < 1000; ++t) {
    CHECK((schedule.beta(t) > 0 && schedule.beta(t) <= 0.999));
    const NoiseLevel level = schedule.level(t);
    const float alpha = static_cast<float>(level.alpha), sigma = static_cast<float>(level.sigma);
    CHECK((alpha > 0 && alpha < 1 && sigma > 0 && sigma <= 1));
    CHECK(std::isfinite(sigma / alpha));
  }
  CHECK_THROWS_AS(Schedule::cosine(10, -0.1), ValueError);
  CHECK_THROWS_AS(Schedule::cosine(10, 0.008, 1), ValueError);
}

TEST_CASE("levels between timesteps", "[diffusion][schedule]") {
  const auto schedule = Schedule::linear();
  for (const double t : {0.0, 0.25, 17.0, 500.5, 998.75, 999.0}) {
    const NoiseLevel level = schedule.level_at(t);
    CHECK(level.time == t);
    CHECK_THAT(level.alpha * level.alpha + level.sigma * level.sigma, WithinAbs(1, 1e-14));
    CHECK_THAT(schedule.level_with_noise(level.noise_to_signal()).time, WithinAbs(t, 1e-9));
  }
  CHECK(schedule.level_at(17) == schedule.level(17));
  const double low = schedule.level(3).noise_to_signal(), high = schedule.level(4).noise_to_signal();
  CHECK_THAT(schedule.level_at(3.5).noise_to_signal(), WithinRel(std::sqrt(low * high), 1e-12));
  CHECK_THROWS_AS(schedule.level_at(-0.5), ValueError);
  CHECK_THROWS_AS(schedule.level_at(999.5), ValueError);
  CHECK_THROWS_AS(schedule.level_at(std::nan("")), ValueError);
  CHECK_THROWS_AS(schedule.level_with_noise(schedule.level(0).noise_to_signal() / 2), ValueError);
  CHECK_THROWS_AS(schedule.level_with_noise(1e9), ValueError);
  CHECK_THROWS_AS(schedule.level_with_noise(std::nan("")), ValueError);
  CHECK_THROWS_AS(schedule.level(1000), ValueError);
  CHECK_THROWS_AS(schedule.level(-2), ValueError);

  const auto ended = schedule.with_zero_terminal_snr();
  CHECK(ended.level_at(999).is_pure_noise());
  CHECK_THROWS_WITH(ended.level_at(998.5), ContainsSubstring("pure noise"));
  CHECK_THROWS_WITH(ended.level_with_noise(1e9), ContainsSubstring("pure noise"));
  // The last level before pure noise, as an integrator finds it again through exp and log.
  for (const std::string_view name : Schedule::names) {
    const auto exact = Schedule::by_name(name).with_zero_terminal_snr();
    const NoiseLevel& last = exact.level(998);
    CHECK(exact.level_with_noise(last.noise_to_signal() * (1 + 1e-14)) == last);
  }
}

TEST_CASE("schedules refuse what is out of range, and say what there is", "[diffusion][schedule]") {
  CHECK_THROWS_WITH(Schedule::by_name("warm"), ContainsSubstring("sigmoid") && ContainsSubstring("'warm'"));
  CHECK_THROWS_AS(Schedule::linear(0), ValueError);
  CHECK_THROWS_AS(Schedule::linear(-5), ValueError);
  CHECK_THROWS_AS(Schedule::jsd(0), ValueError);
  CHECK_THROWS_AS(Schedule::cosine(0), ValueError);
  CHECK_THROWS_AS(Schedule::linear(10, 0, 0.02), ValueError);
  CHECK_THROWS_AS(Schedule::linear(10, 1e-4, 1.1), ValueError);
  CHECK_THROWS_AS(Schedule::scaled_linear(10, -1e-4, 0.02), ValueError);
}
