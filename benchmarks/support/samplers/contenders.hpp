/// \file
/// The samplers that are compared: every one of the library's list, each with the spacing that suits it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"

namespace easy_diffusion::bench {

/// A sampler with its options.
struct Contender {
  std::string name;     ///< in tables
  std::string sampler;  ///< in `diffusion::with_sampler`
  diffusion::SamplerOptions options{};
  diffusion::Spacing spacing = diffusion::Spacing::trailing;
};

/// What a sampler is, as a table shows it.
struct SamplerFacts {
  diffusion::SamplerTraits traits;
  std::int64_t evaluations_a_step = 1;  ///< in the long run
  bool draws_noise = false;             ///< with these options
};

/// Evaluation counts at which samplers are compared.
inline constexpr std::array<std::int64_t, 9> standard_targets = {4, 6, 8, 10, 20, 50, 100, 250, 1000};

/// Calls f(sampler) with the contender's sampler. \throw ValueError as `diffusion::with_sampler`
template <sde::State S, class F>
auto with_contender(const Contender& contender, const diffusion::Schedule& schedule, F&& f) {
  diffusion::SamplerOptions options = contender.options;
  options.path = diffusion::schedule_path(schedule);
  return diffusion::with_sampler<S>(contender.sampler, options, std::forward<F>(f));
}

/// Levels of a run of the contender, as long as `target` evaluations allow.
struct RunPlan {
  diffusion::NoiseLevels levels;
  std::int64_t evaluations;  ///< that it will make
};

/// The most steps whose evaluations do not exceed the target. \throw ValueError where a single step exceeds it
[[nodiscard]] inline RunPlan plan_run(const Contender& contender, const diffusion::Schedule& schedule,
                                      std::int64_t target) {
  const auto plan = [&](std::int64_t steps) {
    auto levels = diffusion::noise_levels(schedule, steps, {.spacing = contender.spacing});
    const std::int64_t evaluations =
        with_contender<double>(contender, schedule, [&](const auto& sampler) { return sampler.evaluations(levels); });
    return RunPlan{std::move(levels), evaluations};
  };
  std::int64_t low = 0, high = std::min(target, schedule.steps()) + 1;  // `low` steps are few enough, `high` too many
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (plan(middle).evaluations <= target ? low : high) = middle;
  }
  if (low == 0)
    throw ValueError(contender.name + ": has no run of at most " + std::to_string(target) + " evaluations");
  return plan(low);
}

namespace detail {

/// Brownian noise that knows whether anybody asked.
struct WatchedNoise {
  sde::BrownianNoise noise;
  mutable bool asked = false;

  template <class... Arguments>
  requires requires(const sde::BrownianNoise& n, Arguments&... a) { n.increment(a...); }
  void increment(Arguments&&... arguments) const {
    asked = true;
    noise.increment(arguments...);
  }
};

}  // namespace detail

[[nodiscard]] inline SamplerFacts facts_of(const Contender& contender) {
  const auto schedule = diffusion::Schedule::linear();
  const auto short_run = diffusion::noise_levels(schedule, 20), long_run = diffusion::noise_levels(schedule, 40);
  const diffusion::GaussianMixture data({{1, {0.5}, 0.5}});
  return with_contender<double>(contender, schedule, [&](auto& sampler) {
    const detail::WatchedNoise noise{};
    double x = 1;
    diffusion::sample(sampler, data, x, short_run, noise);
    return SamplerFacts{std::remove_cvref_t<decltype(sampler)>::traits,
                        (sampler.evaluations(long_run) - sampler.evaluations(short_run)) / 20, noise.asked};
  });
}

/// The spacing with which a sampler does best at few evaluations, as `bench_samplers --spacing` found on the mixtures.
[[nodiscard]] inline diffusion::Spacing suited_spacing(std::string_view sampler) {
  static_cast<void>(sampler);
  return diffusion::Spacing::log_snr;
}

/// All samplers of the library's list.
[[nodiscard]] inline std::vector<Contender> all_contenders() {
  std::vector<Contender> result;
  for (const std::string& name : diffusion::sampler_names())
    result.push_back({.name = name, .sampler = name, .options = {}, .spacing = suited_spacing(name)});
  return result;
}

/// \param names with commas between, or "all" \throw ValueError naming what there is
[[nodiscard]] inline std::vector<Contender> chosen_contenders(const std::string& names) {
  const std::vector<Contender> all = all_contenders();
  if (names == "all") return all;
  std::vector<Contender> result;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t comma = std::min(names.find(',', at), names.size());
    const std::string name = names.substr(at, comma - at);
    const auto found = std::find_if(all.begin(), all.end(), [&](const Contender& c) { return c.name == name; });
    if (found == all.end()) {
      std::string known;
      for (const Contender& c : all) known += ", " + c.name;
      throw ValueError("--samplers: expected all or names with commas between, of" + known.substr(1) + "; got '" + name + "'");
    }
    result.push_back(*found);
    at = comma + 1;
  }
  return result;
}

}  // namespace easy_diffusion::bench
