// Which levels a run visits: ask n, get n.

#include "easy_diffusion/diffusion/spacing.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

namespace {

constexpr std::size_t whole_spacings = 4;
using Times = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("n steps asked are n steps got, strictly monotone", "[diffusion][spacing]") {
  const auto schedule = Schedule::linear();
  for (std::size_t which = 0; which < spacing_names.size(); ++which)
    for (const End end : {End::clean, End::smallest})
      for (const std::int64_t n : {1, 2, 13, 300, 600, 999, 1000}) {
        INFO(spacing_names[which] << ", " << n << (end == End::clean ? " to clean" : " to the smallest"));
        const SpacingOptions options{.spacing = static_cast<Spacing>(which), .end = end};
        if (end == End::smallest && n == 1000) {
          CHECK_THROWS_WITH(noise_levels(schedule, n, options), ContainsSubstring("1 to 999"));
          continue;
        }
        const NoiseLevels levels = noise_levels(schedule, n, options);  // checks that signal-to-noise ratios rise
        REQUIRE(levels.steps() == n);
        CHECK(levels.denoises());
        for (std::int64_t i = 0; i <= n; ++i) {
          if (i > 0) CHECK(levels[i].time < levels[i - 1].time);
          if (which < whole_spacings) CHECK(levels[i].time == std::floor(levels[i].time));
        }
        CHECK(levels.back() == schedule.level(end == End::clean ? -1 : 0));
        if (options.spacing != Spacing::leading) CHECK(levels.front() == schedule.level(999));
        if (which < whole_spacings && end == End::clean) {
          const Times times = timesteps(1000, n, options);
          REQUIRE(static_cast<std::int64_t>(times.size()) == n);
          CHECK((times.front() >= 0 && times.back() <= 999));
          for (std::int64_t i = 0; i < n; ++i)
            CHECK(levels[i].time == static_cast<double>(times[static_cast<std::size_t>(n - 1 - i)]));
        }
      }
}

TEST_CASE("timesteps of the spacings", "[diffusion][spacing]") {
  const auto of = [](std::int64_t total, std::int64_t n, Spacing spacing, double end = 1) {
    return timesteps(total, n, {.spacing = spacing, .quadratic_end = end});
  };
  CHECK(of(1000, 4, Spacing::leading) == Times{0, 250, 500, 750});
  CHECK(of(1000, 3, Spacing::leading) == Times{0, 333, 666});
  CHECK(of(1000, 1, Spacing::leading) == Times{0});
  CHECK(of(1000, 4, Spacing::trailing) == Times{249, 499, 749, 999});
  CHECK(of(1000, 3, Spacing::trailing) == Times{332, 666, 999});
  CHECK(of(1000, 1, Spacing::trailing) == Times{999});
  CHECK(of(1000, 5, Spacing::linspace) == Times{0, 250, 500, 749, 999});
  CHECK(of(1000, 1, Spacing::linspace) == Times{999});
  CHECK(of(1000, 4, Spacing::quadratic) == Times{0, 111, 444, 999});
  CHECK(of(1000, 4, Spacing::quadratic, 0.8 * 1000 / 999) == Times{0, 89, 356, 800});  // the original's end
  CHECK(of(1000, 1, Spacing::quadratic) == Times{999});
  CHECK(of(10, 8, Spacing::quadratic) ==
        Times{0, 1, 2, 3, 4, 5, 7, 9});  // 0, 0.2, 0.7, 1.7, 2.9, 4.6, 6.6, 9: pushed apart
  Times every(1000);
  std::iota(every.begin(), every.end(), 0);
  for (const Spacing spacing : {Spacing::leading, Spacing::trailing, Spacing::linspace, Spacing::quadratic})
    CHECK(of(1000, 1000, spacing) == every);
}

TEST_CASE("halves are rounded to even, as others round them", "[diffusion][spacing]") {
  // numpy.round(numpy.arange(1000, 0, -62.5)) - 1: halves upwards give 62, 312, 562 and 812 in place of four of these.
  CHECK(timesteps(1000, 16, {.spacing = Spacing::trailing}) ==
        Times{61, 124, 187, 249, 311, 374, 437, 499, 561, 624, 687, 749, 811, 874, 937, 999});
  // numpy.linspace(0, 999, 13).round()
  CHECK(timesteps(1000, 13, {.spacing = Spacing::linspace}) ==
        Times{0, 83, 166, 250, 333, 416, 500, 583, 666, 749, 832, 916, 999});
}

TEST_CASE("the original's quadratic timesteps are truncated and repeated", "[diffusion][spacing]") {
  // [int(s) for s in numpy.linspace(0, numpy.sqrt(0.8 * T), n) ** 2]
  const auto of = [](std::int64_t total, std::int64_t n) { return timesteps(total, n, original_quadratic(total)); };
  CHECK(of(1000, 10) == Times{0, 9, 39, 88, 158, 246, 355, 483, 632, 800});
  CHECK(of(1000, 20) == Times{0, 2, 8, 19, 35, 55, 79, 108, 141, 179, 221, 268, 319, 374, 434, 498, 567, 640, 718, 800});
  const Times hundred = of(1000, 100);
  REQUIRE(hundred.size() == 100);
  CHECK(Times(hundred.begin(), hundred.begin() + 12) == Times{0, 0, 0, 0, 1, 2, 2, 3, 5, 6, 8, 9});
  CHECK(Times(hundred.end() - 3, hundred.end()) == Times{768, 783, 800});
  const auto sum = [&](std::int64_t total, std::int64_t n) {
    const Times times = of(total, n);
    return std::accumulate(times.begin(), times.end(), std::int64_t{0});
  };
  CHECK(sum(1000, 50) == 13448);
  CHECK(sum(1000, 100) == 26747);
  CHECK(sum(1000, 999) == 266040);
  CHECK(sum(100, 30) == 801);
  CHECK(sum(4000, 77) == 82637);
  CHECK(of(1000, 1) == Times{0});
  // A level is visited once: a step to itself would leave the state as it is.
  const NoiseLevels levels = noise_levels(Schedule::linear(), 100, original_quadratic(1000));
  CHECK(levels.steps() == 96);
  CHECK(levels.front().time == 800);
  CHECK(levels[levels.steps() - 1].time == 0);
  CHECK_THROWS_AS(timesteps(1000, 10, {.spacing = Spacing::linspace, .rounding = Rounding::truncated}), ValueError);
  SpacingOptions one = original_quadratic(1000);
  one.end = End::smallest;
  CHECK(noise_levels(Schedule::linear(), 10, one).back().time == 0);
}

TEST_CASE("levels between timesteps fall evenly in what their spacing says", "[diffusion][spacing]") {
  const auto schedule = Schedule::scaled_linear();
  const std::int64_t n = 12;
  const auto karras = noise_levels(schedule, n, {.spacing = Spacing::karras, .end = End::smallest, .rho = 5});
  const auto exponential = noise_levels(schedule, n, {.spacing = Spacing::exponential, .end = End::smallest});
  const auto log_snr = noise_levels(schedule, n, {.spacing = Spacing::log_snr, .end = End::smallest});
  const double high = schedule.level(999).noise_to_signal(), low = schedule.level(0).noise_to_signal();
  for (std::int64_t i = 0; i <= n; ++i) {
    const double part = static_cast<double>(i) / 12;
    CHECK_THAT(std::pow(karras[i].noise_to_signal(), 0.2),
               WithinRel(std::pow(high, 0.2) + part * (std::pow(low, 0.2) - std::pow(high, 0.2)), 1e-12));
    CHECK_THAT(log_snr[i].lambda(), WithinAbs(-std::log(high) + part * (std::log(high) - std::log(low)), 1e-12));
    CHECK(exponential[i] == log_snr[i]);
    // The network is told a time whose level it is.
    CHECK_THAT(schedule.level_at(karras[i].time).noise_to_signal(), WithinRel(karras[i].noise_to_signal(), 1e-10));
  }
}

TEST_CASE("levels without a schedule", "[diffusion][spacing]") {
  for (const std::int64_t n : {1, 2, 18}) {
    const auto clean = karras_levels(80, 0.002, n), smallest = karras_levels(80, 0.002, n, 7, End::smallest);
    REQUIRE(clean.steps() == n);
    REQUIRE(smallest.steps() == n);
    CHECK(clean.front() == exploding_level(80));
    CHECK(clean.back() == exploding_level(0));
    CHECK(smallest.front() == exploding_level(80));
    CHECK(smallest.back() == exploding_level(0.002));
    if (n > 1) CHECK(clean[n - 1] == exploding_level(0.002));
    const auto flow = flow_levels(n);
    REQUIRE(flow.steps() == n);
    CHECK(flow.front() == NoiseLevel{1, 0, 1});
    CHECK(flow.back() == NoiseLevel{0, 1, 0});
    for (std::int64_t i = 0; i <= n; ++i) CHECK_THAT(flow[i].alpha + flow[i].sigma, WithinAbs(1, 1e-15));
  }
  CHECK_THROWS_AS(karras_levels(80, 0.002, 0), ValueError);
  CHECK_THROWS_AS(karras_levels(0.002, 80, 5), ValueError);
  CHECK_THROWS_AS(karras_levels(80, 0, 5), ValueError);
  CHECK_THROWS_AS(karras_levels(80, 0.002, 5, 0), ValueError);
  CHECK_THROWS_AS(flow_levels(0), ValueError);
}

TEST_CASE("spacings refuse what they cannot do", "[diffusion][spacing]") {
  const auto schedule = Schedule::linear();
  for (std::size_t which = 0; which < spacing_names.size(); ++which) {
    const SpacingOptions options{.spacing = static_cast<Spacing>(which)};
    CHECK_THROWS_WITH(noise_levels(schedule, 0, options), ContainsSubstring("1 to 1000") && ContainsSubstring("got 0"));
    CHECK_THROWS_AS(noise_levels(schedule, -3, options), ValueError);
    CHECK_THROWS_AS(noise_levels(schedule, 1001, options), ValueError);
    CHECK(spacing_by_name(spacing_names[which]) == options.spacing);
  }
  CHECK_THROWS_AS(timesteps(1000, 10, {.spacing = Spacing::karras}), ValueError);
  CHECK_THROWS_AS(timesteps(1000, 10, {.spacing = Spacing::quadratic, .quadratic_end = 0}), ValueError);
  CHECK_THROWS_AS(timesteps(1000, 10, {.spacing = Spacing::quadratic, .quadratic_end = 1.5}), ValueError);
  CHECK_THROWS_AS(noise_levels(schedule, 10, {.spacing = Spacing::karras, .rho = 0}), ValueError);
  CHECK_THROWS_WITH(spacing_by_name("even"), ContainsSubstring("log_snr") && ContainsSubstring("'even'"));
  // Pure noise has no logarithm; whole timesteps visit it.
  const auto ended = schedule.with_zero_terminal_snr();
  for (const Spacing spacing : {Spacing::karras, Spacing::exponential, Spacing::log_snr})
    CHECK_THROWS_WITH(noise_levels(ended, 10, {.spacing = spacing}), ContainsSubstring("pure noise"));
  CHECK(noise_levels(ended, 10).front().is_pure_noise());
}
