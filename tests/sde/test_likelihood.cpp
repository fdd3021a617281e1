/// Log-likelihood along the probability-flow equation, against closed forms.

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/gaussian_mixture.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;
using namespace easy_diffusion::tests;

namespace {

const std::vector<Component> mixture{{0.5, {-1.5, 0.5}, 0.4}, {0.3, {1, 1}, 0.6}, {0.2, {0.5, -1.5}, 0.3}};
const std::array<Point, 4> points{{{-1.5, 0.5}, {0.8, 0.2}, {0.5, -1.2}, {-0.2, 0.1}}};

/// Largest error over the points; `exact_prior` takes the marginal at the last time for the prior.
template <class Process>
double worst_error(const Process& process, const std::vector<Component>& components, sde::LikelihoodOptions options,
                   bool exact_prior = false) {
  const MixtureScore<Process> score{process, components};
  options.first_time = 1e-5;
  const auto marginal = [&](const Point& x) { return score.log_density(x, options.last_time); };
  double worst = 0;
  for (const Point& x : points) {
    const auto found = exact_prior ? sde::log_likelihood(process, score, x, options, marginal)
                                   : sde::log_likelihood(process, score, x, options);
    // The density at the first time, from which the equation starts.
    const double error = std::abs(found.log_density - score.log_density(x, options.first_time));
    worst = error <= worst ? worst : error;  // keeps NaN
  }
  return worst;
}

/// Score of independent normal elements, for states of any kind.
struct Independent {
  sde::VariancePreserving<> process{};
  double deviation = 0.5;
  [[nodiscard]] double variance(double t) const {
    const double a = process.mean_factor(t), s = process.marginal_std(t);
    return a * a * deviation * deviation + s * s;
  }
  template <sde::State S>
  void pullback(const S& x, double t, const S& v, S& out, S& vjp) const {
    const auto by = [r = -1 / variance(t)](const auto& e, auto& o) {
      o = static_cast<std::remove_reference_t<decltype(o)>>(r) * e;
    };
    sde::for_each_element(by, x, out);
    sde::for_each_element(by, v, vjp);
  }
};

}  // namespace

TEST_CASE("log-likelihood of a Gaussian and of a mixture in the plane", "[sde][likelihood]") {
  const std::vector<Component> one{{1, {0.3, -0.2}, 0.7}};
  const sde::LikelihoodOptions exact{.trace = sde::Trace::exact, .tolerances = {1e-6, 1e-6}};
  const sde::LikelihoodOptions cosine{.trace = sde::Trace::exact, .last_time = 0.99, .tolerances = {1e-6, 1e-6}};
  // The equation itself, with the usual beta from 0.1 to 20.
  for (const auto& components : {one, mixture}) {
    CHECK(worst_error(sde::VariancePreserving<>(), components, exact, true) < 1e-3);
    CHECK(worst_error(sde::SubVariancePreserving<>(), components, exact, true) < 1e-3);
    CHECK(worst_error(sde::CosineVariancePreserving(), components, cosine, true) < 1e-3);
    CHECK(worst_error(sde::VarianceExploding(25), components, exact, true) < 1e-3);
  }
  // A normal prior costs what is left of the data at the last time: with the usual beta a factor of 0.0066, and some
  // 0.005 nats; nothing where beta grows on.
  CHECK(worst_error(sde::VariancePreserving<>(), one, exact) < 1e-2);
  CHECK(worst_error(sde::VariancePreserving<>(), one, exact) > 1e-3);
  CHECK(worst_error(sde::CosineVariancePreserving(), one, {.trace = sde::Trace::exact, .last_time = 0.9946}) < 1e-2);
  const sde::LinearBeta beta(0.1, 40);
  const sde::VariancePreserving<> preserving(beta);
  CHECK(worst_error(preserving, one, exact) < 1e-3);
  CHECK(worst_error(preserving, mixture, exact) < 1e-3);
  CHECK(worst_error(sde::SubVariancePreserving<>(beta), mixture, exact) < 1e-3);
  CHECK(worst_error(sde::GeometricVarianceExploding(0.01, 500), mixture, exact) < 1e-3);
  // Another density is noticed.
  auto other = one;
  other[0].deviation *= 1.001;
  const MixtureScore<sde::VariancePreserving<>> right{preserving, one}, wrong{preserving, other};
  CHECK(std::abs(sde::log_likelihood(preserving, wrong, points[0], exact).log_density -
                 right.log_density(points[0], 1e-5)) > 1e-3);
  // A round Gaussian has a Jacobian that is a multiple of one: any probe of signs is exact.
  CHECK(worst_error(preserving, one, {.tolerances = {1e-6, 1e-6}}) < 1e-3);
}

TEST_CASE("Hutchinson's estimates have the exact trace as their mean", "[sde][likelihood]") {
  const sde::VariancePreserving<> process;
  const MixtureScore<sde::VariancePreserving<>> score{process, mixture};
  const Point x{0.8, 0.2};
  const double exact = sde::log_likelihood(process, score, x, {.trace = sde::Trace::exact}).log_density;
  for (const sde::Trace trace : {sde::Trace::rademacher, sde::Trace::gaussian}) {
    sde::Moments estimates;
    for (std::uint32_t probe = 0; probe < 200; ++probe)
      estimates.merge({1, sde::log_likelihood(process, score, x, {.trace = trace, .tolerances = {1e-3, 1e-3}, .probe = probe}).log_density, 0});
    CAPTURE(estimates.mean, estimates.variance(), exact);
    CHECK(estimates.variance() > 0);  // probes differ
    CHECK(std::abs(estimates.mean - exact) < 4 * std::sqrt(estimates.variance() / 200) + 1e-3);
  }
}

TEST_CASE("likelihood of tensors, its evaluations and its errors", "[sde][likelihood]") {
  const Independent score;
  Tensor<float> x({3, 4}, 0.25F);
  const auto result = sde::log_likelihood(score.process, score, x);
  const double v = score.variance(1e-5);
  const double exact = 12 * (-0.5 * 0.0625 / v - 0.5 * std::log(2 * 3.14159265358979323846 * v));
  CHECK_THAT(result.log_density, WithinAbs(exact, 5e-3));  // floats
  CHECK(result.evaluations > 10);
  CHECK(result.evaluations < 500);
  CHECK(sde::log_likelihood(score.process, score, x).log_density == result.log_density);
  CHECK_THAT(sde::bits_per_dimension(-784 * std::log(2.0), 784, 8), WithinAbs(9, 1e-12));
  CHECK_THROWS_AS(sde::bits_per_dimension(1, 0, 8), ValueError);
  CHECK_THROWS_AS(sde::log_likelihood(score.process, score, x, {.first_time = 1, .last_time = 0.5}), ValueError);
  CHECK_THROWS_WITH(sde::log_likelihood(score.process, score, x, {.tolerances = {0, 1}}),
                    ContainsSubstring("relative tolerance"));
}
