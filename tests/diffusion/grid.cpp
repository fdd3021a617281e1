// Every schedule with every spacing, prediction, sampler and number of steps, in float: each is finite or refused, and
// which are refused is known.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

namespace {

using S = std::array<float, 2>;

constexpr std::array<std::int64_t, 7> step_counts = {1, 2, 13, 300, 600, 999, 1000};
const GaussianMixture mixture({{1, {-0.8}, 0.3}, {2, {0.5}, 0.2}});

/// The exact denoiser as a network that predicts something else and is told the time alone.
auto presented(const Schedule& schedule, Prediction prediction) {
  return make_denoiser(
      [&schedule, prediction](const S& x, double time, S& out) {
        const NoiseLevel level = schedule.level_at(time);
        mixture(x, level, out);
        convert(Prediction::x0, prediction, level, x, out);
      },
      prediction);
}

/// Whether a cell is refused: where the schedule ends in pure noise,
/// - no spacing in sigma / alpha has a place to start, and
/// - of those that visit the last timestep (leading does so with all timesteps only), an epsilon or score does not
///   determine x0 there, and some samplers do not begin there.
bool is_refused(bool ends_in_noise, Spacing spacing, std::int64_t n, Prediction prediction,
                const SamplerTraits& traits) {
  if (!ends_in_noise) return false;
  if (spacing > Spacing::quadratic) return true;
  const bool visits_last = spacing != Spacing::leading || n == Schedule::default_steps;
  return visits_last && (prediction == Prediction::epsilon || prediction == Prediction::score || !traits.any_start);
}

struct Tally {
  std::int64_t cells = 0, refused = 0;
  std::vector<std::string> wrong;
};

/// What goes wrong with one cell; empty where nothing does.
template <class Sampler>
std::string problem(Sampler& sampler, const Schedule& schedule, const std::optional<NoiseLevels>& levels,
                    Prediction prediction, bool refusal_expected, Tally& tally) {
  ++tally.cells;
  bool refused = !levels;
  if (levels) {
    const NoiseLevel& first = levels->front();
    const auto scale = static_cast<float>(std::hypot(first.alpha, first.sigma));
    S x{0.7F * scale, -1.6F * scale};
    try {
      const SampleResult result = sample(sampler, presented(schedule, prediction), x, *levels, sde::BrownianNoise{1});
      if (!std::isfinite(x[0]) || !std::isfinite(x[1])) return "is not finite";
      const std::int64_t declared = sampler.evaluations(*levels);
      if (Sampler::traits.adaptive ? result.evaluations < declared : result.evaluations != declared)
        return "makes " + std::to_string(result.evaluations) + " evaluations";
    } catch (const ValueError&) { refused = true; }
  }
  tally.refused += refused ? 1 : 0;
  if (refused == refusal_expected) return {};
  return refused ? "is refused" : "is not refused";
}

void run_schedule(const std::string& name, const Schedule& schedule, Tally& tally) {
  const bool ends_in_noise = schedule.level(schedule.steps() - 1).is_pure_noise();
  const SamplerOptions options{.path = schedule_path(schedule)};
  for (std::size_t s = 0; s < spacing_names.size(); ++s) {
    const auto spacing = static_cast<Spacing>(s);
    for (const std::int64_t n : step_counts) {
      std::optional<NoiseLevels> levels;
      try {
        levels = noise_levels(schedule, n, {.spacing = spacing});
      } catch (const ValueError&) {}
      for_each_sampler<S>([&](std::string_view sampler_name, const auto&, const auto& make) {
        auto sampler = make(options);
        for (std::size_t p = 0; p < prediction_names.size(); ++p) {
          const auto prediction = static_cast<Prediction>(p);
          const std::string what = problem(sampler, schedule, levels, prediction,
                                           is_refused(ends_in_noise, spacing, n, prediction, sampler.traits), tally);
          if (!what.empty())
            tally.wrong.push_back(name + ", " + std::string(spacing_names[s]) + ", " + std::to_string(n) + " steps, " +
                                  std::string(prediction_names[p]) + ", " + std::string(sampler_name) + " " + what);
        }
      });
    }
  }
}

enum class Fault { none, not_finite, evaluates_twice, refuses };

/// DDIM with a fault.
struct Broken {
  using state_type = S;
  static constexpr SamplerTraits traits{};
  Fault fault;
  Ddim<S> inner;

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const { return inner.predicted_x0(); }
  void start(const NoiseLevels& levels) {
    if (fault == Fault::refuses) throw ValueError("no");
    inner.start(levels);
  }
  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    S unused;
    if (fault == Fault::evaluates_twice) denoiser(x, levels[i], unused);
    inner.step(denoiser, x, levels, i, noise);
    if (fault == Fault::not_finite) x[1] = std::numeric_limits<float>::quiet_NaN();
  }
};

}  // namespace

TEST_CASE("every combination is finite, or refused where it must be", "[diffusion][grid]") {
  constexpr auto count = static_cast<std::int64_t>(Schedule::names.size());
  std::array<Tally, 2 * Schedule::names.size()> tallies;
  parallel_for(0, 2 * count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::string_view name = Schedule::names[static_cast<std::size_t>(i / 2)];
      const Schedule schedule = Schedule::by_name(name);
      Tally& its_own = tallies[static_cast<std::size_t>(i)];
      if (i % 2 == 0)
        run_schedule(std::string(name), schedule, its_own);
      else
        run_schedule(std::string(name) + " with zero terminal SNR", schedule.with_zero_terminal_snr(), its_own);
    }
  });
  Tally tally;
  for (const Tally& its_own : tallies) {
    tally.cells += its_own.cells;
    tally.refused += its_own.refused;
    tally.wrong.insert(tally.wrong.end(), its_own.wrong.begin(), its_own.wrong.end());
  }
  INFO(tally.wrong.size() << " wrong cells");
  for (std::size_t i = 0; i < std::min<std::size_t>(tally.wrong.size(), 20); ++i) FAIL_CHECK(tally.wrong[i]);
  CHECK(tally.wrong.empty());

  // The same by counting. Eight of the 14 schedules end in pure noise: jsd, and all with zero terminal SNR. There three
  // of the seven spacings are refused with all five predictions, and the other three that reach the last timestep with
  // two, or with all where the sampler does not begin there; with 1000 steps so is leading.
  std::int64_t cells = 0, refused = 0, samplers = 0;
  for_each_sampler<S>([&](const auto&, const auto&, const auto& make) {
    using Sampler = decltype(make(SamplerOptions{}));
    constexpr std::int64_t predictions = Sampler::traits.any_start ? 2 : 5;
    ++samplers;
    for (const std::int64_t n : step_counts) {
      cells += 14 * 7 * 5;
      refused += 8 * (3 * 5 + 3 * predictions + (n == 1000 ? predictions : 0));
    }
  });
  CHECK(samplers >= 23);
  CHECK(tally.cells == cells);
  CHECK(tally.refused == refused);
}

TEST_CASE("the grid notices a sampler that is not finite, counts wrongly or refuses", "[diffusion][grid]") {
  const Schedule schedule = Schedule::linear();
  const auto found = [&](Fault fault, bool refusal_expected) {
    Broken sampler{fault, Ddim<S>()};
    Tally tally;
    return problem(sampler, schedule, noise_levels(schedule, 3), Prediction::v, refusal_expected, tally);
  };
  CHECK(found(Fault::none, false).empty());
  CHECK(found(Fault::none, true) == "is not refused");
  CHECK(found(Fault::not_finite, false) == "is not finite");
  CHECK(found(Fault::evaluates_twice, false) == "makes 6 evaluations");
  CHECK(found(Fault::refuses, false) == "is refused");
  CHECK(found(Fault::refuses, true).empty());
}
