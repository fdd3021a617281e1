#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/samplers/contenders.hpp"
#include "support/samplers/exact_mixtures.hpp"
#include "support/samplers/results.hpp"

using namespace easy_diffusion;
using diffusion::Schedule;

namespace {

bench::Contender contender(const std::string& name) { return bench::chosen_contenders(name).at(0); }

/// With so many evaluations, as the benchmark measures it.
bench::MixtureScore score(const bench::MixtureJudge& judge, const std::string& name, std::int64_t evaluations,
                          std::optional<diffusion::Spacing> spacing = std::nullopt) {
  const auto schedule = Schedule::linear();
  bench::Contender who = contender(name);
  who.spacing = spacing.value_or(who.spacing);
  const auto run = bench::tune_run(who, schedule, evaluations, {});
  REQUIRE(run);
  return judge.score(
      bench::sample_mixture(judge.mixture(), run->contender, schedule, run->levels, judge.count(), 1).values);
}

}  // namespace

TEST_CASE("fixed-large variance collapses when strided", "[benchmarks][samplers]") {
  // As in the table of DDIM: behind the small variance and DDIM at few steps, level with them when all steps are made.
  const bench::MixtureJudge judge(bench::mixture_2d(), 512, 1);
  for (const std::int64_t evaluations : {10, 20, 50}) {
    INFO(evaluations);
    const double large = score(judge, "ddpm_fixed_large", evaluations).divergence;
    CHECK(large > 1.5 * score(judge, "ddpm", evaluations).divergence);
    CHECK(large > 4 * score(judge, "ddim", evaluations).divergence);
    CHECK(large > 8 * judge.floor().divergence);
  }
  const double all_steps = score(judge, "ddpm_fixed_large", 1000).divergence;
  CHECK(all_steps < 1.3 * score(judge, "ddpm", 1000).divergence);
  CHECK(all_steps < 3 * judge.floor().divergence);
}

TEST_CASE("multistep methods of high order win below 10 evaluations", "[benchmarks][samplers]") {
  for (const auto& mixture : {bench::mixture_2d(), bench::mixture_64d()}) {
    const bench::MixtureJudge judge(mixture, 1024, 1);
    INFO(mixture.dimension());
    for (const std::int64_t evaluations : {6, 8, 10}) {
      INFO(evaluations);
      const double euler = score(judge, "ddim", evaluations).divergence;
      // Heun's method runs away where its steps are long in log sigma; it may have the spacing that it bears best.
      double heun = HUGE_VAL;
      for (const auto spacing : {diffusion::Spacing::trailing, diffusion::Spacing::quadratic})
        heun = std::fmin(heun, score(judge, "heun", evaluations, spacing).divergence);
      for (const char* name : {"deis_3", "ipndm"}) {
        INFO(name);
        const double multistep = score(judge, name, evaluations).divergence;
        CHECK(multistep < (evaluations == 8 ? 0.5 : 0.75) * euler);  // at least; up to 20 times in 64 dimensions
        CHECK(multistep < 0.1 * heun);
      }
    }
    // All are right in the end.
    for (const char* name : {"ddim", "heun", "deis_3", "ipndm"})
      CHECK(score(judge, name, 100).divergence < 1.5 * judge.floor().divergence);
  }
}

TEST_CASE("runs make as many evaluations as were planned", "[benchmarks][samplers]") {
  const auto schedule = Schedule::linear();
  const auto mixture = bench::mixture_2d();
  for (const bench::Contender& c : bench::all_contenders()) {
    INFO(c.name);
    // Steps of an adaptive sampler have a least number, whatever its tolerance.
    const std::int64_t target = c.sampler == "rk45" ? 60 : 20;
    const auto run = bench::tune_run(c, schedule, target, [&](const auto& tuned, const auto& levels) {
      return bench::sample_mixture(mixture, tuned, schedule, levels, 8, 1).evaluations;
    });
    REQUIRE(run);
    CHECK(run->evaluations <= static_cast<double>(target));
    CHECK(run->evaluations > 0.75 * static_cast<double>(target));
    CHECK(bench::sample_mixture(mixture, run->contender, schedule, run->levels, 8, 1).evaluations == run->evaluations);
  }
  CHECK(bench::tune_run(contender("heun"), schedule, 8, {})->levels.steps() == 4);  // 2 n - 1
  CHECK_FALSE(bench::tune_run(contender("ddim"), schedule, 0, {}));
  CHECK_THROWS_WITH(bench::chosen_contenders("ddim,no_such"), ContainsSubstring("no_such"));
}

TEST_CASE("samples of a mixture do not depend on threads or on how many there are", "[benchmarks][samplers]") {
  const auto schedule = Schedule::linear();
  const auto mixture = bench::mixture_2d();
  const auto levels = diffusion::noise_levels(schedule, 5);
  const auto draw = [&](std::int64_t count, std::uint64_t seed) {
    return bench::sample_mixture(mixture, contender("ddpm"), schedule, levels, count, seed).values;
  };
  const int before = num_threads();
  set_num_threads(1);
  const auto alone = draw(300, 4);
  set_num_threads(3);
  CHECK(draw(300, 4) == alone);
  set_num_threads(before);
  auto fewer = draw(200, 4);
  CHECK(fewer == std::vector<double>(alone.begin(), alone.begin() + 400));
  CHECK(draw(300, 5) != alone);
}

TEST_CASE("a sampler's table says whether it draws noise", "[benchmarks][samplers]") {
  CHECK_FALSE(bench::facts_of(contender("ddim")).draws_noise);
  CHECK(bench::facts_of(contender("ddpm")).draws_noise);
  CHECK(bench::facts_of(contender("heun")).evaluations_a_step == 2);
  CHECK(bench::facts_of(contender("ddim")).evaluations_a_step == 1);
}

TEST_CASE("results survive on the disk, and other settings are refused", "[benchmarks][samplers]") {
  const auto path = test::scratch_folder("bench_results") / "samplers.csv";
  std::filesystem::remove(path);
  bench::ResultRow row{.set = "mixture_2d",
                       .metric = "kl",
                       .sampler = "ddim",
                       .target = 10,
                       .spacing = "trailing",
                       .steps = 10,
                       .evaluations = 9.5,
                       .samples = 100,
                       .seed = 7,
                       .model = "exact",
                       .value = 0.125,
                       .seconds = 1.5};
  {
    bench::Results results(path);
    CHECK(results.rows().empty());
    CHECK_FALSE(results.has(row));
    results.add(row);
    row.target = 20;
    row.value = std::nan("");
    results.add(row);
  }
  const bench::Results results(path);
  REQUIRE(results.rows().size() == 2);
  CHECK(results.has(row));
  const auto found = results.find("mixture_2d", "kl", "ddim", 10);
  REQUIRE(found);
  CHECK(found->evaluations == 9.5);
  CHECK(found->value == 0.125);
  CHECK(found->same_settings(row));
  CHECK(std::isnan(results.find("mixture_2d", "kl", "ddim", 20)->value));
  CHECK_FALSE(results.find("mixture_2d", "kl", "heun", 10));
  row.samples = 200;
  CHECK_THROWS_AS(results.has(row), ValueError);

  const auto damaged = path.parent_path() / "damaged.csv";
  for (const std::string line : {"mixture_2d,kl,ddim", "mixture_2d,kl,ddim,ten,trailing,10,9.5,100,7,exact,0.1,1"}) {
    std::ofstream(damaged) << bench::Results::head << "\n" << line << "\n";
    CHECK_THROWS_AS(bench::Results(damaged), FormatError);
  }
  std::ofstream(damaged) << "something else\n";
  CHECK_THROWS_AS(bench::Results(damaged), FormatError);
}
