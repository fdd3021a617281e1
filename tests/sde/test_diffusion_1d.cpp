/// The experiments of examples/forward_1d and examples/reverse_1d, with their default sizes and seed.

#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "support/catch.hpp"

#include "../../examples/support/diffusion_1d.hpp"

namespace ex = easy_diffusion::examples;

namespace {

void check_rows(const std::vector<ex::VarianceRow>& rows) {
  REQUIRE(rows.size() == 10);
  for (const auto& row : rows) {
    CAPTURE(row.step, row.measured, row.discrete, row.standard_error);
    CHECK(row.standard_error > 0);
    CHECK(std::abs(row.deviation()) <= 3);
  }
}

bool within_three(const std::vector<ex::VarianceRow>& rows) {
  for (const auto& row : rows)
    if (!(std::abs(row.deviation()) <= 3)) return false;
  return true;
}

}  // namespace

TEST_CASE("forward_1d: the variance of a million paths is sigma^2 t", "[sde][statement]") {
  ex::Diffusion1d setup;
  REQUIRE(setup.paths == 1'000'000);
  const auto rows = ex::forward_experiment(setup, 10);
  check_rows(rows);
  for (const auto& row : rows) CHECK_THAT(row.discrete, WithinRel(row.continuous, 1e-12));
  CHECK_THAT(rows.back().discrete, WithinRel(10.0, 1e-12));
}

TEST_CASE("forward_1d: other settings", "[sde][statement]") {
  ex::Diffusion1d setup{.paths = 200'000, .steps = 40, .dt = 0.03, .sigma = 2.5, .seed = 1};
  CHECK(within_three(ex::forward_experiment(setup, 10)));
  setup.as_written = true;
  const auto rows = ex::forward_experiment(setup, 10);
  CHECK(within_three(rows));
  double sum = 0;
  for (int i = 0; i < 40; ++i) sum += 2.5 * 2.5 * 0.03 * i;
  CHECK_THAT(rows.back().discrete, WithinRel(sum, 1e-12));

  // A noise that is one per cent too strong would not pass.
  auto wrong = rows;
  for (auto& row : wrong) row.measured *= 1.01 * 1.01;
  CHECK_FALSE(within_three(wrong));
}

TEST_CASE("reverse_1d: the variance of a million paths is that of Euler's recursion", "[sde][statement]") {
  ex::Diffusion1d setup;
  auto rows = ex::reverse_experiment(setup, 10);
  check_rows(rows);
  double v = 11;
  for (int i = 0; i < 100; ++i) v = v * (1 - 0.1 / (11 - 0.1 * i)) * (1 - 0.1 / (11 - 0.1 * i)) + 0.1;
  CHECK_THAT(rows.back().discrete, WithinRel(v, 1e-12));
  CHECK_THAT(rows.back().continuous, WithinRel(1.0, 1e-12));
  // The variance of the equation is another one: the measurement can tell the two apart.
  CHECK(std::abs(rows.back().measured - rows.back().continuous) > 10 * rows.back().standard_error);
  setup.paths = 200'000;
  setup.as_written = true;
  const auto literal = ex::reverse_experiment(setup, 10);
  CHECK(within_three(literal));
  CHECK(ex::reverse_start_std(setup) == 11);
}

TEST_CASE("reverse_1d: the gap to the equation halves when dt does", "[sde][statement]") {
  for (const bool as_written : {false, true}) {
    ex::Diffusion1d setup{.as_written = as_written};
    std::vector<double> gaps;
    for (int i = 0; i < 5; ++i) {
      gaps.push_back(ex::reverse_variances(setup).back() - ex::reverse_continuous_variance(setup, 10));
      setup.dt /= 2;
      setup.steps *= 2;
    }
    for (std::size_t i = 1; i < gaps.size(); ++i) CHECK_THAT(gaps[i - 1] / gaps[i], WithinAbs(2, 0.05));
    CHECK_THAT(gaps[3] / gaps[4], WithinAbs(2, 0.01));
  }
  ex::Diffusion1d too_far{.paths = 10, .reverse_from = 10};
  CHECK_THROWS_AS(ex::run_reverse(too_far, 10), easy_diffusion::ValueError);
}

TEST_CASE("the experiments do not depend on the number of threads", "[sde][statement]") {
  const int before = easy_diffusion::num_threads();
  const ex::Diffusion1d setup{.paths = 150'000};
  ex::DensityObserver density_1(12, 64), density_2(12, 64);
  easy_diffusion::set_num_threads(1);
  const auto one = ex::reverse_experiment(setup, 10, density_1);
  easy_diffusion::set_num_threads(2);
  const auto two = ex::reverse_experiment(setup, 10, density_2);
  easy_diffusion::set_num_threads(before);
  REQUIRE(one.size() == two.size());
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(one[i].measured == two[i].measured);
  CHECK(density_1.values() == density_2.values());
  CHECK(density_1.columns() == 101);
}
