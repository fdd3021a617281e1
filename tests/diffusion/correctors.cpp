// Langevin corrections: the law they leave, in several dimensions, with samples that are samples; the paper's rule and its other
// law; and that more of them help.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "diffusion/sampler_orders.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/samplers/euler_ancestral.hpp"
#include "easy_diffusion/diffusion/samplers/predictor_corrector.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/brownian_tree.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;
using sde::LangevinRule;

namespace {

using X = Tensor<double>;
using V = FlowState;

/// A process whose noise has that deviation, whatever the time.
struct Still {
  double std = 1;
  [[nodiscard]] double marginal_std(double) const { return std; }
};

double variance(const X& x) {
  double sum = 0;
  for (const double e : x) sum += e * e;
  return sum / static_cast<double>(x.size());
}

/// Variance of an element after many corrections of samples that begin with the law p of a normal state.
double corrected_variance(LangevinRule rule, std::int64_t dimensions, double ratio, int corrections, double std = 1,
                          double deviation = 0) {
  const std::int64_t samples = 16'000 / dimensions;
  const double p = deviation * deviation + std * std;
  X x({samples, dimensions});
  sde::draw_normal(x, std::sqrt(p), {3, streams::initial_state, 0});
  const auto score = [p](const X& at, double, X& out) {
    for (std::int64_t i = 0; i < at.size(); ++i) out[i] = -at[i] / p;
  };
  sde::LangevinCorrector<X> corrector({ratio, corrections, samples, rule});
  corrector(Still{std}, score, x, sde::Step{0, 0.5, -0.1}, sde::BrownianNoise{.seed = 3, .stream = streams::corrector});
  return variance(x);
}

}  // namespace

TEST_CASE("corrections keep the law they should lead to, in any number of dimensions", "[diffusion][corrector]") {
  for (const std::int64_t dimensions : {1, 2, 8})
    for (const double ratio : {0.16, 0.3}) {
      CAPTURE(dimensions, ratio);
      // Some five times what it takes to forget the start.
      const int corrections = static_cast<int>(std::ceil(2.5 / (ratio * ratio)));
      const double error = 5 * std::sqrt(2 / 16'000.0);
      // Of a point, whose noise is all there is, 1 / (1 - r^2); of wider data less is left.
      CHECK_THAT(corrected_variance(LangevinRule::deviation, dimensions, ratio, corrections),
                 WithinRel(1 / (1 - ratio * ratio), error));
      const double wide = 0.25 + 0.09;
      CHECK_THAT(corrected_variance(LangevinRule::deviation, dimensions, ratio, corrections, 0.5, 0.3),
                 WithinRel(wide / (1 - ratio * ratio * 0.25 / wide), error));
    }
}

TEST_CASE("the paper's rule leaves the law that its comment says", "[diffusion][corrector]") {
  // Figures of a standard normal at r = 0.16. In few dimensions the tails are so heavy that a mean over samples says little.
  CHECK(corrected_variance(LangevinRule::song_2021, 2, 0.16, 100) > 4);
  CHECK_THAT(corrected_variance(LangevinRule::song_2021, 4, 0.16, 100), WithinAbs(2.57, 0.5));
  CHECK_THAT(corrected_variance(LangevinRule::song_2021, 8, 0.16, 100), WithinAbs(1.60, 0.12));
  CHECK_THAT(corrected_variance(LangevinRule::song_2021, 64, 0.16, 100), WithinAbs(1.085, 0.06));
  // Short steps: the density proportional to p^(d / (d + 2)) |x|^2 has in d dimensions a variance of ((d + 2) / d)^2.
  CHECK_THAT(corrected_variance(LangevinRule::song_2021, 8, 0.05, 1000), WithinRel(100.0 / 64, 0.08));
}

TEST_CASE("a corrected run has the data's variance, where the paper's rule has many times it", "[diffusion][corrector]") {
  for (const std::int64_t dimensions : {1, 2, 8}) {
    const GaussianMixture data({{1, std::vector<double>(static_cast<std::size_t>(dimensions), 0.0), 1}});
    const Schedule schedule = Schedule::linear();
    for (const NoiseLevels& levels : {karras_levels(20, 0.02, 100), noise_levels(schedule, 100, {.spacing = Spacing::log_snr})}) {
      const auto end = [&](LangevinRule rule, int corrections) {
        const std::int64_t samples = 6000 / dimensions;
        X x({samples, dimensions});
        sde::draw_normal(x, std::hypot(levels.front().alpha, levels.front().sigma), {1, streams::initial_state, 0});
        PredictorCorrector<EulerAncestral<X>> sampler(EulerAncestral<X>(), {.corrections = corrections, .rule = rule});
        sample(sampler, data, x, levels, sde::BrownianNoise{.seed = 1});
        return variance(x);
      };
      CAPTURE(dimensions, levels.front().alpha);
      const double error = 5 * std::sqrt(2 / 6000.0);
      CHECK_THAT(end(LangevinRule::deviation, 1), WithinAbs(1, 0.04 + error));
      CHECK_THAT(end(LangevinRule::deviation, 4), WithinAbs(1, 0.02 + error));
      if (dimensions == 2) CHECK(end(LangevinRule::song_2021, 1) > 3);
    }
  }
}

TEST_CASE("more corrections and more steps help", "[diffusion][corrector]") {
  // Without chance: all is linear in the state and in the noise.
  const GaussianData data;
  const double wanted = data.deviation * data.deviation;
  const auto error = [&](std::int64_t steps, int corrections, bool schedule) {
    const NoiseLevels levels = schedule ? noise_levels(Schedule::linear(), steps, {.spacing = Spacing::log_snr})
                                        : karras_levels(10, 0.02, steps);
    if (corrections == 0) {
      EulerAncestral<V> predictor;
      return std::abs(gaussian_moments(predictor, levels, data, 1).variance - wanted);
    }
    PredictorCorrector<EulerAncestral<V>> sampler(EulerAncestral<V>(), {.corrections = corrections});
    return std::abs(gaussian_moments(sampler, levels, data, 1 + corrections).variance - wanted);
  };
  for (const bool schedule : {false, true})
    for (const std::int64_t steps : {8, 16}) {
      double before = error(steps, 0, schedule);
      for (const int corrections : {1, 4, 16, 64}) {
        const double now = error(steps, corrections, schedule);
        CAPTURE(schedule, steps, corrections, before, now);
        CHECK(now < before);
        before = now;
      }
    }
  for (const bool schedule : {false, true})
    for (const int corrections : {1, 4}) {
      double before = error(8, corrections, schedule);
      for (const std::int64_t steps : {16, 32, 64}) {
        const double now = error(steps, corrections, schedule);
        CAPTURE(schedule, steps, corrections, before, now);
        CHECK(now < 0.75 * before);
        before = now;
      }
    }
}

TEST_CASE("a correction is the step that its formula says, by either rule", "[diffusion][corrector]") {
  const GaussianMixture data({{1, {-1, 0.5}, 0.3}, {2, {1, 0}, 0.4}});
  const NoiseLevels levels = noise_levels(Schedule::linear(), 5, {.spacing = Spacing::log_snr});
  constexpr std::int64_t samples = 3, d = 2, corrections = 2;
  for (const LangevinRule rule : {LangevinRule::deviation, LangevinRule::song_2021}) {
    X x = test::random_tensor<double>({samples, d}, 5);
    X want = x;
    PredictorCorrector<EulerAncestral<X>> sampler(EulerAncestral<X>(),
                                                  {.signal_to_noise = 0.2, .corrections = corrections, .rule = rule});
    const sde::BrownianNoise noise{.seed = 8};
    sample(sampler, data, x, levels, noise);

    EulerAncestral<X> predictor;
    predictor.start(levels);
    X x0(want.shape()), z(want.shape());
    for (std::int64_t i = 0; i < levels.steps(); ++i) {
      const NoiseLevel& level = levels[i];
      for (std::int64_t k = 0; k < corrections; ++k) {
        data(want, level, x0);
        noise.increment({i + (k + 1) * (1 << 24), 0, 1}, z);
        for (std::int64_t n = 0; n < samples; ++n) {
          double score_square = 0, noise_square = 0;
          for (std::int64_t j = n * d; j < (n + 1) * d; ++j) {
            const double score = (level.alpha * x0[j] - want[j]) / (level.sigma * level.sigma);
            score_square += score * score;
            noise_square += z[j] * z[j];
          }
          const double e = rule == LangevinRule::deviation ? 2 * 0.04 * level.sigma * level.sigma
                                                           : 2 * 0.04 * noise_square / score_square;
          for (std::int64_t j = n * d; j < (n + 1) * d; ++j)
            want[j] += e * (level.alpha * x0[j] - want[j]) / (level.sigma * level.sigma) + std::sqrt(2 * e) * z[j];
        }
      }
      predictor.step(data, want, levels, i, noise);
    }
    for (std::int64_t j = 0; j < x.size(); ++j) CHECK_THAT(x[j], WithinAbs(want[j], 1e-12));
  }
}

TEST_CASE("the rule of a corrector is chosen by name", "[diffusion][corrector]") {
  CHECK(sde::langevin_rule_by_name("deviation") == LangevinRule::deviation);
  CHECK(sde::langevin_rule_by_name("song_2021") == LangevinRule::song_2021);
  CHECK_THROWS_WITH(sde::langevin_rule_by_name("song"), ContainsSubstring("deviation") && ContainsSubstring("'song'"));
  SamplerOptions options;
  options.langevin_rule = LangevinRule::song_2021;
  CHECK_NOTHROW(make_sampler<X>("predictor_corrector", options));
  CHECK_THROWS_WITH(make_sampler<X>("euler", options), ContainsSubstring("takes no Langevin rule"));
  // By itself a correction has no interval that noise of a path could come from.
  sde::LangevinCorrector<V> corrector({});
  V x(2, 1.0);
  const auto score = [](const V& at, double, V& out) { out = at; };
  sde::BrownianTree<V> tree({.start = 1, .end = 0});
  CHECK_THROWS_AS(corrector(Still{}, score, x, 0.5, 0, tree), ValueError);
  CHECK_NOTHROW(corrector(Still{}, score, x, sde::Step{0, 0.5, -0.1}, tree));
}
