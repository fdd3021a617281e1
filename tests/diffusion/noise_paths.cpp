// Noise with a memory in samplers: they ask for the true intervals of sigma / alpha, so that a Brownian path gives the right law, and
// one path one picture.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/brownian_path.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/noise_step.hpp"
#include "easy_diffusion/diffusion/samplers/any_sampler.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/sde/brownian_tree.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using X = Tensor<double>;
using Tree = sde::BrownianTree<X>;

constexpr double data_mean = 0.4, data_deviation = 0.6, data_variance = data_deviation * data_deviation;

/// N(0.4, 0.6^2), each element a sample.
const GaussianMixture& gaussian() {
  static const GaussianMixture data({{1, {data_mean}, data_deviation}});
  return data;
}

/// A state of that level, of data with that mean and variance.
X start(const NoiseLevel& level, std::int64_t samples, double mean, double variance) {
  X x({samples, 1});
  sde::draw_normal(x, std::sqrt(level.alpha * level.alpha * variance + level.sigma * level.sigma),
                   {1, streams::initial_state, 0});
  for (double& e : x) e += level.alpha * mean;
  return x;
}

X run(AnySampler<X>& sampler, const GaussianMixture& data, X x, const NoiseLevels& levels, auto&& noise) {
  sample(sampler, data, x, levels, noise);
  return x;
}

Moments moments(const X& x) {
  const auto n = static_cast<double>(x.size());
  Moments result;
  for (const double e : x) result.mean += e / n;
  for (const double e : x) result.variance += (e - result.mean) * (e - result.mean) / n;
  return result;
}

double distance(const X& a, const X& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/// Notes the steps it is asked for.
struct NotedSteps {
  std::vector<sde::Step> steps;

  void increment(const sde::Step& step, X& dw) {
    steps.push_back(step);
    sde::BrownianNoise{1}.increment(step, dw);
  }
  void increment(const sde::Step& step, X& dw, X& dz) {
    steps.push_back(step);
    sde::BrownianNoise{1}.increment(step, dw, dz);
  }
};

/// Calls f(name, sampler) for all samplers that draw noise and can begin at that level.
template <class F>
void for_each_stochastic(const LevelPath& path, const NoiseLevel& first, F&& f) {
  int count = 0;
  for (const std::string& name : sampler_names()) {
    if (name == "ddim" || name == "dpm2") continue;  // with the options that they have by default they draw none
    SamplerOptions options{.path = path};
    if (name == "edm") options.churn = 10;  // in 32 steps a third of the noise, as much as it may raise at most
    AnySampler<X> sampler = make_sampler<X>(name, options);
    if (!sampler.traits().stochastic || (!sampler.traits().any_start && first.is_pure_noise())) continue;
    ++count;
    INFO(name);
    f(name, sampler);
  }
  CHECK(count >= 6);
}

}  // namespace

TEST_CASE("a Brownian path in place of independent noise leaves the law of samples", "[diffusion][noise_path]") {
  constexpr std::int64_t samples = 600;
  const Schedule schedule = Schedule::linear(), zero_snr = schedule.with_zero_terminal_snr();
  struct Way {
    const char* name;
    NoiseLevels levels;
    LevelPath path;
  };
  const std::int64_t steps = 30;
  for (const Way& way : {Way{"exploding", karras_levels(10, 0.02, steps), exploding_path()},
                         {"exploding, to noise", karras_levels(10, 0.02, steps, 7, End::smallest), exploding_path()},
                         {"schedule", noise_levels(schedule, steps, {.spacing = Spacing::log_snr}), schedule_path(schedule)},
                         {"pure noise", noise_levels(zero_snr, steps, {.spacing = Spacing::quadratic}), schedule_path(zero_snr)},
                         {"flow", flow_levels(steps), flow_path()}}) {
    for_each_stochastic(way.path, way.levels.front(), [&](const std::string&, AnySampler<X>& sampler) {
      INFO(way.name);
      const X x = start(way.levels.front(), samples, data_mean, data_variance);
      const Moments path = moments(run(sampler, gaussian(), x, way.levels, Tree(brownian_path(way.levels, 1))));
      const Moments independent = moments(run(sampler, gaussian(), x, way.levels, sde::BrownianNoise{.seed = 1}));
      // Both have Monte-Carlo errors, and the same error of the sampler.
      const auto n = static_cast<double>(samples);
      CHECK_THAT(path.mean, WithinAbs(independent.mean, 6 * data_deviation / std::sqrt(n)));
      CHECK_THAT(path.variance, WithinAbs(independent.variance, 6 * data_variance * std::sqrt(2 / n)));
    });
  }
}

TEST_CASE("on one path a picture changes little with the number of steps", "[diffusion][noise_path]") {
  // Two humps, so that the noise decides where a sample ends.
  const auto check = [&](const char* grid, const LevelPath& path, const auto& levels_of) {
    INFO(grid);
    // The finest run names the path for all.
    const sde::BrownianTreeConfig config = brownian_path(levels_of(512), 5);
    std::map<std::string, X> ends;
    for_each_stochastic(path, levels_of(1).front(), [&](const std::string& name, AnySampler<X>& sampler) {
      if (name == "predictor_corrector") return;  // its corrections are a chain of their own
      const auto end = [&](std::int64_t n, auto&& noise) {
        const NoiseLevels levels = levels_of(n);
        return run(sampler, order_mixture(), start(levels.front(), 50, 0, 1), levels, noise);
      };
      const X coarse = end(128, Tree(config)), fine = end(512, Tree(config));
      const double apart = distance(coarse, fine);
      const double independent =
          distance(end(128, sde::BrownianNoise{.seed = 5}), end(512, sde::BrownianNoise{.seed = 5}));
      CAPTURE(apart, independent);
      CHECK(independent > 0.5);  // the spread of the data is about 1
      CHECK(apart < 0.25 * independent);
      CHECK(distance(end(32, Tree(config)), fine) > 1.5 * apart);
      ends.emplace(name, fine);
    });
    // Those of the reverse-time equation itself come to one picture.
    for (const auto& [name, x] : ends)
      if (name != "edm") {
        CAPTURE(name);
        CHECK(distance(x, ends.at("dpmpp_2m_sde")) < 0.2);
      }
    CHECK(ends.size() >= 5);
  };
  check("exploding", exploding_path(), [](std::int64_t n) { return karras_levels(10, 0.02, n); });
  const Schedule schedule = Schedule::linear();
  check("schedule", schedule_path(schedule),
        [&](std::int64_t n) { return noise_levels(schedule, n, {.spacing = Spacing::log_snr}); });
  check("flow", flow_path(), [](std::int64_t n) { return flow_levels(n); });
}

TEST_CASE("samplers ask for intervals of sigma / alpha that do not overlap", "[diffusion][noise_path]") {
  const Schedule schedule = Schedule::linear(), zero_snr = schedule.with_zero_terminal_snr();
  for (const auto& [levels, path] :
       {std::pair{noise_levels(schedule, 12), schedule_path(schedule)}, {noise_levels(zero_snr, 12), schedule_path(zero_snr)},
        {karras_levels(80, 0.002, 12), exploding_path()}, {noise_levels(zero_snr, 1), schedule_path(zero_snr)},
        {noise_levels(schedule, 12).tail(0.5), schedule_path(schedule)}}) {
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
    for_each_stochastic(path, levels.front(), [&, &levels = levels](const std::string&, AnySampler<X>& sampler) {
      NotedSteps noise;
      run(sampler, gaussian(), start(levels.front(), 3, data_mean, data_variance), levels, noise);
      if (levels.steps() > 1) CHECK(!noise.steps.empty());
      check(noise);
    });
    AnySampler<X> corrected(PredictorCorrector<EulerAncestral<X>>(EulerAncestral<X>(), {.corrections = 3}));
    NotedSteps noise;
    run(corrected, gaussian(), start(levels.front(), 3, data_mean, data_variance), levels, noise);
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
  constexpr std::int64_t samples = 600;
  const NoiseLevels levels = karras_levels(10, 0.02, 30);
  for (const auto& [name, bias] : {std::pair{"dpm2_ancestral", 0.02}, {"dpmpp_2m_sde", 0.02}, {"sra1", 0.02}, {"predictor_corrector", 0.06}}) {
    INFO(name);
    AnySampler<X> sampler = make_sampler<X>(name, {.path = exploding_path()});
    X x = start(levels.front(), samples, data_mean, data_variance);
    const X nothing(x.shape());
    inpaint(sampler, gaussian(), x, levels, Tree(brownian_path(levels, 2)), nothing, nothing,
            {.resampling = 3, .jump = 5, .seed = 9});
    CHECK_THAT(moments(x).variance,
               WithinAbs(data_variance, (bias + 5 * std::sqrt(2 / static_cast<double>(samples))) * data_variance));
  }
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
  X z2({50}), dw({50});
  sde::standard_increment(tree, {0, 1.5, -0.25}, z2);
  tree.increment({0, 1.5, -0.25}, dw);
  for (std::int64_t i = 0; i < dw.size(); ++i) CHECK_THAT(z2[i], WithinAbs(2 * dw[i], 1e-14));
}

TEST_CASE("corrections in resamplings have addresses of their own, as many as are asked for", "[diffusion][noise_path]") {
  // 16 corrections in 16 resamplings left the 32 bits of a step.
  const NoiseLevels levels = karras_levels(10, 0.02, 5);
  AnySampler<X> sampler(PredictorCorrector<EulerAncestral<X>>(EulerAncestral<X>(), {.corrections = 16}));
  X x({3, 1}, 1.0);
  const X nothing({3, 1});
  CHECK_NOTHROW(inpaint(sampler, gaussian(), x, levels, sde::BrownianNoise{1}, nothing, nothing, {.resampling = 16}));
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
