// Which timesteps a training batch is shown.

#include "easy_diffusion/diffusion/timestep_sampler.hpp"

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

std::vector<double> frequencies(const DrawnTimesteps& drawn, std::size_t steps) {
  std::vector<double> result(steps);
  for (const std::int64_t t : drawn.t) result[static_cast<std::size_t>(t)] += 1 / static_cast<double>(drawn.t.size());
  return result;
}

/// Losses of t + 1 everywhere, three times, of which the first is forgotten.
ImportanceTimesteps warm_sampler(std::int64_t steps) {
  ImportanceTimesteps sampler(steps, 2, 0.1);
  for (int round = 0; round < 3; ++round)
    for (std::int64_t t = 0; t < steps; ++t) {
      const std::vector<std::int64_t> which = {t};
      sampler.update(which, std::vector<double>{round == 0 ? 1e6 : static_cast<double>(t + 1)});
    }
  return sampler;
}

template <class Sampler>
void check_addresses(const Sampler& sampler, std::int64_t steps) {
  const auto whole = sampler.draw(3, 17, 0, 50);
  REQUIRE(whole.t.size() == 50);
  REQUIRE(whole.weights.size() == 50);
  for (const std::int64_t t : whole.t) CHECK((t >= 0 && t < steps));
  // A part of the batch is shown what it is shown in the whole.
  const auto part = sampler.draw(3, 17, 13, 9);
  for (std::size_t n = 0; n < 9; ++n) {
    CHECK(part.t[n] == whole.t[13 + n]);
    CHECK(part.weights[n] == whole.weights[13 + n]);
  }
  CHECK(sampler.draw(3, 18, 0, 50).t != whole.t);
  CHECK(sampler.draw(4, 17, 0, 50).t != whole.t);
  CHECK(sampler.draw(3, 17, 0, 0).t.empty());
  CHECK_THROWS_AS(sampler.draw(3, 17, -1, 5), ValueError);
  CHECK_THROWS_AS(sampler.draw(3, 17, 0, -5), ValueError);
}

}  // namespace

TEST_CASE("uniform timesteps", "[diffusion][timesteps]") {
  const UniformTimesteps sampler(8);
  check_addresses(sampler, 8);
  const auto drawn = sampler.draw(1, 0, 0, 40000);
  for (const double f : frequencies(drawn, 8)) CHECK_THAT(f, WithinAbs(0.125, 0.008));
  for (const double w : drawn.weights) CHECK(w == 1);
  CHECK_THROWS_AS(UniformTimesteps(0), ValueError);
}

TEST_CASE("antithetic timesteps come in pairs t and T - 1 - t", "[diffusion][timesteps]") {
  const AntitheticTimesteps sampler(1000);
  check_addresses(sampler, 1000);
  const auto drawn = sampler.draw(1, 2, 0, 101);
  for (std::size_t n = 0; n + 1 < 101; n += 2) CHECK(drawn.t[n] + drawn.t[n + 1] == 999);
  CHECK(drawn.t[0] != drawn.t[2]);
  for (const double f : frequencies(AntitheticTimesteps(5).draw(1, 2, 0, 40000), 5))
    CHECK_THAT(f, WithinAbs(0.2, 0.01));
  CHECK_THROWS_AS(AntitheticTimesteps(0), ValueError);
}

TEST_CASE("importance by the losses' second moment", "[diffusion][timesteps]") {
  const auto sampler = warm_sampler(6);
  check_addresses(sampler, 6);
  REQUIRE(sampler.is_warm());
  const auto chances = sampler.probabilities();
  for (std::size_t t = 0; t < 6; ++t)
    CHECK_THAT(chances[t], WithinRel(0.9 * static_cast<double>(t + 1) / 21 + 0.1 / 6, 1e-12));
  const auto drawn = sampler.draw(2, 0, 0, 60000);
  const auto seen = frequencies(drawn, 6);
  double weighted = 0;
  for (std::size_t t = 0; t < 6; ++t) CHECK_THAT(seen[t], WithinAbs(chances[t], 0.01));
  for (std::size_t n = 0; n < drawn.t.size(); ++n) {
    CHECK_THAT(drawn.weights[n], WithinRel(1 / (6 * chances[static_cast<std::size_t>(drawn.t[n])]), 1e-12));
    weighted += drawn.weights[n] * static_cast<double>(drawn.t[n]) / static_cast<double>(drawn.t.size());
  }
  CHECK_THAT(weighted, WithinAbs(2.5, 0.05));  // the mean of uniform steps

  // Until it has seen every step often enough it draws evenly.
  ImportanceTimesteps cold(4, 3);
  for (const std::int64_t t : {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2})
    cold.update(std::vector<std::int64_t>{t}, std::vector<double>{100.0 * static_cast<double>(t)});
  CHECK_FALSE(cold.is_warm());
  CHECK(cold.probabilities() == std::vector<double>(4, 0.25));
  cold.update(std::vector<std::int64_t>{3}, std::vector<double>{1});
  CHECK(cold.is_warm());
  CHECK(cold.probabilities() != std::vector<double>(4, 0.25));
}

TEST_CASE("losses that say nothing leave the draws even", "[diffusion][timesteps]") {
  for (const double loss : {0.0, std::nan(""), HUGE_VAL}) {
    ImportanceTimesteps sampler(3, 1);
    sampler.update(std::vector<std::int64_t>{0, 1, 2}, std::vector<double>{loss, loss, loss});
    CHECK(sampler.is_warm());
    CHECK(sampler.probabilities() == std::vector<double>(3, 1.0 / 3));
  }
  // A step without loss is never drawn where nothing is drawn evenly.
  ImportanceTimesteps sampler(3, 1, 0);
  sampler.update(std::vector<std::int64_t>{0, 1, 2}, std::vector<double>{0, 1, 0});
  for (const std::int64_t t : sampler.draw(1, 1, 0, 1000).t) CHECK(t == 1);
}

TEST_CASE("the history of losses is data", "[diffusion][timesteps]") {
  const auto sampler = warm_sampler(6);
  ImportanceTimesteps resumed(6, 2, 0.1);
  resumed.restore(sampler.history());
  CHECK(resumed.draw(9, 9, 0, 100).t == sampler.draw(9, 9, 0, 100).t);
  CHECK(same_bits(resumed.history().losses, sampler.history().losses));
  CHECK(sampler.history().losses(2, 0) == 3);

  CHECK_THROWS_AS(ImportanceTimesteps(6, 3).restore(sampler.history()), ShapeError);
  CHECK_THROWS_AS(ImportanceTimesteps(5, 2).restore(sampler.history()), ShapeError);
  auto broken = sampler.history();
  broken.count[3] = 3;
  CHECK_THROWS_AS(resumed.restore(broken), ValueError);
  CHECK_THROWS_AS(resumed.update(std::vector<std::int64_t>{0, 1}, std::vector<double>{1}), ShapeError);
  CHECK_THROWS_AS(resumed.update(std::vector<std::int64_t>{0, 6}, std::vector<double>{1, 1}), ValueError);
  CHECK_THROWS_AS(ImportanceTimesteps(0), ValueError);
  CHECK_THROWS_AS(ImportanceTimesteps(5, 0), ValueError);
  CHECK_THROWS_AS(ImportanceTimesteps(5, 1, 1.5), ValueError);
}
