// Noise with a memory in samplers: they ask for the true intervals of sigma / alpha, so that a Brownian path gives the right law, and
// one path one picture.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/brownian_path.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/noise_step.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/sde/brownian_tree.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using V = FlowState;
using Tree = sde::BrownianTree<V>;

/// A run from the moments of the first level.
template <class Sampler, class D, class Noise>
V run(Sampler& sampler, const D& data, const NoiseLevels& levels, Noise&& noise, std::size_t samples) {
  V x(samples);
  sde::draw_normal(x, std::sqrt(data.variance(levels.front())), {1, streams::initial_state, 0});
  for (double& value : x) value += levels.front().alpha * data.mean;
  sample(sampler, data, x, levels, noise);
  return x;
}

Moments moments(const V& x) {
  const auto n = static_cast<double>(x.size());
  Moments result;
  for (const double value : x) result.mean += value / n;
  for (const double value : x) result.variance += (value - result.mean) * (value - result.mean) / n;
  return result;
}

double distance(const V& a, const V& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/// Notes the steps it is asked for.
struct NotedSteps {
  std::vector<sde::Step> steps;

  void increment(const sde::Step& step, V& dw) {
    steps.push_back(step);
    sde::BrownianNoise{1}.increment(step, dw);
  }
  void increment(const sde::Step& step, V& dw, V& dz) {
    steps.push_back(step);
    sde::BrownianNoise{1}.increment(step, dw, dz);
  }
};

/// All samplers that draw noise.
template <class F>
void for_each_stochastic(F&& f) {
  for_each_sampler<V>([&](std::string_view name, const auto&, const auto& make) {
    if (name == "ddim" || name == "dpm2") return;  // with the options that they have by default they draw none
    using Sampler = std::remove_cvref_t<decltype(make(SamplerOptions{}))>;
    if constexpr (Sampler::traits.stochastic) f(name, make);
  });
}

}  // namespace

TEST_CASE("a Brownian path in place of independent noise leaves the law of samples", "[diffusion][noise_path]") {
  const GaussianData data;
  constexpr std::size_t samples = 1500;
  const double variance = data.deviation * data.deviation;
  const Schedule schedule = Schedule::linear(), zero_snr = schedule.with_zero_terminal_snr();
  struct Way {
    const char* name;
    NoiseLevels levels;
    LevelPath path;
  };
  const std::int64_t steps = 40;
  for (const Way& way : {Way{"exploding", karras_levels(10, 0.02, steps), exploding_path()},
                         {"exploding, to noise", karras_levels(10, 0.02, steps, 7, End::smallest), exploding_path()},
                         {"schedule", noise_levels(schedule, steps, {.spacing = Spacing::log_snr}), schedule_path(schedule)},
                         {"pure noise", noise_levels(zero_snr, steps, {.spacing = Spacing::quadratic}), schedule_path(zero_snr)},
                         {"flow", flow_levels(steps), flow_path()}}) {
    for_each_stochastic([&](std::string_view name, const auto& make) {
      auto sampler = make(SamplerOptions{.path = way.path});
      if (!std::remove_reference_t<decltype(sampler)>::traits.any_start && way.levels.front().is_pure_noise()) return;
      CAPTURE(way.name, name);
      const Moments path = moments(run(sampler, data, way.levels, Tree(brownian_path(way.levels, 1)), samples));
      const Moments independent = moments(run(sampler, data, way.levels, sde::BrownianNoise{.seed = 1}, samples));
      // Both have Monte-Carlo errors, and the same error of the sampler.
      CHECK_THAT(path.mean, WithinAbs(independent.mean, 6 * data.deviation / std::sqrt(static_cast<double>(samples))));
      CHECK_THAT(path.variance,
                 WithinAbs(independent.variance, 6 * variance * std::sqrt(2 / static_cast<double>(samples))));
    });
  }
}

TEST_CASE("on one path a picture changes little with the number of steps", "[diffusion][noise_path]") {
  // Two humps, so that the noise decides where a sample ends.
  struct Humps {
    double mean = 0;
    void operator()(const V& x, const NoiseLevel& level, V& x0) const { order_mixture()(x, level, x0); }
    [[nodiscard]] double variance(const NoiseLevel& level) const { return level.sigma * level.sigma + level.alpha * level.alpha; }
  };
  const Humps data;
  constexpr std::size_t samples = 100;
  const auto check = [&](const char* grid, const LevelPath& path, bool pure_noise, const auto& levels_of) {
    // The finest run names the path for all.
    const sde::BrownianTreeConfig config = brownian_path(levels_of(512), 5);
    std::map<std::string, V> ends;
    for_each_stochastic([&](std::string_view name, const auto& make) {
      if (name == "predictor_corrector") return;  // its corrections are a chain of their own
      CAPTURE(grid, name);
      auto sampler = make(SamplerOptions{.path = path});
      if (!std::remove_reference_t<decltype(sampler)>::traits.any_start && pure_noise) return;
      const auto end = [&](std::int64_t n, auto&& noise) { return run(sampler, data, levels_of(n), noise, samples); };
      const V coarse = end(128, Tree(config)), fine = end(512, Tree(config));
      const double apart = distance(coarse, fine);
      const double independent = distance(end(128, sde::BrownianNoise{.seed = 5}), end(512, sde::BrownianNoise{.seed = 5}));
      CAPTURE(apart, independent);
      CHECK(independent > 0.5);  // the spread of the data is about 1
      CHECK(apart < 0.25 * independent);
      CHECK(distance(end(32, Tree(config)), fine) > 1.5 * apart);
      ends.emplace(name, fine);
    });
    // Those of the reverse-time equation itself come to one picture.
    for (const auto& [name, x] : ends)
      if (name != "edm") {
        CAPTURE(grid, name);
        CHECK(distance(x, ends.at("dpmpp_2m_sde")) < 0.2);
      }
    CHECK(ends.size() >= 5);
  };
  check("exploding", exploding_path(), false, [](std::int64_t n) { return karras_levels(10, 0.02, n); });
  const Schedule schedule = Schedule::linear();
  check("schedule", schedule_path(schedule), false,
        [&](std::int64_t n) { return noise_levels(schedule, n, {.spacing = Spacing::log_snr}); });
  check("flow", flow_path(), true, [](std::int64_t n) { return flow_levels(n); });
}

TEST_CASE("samplers ask for intervals of sigma / alpha that do not overlap", "[diffusion][noise_path]") {
  const GaussianData data;
  const Schedule schedule = Schedule::linear(), zero_snr = schedule.with_zero_terminal_snr();
  for (const NoiseLevels& levels : {noise_levels(schedule, 12), noise_levels(zero_snr, 12), karras_levels(80, 0.002, 12),
                                    noise_levels(zero_snr, 1), noise_levels(schedule, 12).tail(0.5)}) {
    const auto check = [&](const NotedSteps& noise) {
      double until = std::numeric_limits<double>::infinity();
      for (const sde::Step& step : noise.steps) {
        CHECK(std::isfinite(step.t));
        CHECK(step.dt < 0);
        CHECK(step.t <= until * (1 + 1e-12));
        CHECK(step.t + step.dt >= -1e-12);
        until = step.t + step.dt;
      }
    };
    for_each_stochastic([&](std::string_view name, const auto& make) {
      auto sampler = make(SamplerOptions{.path = schedule_path(schedule)});
      if (!std::remove_reference_t<decltype(sampler)>::traits.any_start && levels.front().is_pure_noise()) return;
      CAPTURE(name);
      NotedSteps noise;
      run(sampler, data, levels, noise, 3);
      if (levels.steps() > 1) CHECK(!noise.steps.empty());
      check(noise);
    });
    PredictorCorrector<EulerAncestral<V>> corrected(EulerAncestral<V>(), {.corrections = 3});
    NotedSteps noise;
    run(corrected, data, levels, noise, 3);
    check(noise);
    for (std::int64_t i = 0; i < levels.steps(); ++i) {
      const sde::Step step = noise_step(levels, i);
      CHECK(step.index == i);
      if (!levels[i].is_pure_noise()) CHECK(step.t == levels[i].noise_to_signal());
      CHECK_THAT(step.t + step.dt, WithinAbs(levels[i + 1].noise_to_signal(), 1e-12 * (1 + step.t)));
    }
  }
}

TEST_CASE("walked again and corrected, steps have noise of their own on one path", "[diffusion][noise_path]") {
  // With nothing known inpainting is sampling, so that the law is that of the data.
  const GaussianData data;
  constexpr std::size_t samples = 1500;
  const NoiseLevels levels = karras_levels(10, 0.02, 40);
  const double variance = data.deviation * data.deviation;
  const auto check = [&](const char* name, auto sampler, double bias) {
    CAPTURE(name);
    V x(samples);
    sde::draw_normal(x, std::sqrt(data.variance(levels.front())), {1, streams::initial_state, 0});
    for (double& value : x) value += data.mean;
    const V nothing(samples);
    inpaint(sampler, data, x, levels, Tree(brownian_path(levels, 2)), nothing, nothing, {.resampling = 4, .jump = 5, .seed = 9});
    CHECK_THAT(moments(x).variance, WithinAbs(variance, (bias + 5 * std::sqrt(2 / static_cast<double>(samples))) * variance));
  };
  check("DPM-2 ancestral", Dpm2<V>(exploding_path(), {.eta = 1}), 0.02);
  check("SDE-DPM-Solver++ 2M", SdeDpmSolver2M<V>(), 0.02);
  check("SRA1", ReverseStepper<sde::Sra1<V>>(exploding_path()), 0.02);
  check("predictor-corrector", PredictorCorrector<Dpm2<V>>(Dpm2<V>(exploding_path(), {.eta = 1}), {.corrections = 2}), 0.04);
}

TEST_CASE("independent noise keeps its bits", "[diffusion][noise_path]") {
  const sde::BrownianNoise noise{.seed = 3, .first_element = 5};
  std::vector<float> z(100), want(100);
  for (const double dt : {1.0, -0.37, 1e-30}) {
    sde::standard_increment(noise, {7, 2.5, dt}, z);
    noise.increment({7, 0, 1}, want);
    CHECK(z == want);
  }
  sde::Antithetic<sde::BrownianNoise> other(noise);
  sde::standard_increment(other, {7, 2.5, -0.37}, z);
  for (std::size_t i = 0; i < z.size(); ++i) CHECK(z[i] == -want[i]);
  CHECK_FALSE(sde::follows_time(noise));
  CHECK_FALSE(sde::follows_time(other));
  CHECK(sde::follows_time(sde::BrownianTree<double>({})));
  CHECK(sde::follows_time(NotedSteps{}));

  // Of a tree it is the increment over the root of the length.
  Tree tree({.seed = 4, .start = 2, .end = 0, .depth = 20});
  V z2(50), dw(50);
  sde::standard_increment(tree, {0, 1.5, -0.25}, z2);
  tree.increment({0, 1.5, -0.25}, dw);
  for (std::size_t i = 0; i < dw.size(); ++i) CHECK_THAT(z2[i], WithinAbs(2 * dw[i], 1e-14));
}

TEST_CASE("corrections in resamplings have addresses of their own, as many as are asked for", "[diffusion][noise_path]") {
  // 16 corrections in 16 resamplings left the 32 bits of a step.
  const NoiseLevels levels = karras_levels(10, 0.02, 5);
  const GaussianData data;
  PredictorCorrector<EulerAncestral<V>> sampler(EulerAncestral<V>(), {.corrections = 16});
  V x(3, 1.0);
  const V nothing(3);
  CHECK_NOTHROW(inpaint(sampler, data, x, levels, sde::BrownianNoise{1}, nothing, nothing, {.resampling = 16}));
  for (const double e : x) CHECK(std::isfinite(e));

  using easy_diffusion::diffusion::detail::draw_stride;
  using easy_diffusion::diffusion::detail::RepeatedIndex;
  for (const std::int64_t repetitions : {1, 2, 3, 16, 100})
    for (const std::int64_t steps : {3, 5, 1000}) {
      std::set<std::int64_t> seen;
      std::size_t asked = 0;
      for (std::int64_t draw = 0; draw < 256; draw += draw < 20 ? 1 : 47)
        for (std::int64_t repetition = 0; repetition < repetitions; ++repetition)
          for (const std::int64_t i : {std::int64_t{0}, std::int64_t{1}, steps - 1}) {
            const std::int64_t index = i + draw * draw_stride;
            const std::int64_t address = RepeatedIndex{repetitions, repetition, steps}(index);
            CHECK((address >= 0 && address < std::int64_t{1} << 32));
            // Where there was room it is what it has been.
            if ((index + 1) * repetitions < std::int64_t{1} << 32) CHECK(address == index * repetitions + repetition);
            seen.insert(address);
            ++asked;
          }
      CHECK(seen.size() == asked);
    }
  CHECK_THROWS_AS((RepeatedIndex{300, 0, 1 << 20}(200 * draw_stride)), ValueError);
}
