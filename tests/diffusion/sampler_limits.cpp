// Where samplers end: churn at the first level of a run, and the variance of single timesteps under strides.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/samplers/ddpm.hpp"
#include "easy_diffusion/diffusion/samplers/edm_stochastic.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using V = FlowState;

/// Levels that a run evaluates at.
std::vector<NoiseLevel> visited(const LevelPath& path, const NoiseLevels& levels, double churn) {
  std::vector<NoiseLevel> seen;
  const auto denoiser = [&seen](const V& x, const NoiseLevel& level, V& x0) {
    seen.push_back(level);
    order_mixture()(x, level, x0);
  };
  EdmStochastic<V> sampler(path, {.churn = churn});
  V x = flow_start(levels.front());
  sample(sampler, denoiser, x, levels, sde::BrownianNoise{2});
  return seen;
}

/// A model that learned the logarithm of the variance of a single timestep, or where in its range it is.
struct Learned {
  Schedule schedule = Schedule::linear();
  bool range = false;
  GaussianData data;

  void operator()(const V& x, const NoiseLevel& level, V& x0) const { data(x, level, x0); }
  void operator()(const V& x, const NoiseLevel& level, V& x0, V& v) const {
    data(x, level, x0);
    const auto t = static_cast<std::int64_t>(level.time);
    const Transition step = transition(schedule.level(t), schedule.level(t - 1));
    for (double& e : v) e = range ? -1 : std::log(step.variance > 0 ? step.variance : step.beta);
  }
};

}  // namespace

TEST_CASE("churn raises the noise above the first level where the path has levels there", "[diffusion][samplers]") {
  const double factor = 1 + std::sqrt(2.0) - 1;
  const NoiseLevels levels = karras_levels(10, 0.02, 8);
  CHECK_THAT(visited(exploding_path(), levels, 40).front().sigma, WithinAbs(10 * factor, 1e-12));
  const NoiseLevels flow = flow_levels(8);
  // Pure noise cannot be raised; from the second level on nothing is held down.
  const auto seen = visited(flow_path(), flow, 40);
  CHECK(seen[0].is_pure_noise());
  CHECK_THAT(seen[1].noise_to_signal(), WithinAbs(flow[1].noise_to_signal() * factor, 1e-12));
  // A schedule ends at its last timestep, which a run may begin below.
  const Schedule schedule = Schedule::linear();
  CHECK(visited(schedule_path(schedule), noise_levels(schedule, 8), 40).front() == schedule.level(999));
  const NoiseLevels leading = noise_levels(schedule, 8, {.spacing = Spacing::leading});
  const double second = leading.front().noise_to_signal();
  CHECK_THAT(visited(schedule_path(schedule), leading, 40).front().noise_to_signal(),
             WithinRel(std::min(second * factor, schedule.level(999).noise_to_signal()), 1e-9));
  // A function that does not say where it ends is not asked above the run.
  const LevelPath plain = [](double s) { return exploding_level(s); };
  CHECK(plain.highest() == 0);
  CHECK(visited(plain, levels, 40).front().sigma == 10);
  CHECK(exploding_path().highest() == std::numeric_limits<double>::infinity());
  CHECK(schedule_path(schedule).highest() == schedule.level(999).noise_to_signal());
  CHECK(schedule_path(schedule.with_zero_terminal_snr()).highest() ==
        schedule.with_zero_terminal_snr().level(998).noise_to_signal());
  CHECK_FALSE(LevelPath());
  CHECK_FALSE(LevelPath(nullptr));
}

TEST_CASE("the variance learned of single timesteps is refused under strides", "[diffusion][samplers]") {
  const Schedule schedule = Schedule::linear();
  Ddpm<V> learned(VarianceType::learned), range(VarianceType::learned_range);
  for (const std::int64_t n : {100, 600})
    for (const Spacing spacing : {Spacing::leading, Spacing::trailing}) {
      const NoiseLevels strides = noise_levels(schedule, n, {.spacing = spacing});
      CHECK_THROWS_WITH(learned.start(strides), ContainsSubstring("single timesteps") && ContainsSubstring("a step from"));
      CHECK_NOTHROW(range.start(strides));
    }
  CHECK_THROWS_AS(learned.start(karras_levels(10, 0.02, 5)), ValueError);
  const NoiseLevels every = noise_levels(schedule, 1000);
  CHECK_NOTHROW(learned.start(every));
  CHECK_NOTHROW(learned.start(noise_levels(schedule, 999, {.end = End::smallest})));
  CHECK_NOTHROW(learned.start(every.tail(0.3)));

  // A whole run has the data's variance, and so have strides with a variance that is that of their steps.
  const auto variance = [](auto& sampler, const Learned& model, const NoiseLevels& levels) {
    V x(1000);
    sde::draw_normal(x, std::sqrt(model.data.variance(levels.front())), {1, streams::initial_state, 0});
    for (double& e : x) e += levels.front().alpha * model.data.mean;
    sample(sampler, model, x, levels, sde::BrownianNoise{1});
    double mean = 0, square = 0;
    for (const double e : x) mean += e / 1000;
    for (const double e : x) square += (e - mean) * (e - mean) / 1000;
    return square / (model.data.deviation * model.data.deviation);
  };
  CHECK_THAT(variance(learned, {schedule, false, {}}, every), WithinAbs(1, 0.22));
  CHECK_THAT(variance(range, {schedule, true, {}}, noise_levels(schedule, 100)), WithinAbs(1, 0.25));
}
