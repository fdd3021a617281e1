// Predictions: each into each and back, and exactly what is undefined is refused.

#include "easy_diffusion/diffusion/parameterization.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

namespace {

constexpr std::array<Prediction, 5> all = {Prediction::epsilon, Prediction::x0, Prediction::v, Prediction::score,
                                           Prediction::velocity};
constexpr double x0 = 0.7, epsilon = -1.3;

double value(Prediction prediction, const NoiseLevel& level) {
  switch (prediction) {
    case Prediction::epsilon: return epsilon;
    case Prediction::x0: return x0;
    case Prediction::v: return level.alpha * epsilon - level.sigma * x0;
    case Prediction::score: return -epsilon / level.sigma;
    default: return epsilon - x0;
  }
}

}  // namespace

TEST_CASE("every prediction becomes every other and comes back", "[diffusion][parameterization]") {
  const auto schedule = Schedule::linear();
  std::vector<NoiseLevel> levels = {exploding_level(0.02), exploding_level(80), {0.3, 0.7, 0.3}, {0.999, 0.001, 0.999}};
  for (const int t : {0, 1, 250, 500, 999}) levels.push_back(schedule.level(t));
  for (const NoiseLevel& level : levels)
    for (const Prediction from : all)
      for (const Prediction to : all) {
        INFO(to_string(from) << " to " << to_string(to) << " at " << level.alpha << ", " << level.sigma);
        const double x = level.alpha * x0 + level.sigma * epsilon, start = value(from, level);
        double p = start;
        convert(from, to, level, x, p);
        // Of a prediction the rounding of x is left, as large as the way from x makes it.
        const double slack = 1e-15 * std::abs(prediction_map(from, to, level).x * x);
        CHECK_THAT(p, WithinAbs(value(to, level), 1e-12 * std::abs(value(to, level)) + slack));
        convert(to, from, level, x, p);
        CHECK_THAT(p, WithinRel(start, 1e-12));
      }
}

TEST_CASE("exactly the undefined conversions are refused", "[diffusion][parameterization]") {
  using P = Prediction;
  const NoiseLevel clean{-1, 1, 0}, noise{999, 0, 1}, between{500, 0.6, 0.8};
  const auto refused = [](const NoiseLevel& level) {
    std::vector<std::pair<P, P>> result;
    for (const P from : all)
      for (const P to : all) {
        try {
          double p = value(from, level);
          const double x = level.alpha * x0 + level.sigma * epsilon;
          convert(from, to, level, x, p);
          if (level.is_clean() && from == P::score) continue;  // itself, and x0, which is x
          INFO(to_string(from) << " to " << to_string(to));
          CHECK_THAT(p, WithinAbs(value(to, level), 1e-15));
        } catch (const ValueError&) { result.emplace_back(from, to); }
      }
    return result;
  };
  CHECK(refused(between).empty());
  // x0 and epsilon are both known from one that is not epsilon (or its multiple) alone.
  CHECK(refused(noise) == std::vector<std::pair<P, P>>{{P::epsilon, P::x0},
                                                       {P::epsilon, P::v},
                                                       {P::epsilon, P::velocity},
                                                       {P::score, P::x0},
                                                       {P::score, P::v},
                                                       {P::score, P::velocity}});
  CHECK(refused(clean) == std::vector<std::pair<P, P>>{{P::epsilon, P::score},
                                                       {P::x0, P::epsilon},
                                                       {P::x0, P::v},
                                                       {P::x0, P::score},
                                                       {P::x0, P::velocity},
                                                       {P::v, P::score},
                                                       {P::score, P::epsilon},
                                                       {P::score, P::v},
                                                       {P::score, P::velocity},
                                                       {P::velocity, P::score}});
  double p = 0;
  CHECK_THROWS_WITH(convert(P::epsilon, P::x0, noise, 1.0, p), ContainsSubstring("x0") && ContainsSubstring("epsilon"));
}

TEST_CASE("predictions have names", "[diffusion][parameterization]") {
  for (const Prediction prediction : all) CHECK(prediction_by_name(to_string(prediction)) == prediction);
  CHECK_THROWS_WITH(prediction_by_name("noise"), ContainsSubstring("velocity") && ContainsSubstring("'noise'"));
}

TEST_CASE("a denoiser from any prediction, with its variance", "[diffusion][denoiser]") {
  using Point = std::array<double, 2>;
  const NoiseLevel level{10, 0.6, 0.8};
  const Point x = {0.6 * x0 + 0.8 * epsilon, 0.6 * x0 + 0.8 * epsilon};
  const auto model = [&level](const Point&, double time, Point& out) {
    CHECK(time == 10);
    out = {value(Prediction::v, level), value(Prediction::v, level)};
  };
  Point got{};
  const auto denoiser = make_denoiser(model, Prediction::v);
  denoiser(x, level, got);
  for (const double e : got) CHECK_THAT(e, WithinRel(x0, 1e-14));
  static_assert(Denoiser<decltype(denoiser), Point> && !VarianceDenoiser<decltype(denoiser), Point>);

  struct WithVariance {
    void operator()(const Point&, double, Point& out) const { out = {epsilon, epsilon}; }
    void operator()(const Point&, double, Point& out, Point& v) const {
      out = {epsilon, epsilon};
      v = {0.25, -0.5};
    }
  };
  const auto learned = make_denoiser(WithVariance{}, Prediction::epsilon);
  static_assert(VarianceDenoiser<decltype(learned), Point>);
  const CountingDenoiser counted(learned);
  Point v{};
  counted(x, level, got, v);
  counted(x, level, got);
  for (const double e : got) CHECK_THAT(e, WithinRel(x0, 1e-14));
  CHECK(v == Point{0.25, -0.5});
  CHECK(counted.evaluations() == 2);
}
