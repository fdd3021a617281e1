/// \file
/// The samplers that are compared: every one of the library's list, each with the spacing that suits it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/any_sampler.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/noise.hpp"

namespace easy_diffusion::bench {

/// A sampler with its options.
struct Contender {
  std::string name;     ///< in tables
  std::string sampler;  ///< in `diffusion::make_sampler`
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

/// The contender's sampler. \throw ValueError as `diffusion::make_sampler`
template <sde::State S>
[[nodiscard]] diffusion::AnySampler<S> make_contender(const Contender& contender, const diffusion::Schedule& schedule) {
  diffusion::SamplerOptions options = contender.options;
  options.path = diffusion::schedule_path(schedule);
  return diffusion::make_sampler<S>(contender.sampler, options);
}

/// A run of a contender.
struct TunedRun {
  Contender contender;  ///< of an adaptive sampler with the tolerance that was found
  diffusion::NoiseLevels levels;
  double evaluations;  ///< expected, for a sample
};

/// Evaluations that a contender makes along these levels for a sample, found by a trial; for adaptive ones.
using EvaluationCount = std::function<double(const Contender&, const diffusion::NoiseLevels&)>;

/// The run with the most steps, or of an adaptive sampler with the smallest tolerance, that makes at most `target`
/// evaluations; nothing where none does.
[[nodiscard]] inline std::optional<TunedRun> tune_run(const Contender& contender, const diffusion::Schedule& schedule,
                                                      std::int64_t target, const EvaluationCount& count) {
  const auto sampler = make_contender<Tensor<double>>(contender, schedule);
  if (sampler.traits().adaptive) {
    // From the noisiest timestep to the cleanest in steps of its own, and one to the picture.
    const auto levels = diffusion::noise_levels(schedule, 2, {.spacing = diffusion::Spacing::linspace});
    const auto with_tolerance = [&](double exponent) {
      Contender tuned = contender;
      tuned.options.tolerance = std::pow(10, exponent);
      const double evaluations = count(tuned, levels);
      return TunedRun{std::move(tuned), levels, evaluations};
    };
    double low = -10, high = 1;
    TunedRun best = with_tolerance(high);
    if (best.evaluations > static_cast<double>(target)) return std::nullopt;
    for (int i = 0; i < 8; ++i) {
      const double middle = (low + high) / 2;
      TunedRun run = with_tolerance(middle);
      const bool few = run.evaluations <= static_cast<double>(target);
      (few ? high : low) = middle;
      if (few) best = std::move(run);
    }
    return best;
  }
  const auto with_steps = [&](std::int64_t steps) {
    auto levels = diffusion::noise_levels(schedule, steps, {.spacing = contender.spacing});
    const std::int64_t evaluations = sampler.evaluations(levels);
    return TunedRun{contender, std::move(levels), static_cast<double>(evaluations)};
  };
  std::int64_t low = 0, high = std::min(target, schedule.steps()) + 1;  // `low` steps are few enough, `high` too many
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (with_steps(middle).evaluations <= static_cast<double>(target) ? low : high) = middle;
  }
  if (low == 0) return std::nullopt;
  return with_steps(low);
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
  auto sampler = make_contender<Tensor<double>>(contender, schedule);
  const detail::WatchedNoise noise{};
  Tensor<double> x({1, 1}, 1);
  diffusion::sample(sampler, data, x, short_run, noise);
  return {sampler.traits(), (sampler.evaluations(long_run) - sampler.evaluations(short_run)) / 20, noise.asked};
}

/// The spacing with which a sampler does best on the mixtures, as `bench_samplers --spacing NAME` finds. DDPM has the one with
/// which it is strided since \cite song_2020_ddim.
[[nodiscard]] inline diffusion::Spacing suited_spacing(std::string_view sampler) {
  if (sampler == "ddpm") return diffusion::Spacing::leading;
  const bool in_lambda = sampler.starts_with("unipc") || sampler.starts_with("dpmpp") || sampler == "ipndm";
  return in_lambda && sampler != "dpmpp_2s" ? diffusion::Spacing::log_snr : diffusion::Spacing::quadratic;
}

/// Where a sampler is from: a key of docs/bibliography.bib.
[[nodiscard]] inline std::string source_of(std::string_view sampler) {
  // The first that the name begins with.
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 16> sources = {{
      {"ddim", "song_2020_ddim"},
      {"ddpm", "ho_2020_ddpm"},
      {"dpm2", "lu_2022_dpm_solver"},
      {"dpmpp", "lu_2022_dpm_solver_plus_plus"},
      {"unipc", "zhao_2023_unipc"},
      {"deis", "zhang_2022_deis"},
      {"ipndm", "zhang_2022_deis"},
      {"pndm", "liu_2022_pndm"},
      {"lms", "hairer_1993_nonstiff"},
      {"rk45", "dormand_1980_family"},
      {"euler", "karras_2022_elucidating"},
      {"heun", "karras_2022_elucidating"},
      {"edm", "karras_2022_elucidating"},
      {"flow", "liu_2022_rectified_flow"},
      {"predictor_corrector", "song_2021_score"},
      {"", "song_2021_score"},  // a stepper on the reverse-time equation
  }};
  return "`" +
         std::string(std::find_if(sources.begin(), sources.end(),
                                  [&](const auto& source) { return sampler.starts_with(source.first); })
                         ->second) +
         "`";
}

/// All samplers of the library's list, DDPM with both of its fixed variances.
[[nodiscard]] inline std::vector<Contender> all_contenders() {
  std::vector<Contender> result;
  for (const std::string& name : diffusion::sampler_names()) {
    result.push_back({.name = name, .sampler = name, .options = {}, .spacing = suited_spacing(name)});
    if (name == "ddpm") {
      result.push_back(result.back());
      result.back().name = "ddpm_fixed_large";
      result.back().options.variance = diffusion::VarianceType::fixed_large;
    }
  }
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
      throw ValueError("--samplers: expected all or names with commas between, of" + known.substr(1) + "; got '" +
                       name + "'");
    }
    result.push_back(*found);
    at = comma + 1;
  }
  return result;
}

}  // namespace easy_diffusion::bench
