#include "easy_diffusion/diffusion/guidance.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/clipping.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

/// A score that is 2 x + t, and 5 more than that with the condition.
struct Affine {
  using value_type = double;
  mutable int calls = 0;

  [[nodiscard]] Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& t, double condition = 0) const {
    ++calls;
    Tensor<double> y = x;
    for (std::int64_t i = 0; i < y.size(); ++i) y[i] = 2 * x[i] + t[i / (x.size() / x.extent(0))] + condition;
    return y;
  }
};

/// Of each kind: variance preserving, exploding, rectified flow.
const std::vector<diffusion::NoiseLevel> some_levels = {{3, 0.8, 0.6}, {2, 1, 2}, {0.7, 0.3, 0.7}};

}  // namespace

TEST_CASE("guidance goes from the score without the condition through the one with it", "[diffusion][guidance]") {
  const Affine model;
  const auto x = random_tensor<double>({2, 3}, 1);
  const Tensor<double> t({2}, {0.25, 0.5});
  for (const auto& [scale, calls] : {std::pair{0.0, 1}, {1.0, 1}, {2.5, 2}, {0.5, 2}}) {
    const diffusion::Guided guided(model, 5.0, scale);
    model.calls = 0;
    const auto y = guided.forward(x, t);
    CHECK(model.calls == calls);
    CHECK(guided.evaluations() == calls);
    for (std::int64_t i = 0; i < x.size(); ++i) CHECK_THAT(y[i], WithinAbs(2 * x[i] + t[i / 3] + scale * 5, 1e-12));
  }
}

TEST_CASE("guidance between two Gaussians is the denoiser of a third", "[diffusion][guidance]") {
  using diffusion::GaussianMixture;
  // The denoiser of N(m, d^2) is affine in m.
  const GaussianMixture told({{1, {0.7}, 0.4}}), untold({{1, {-0.2}, 0.4}});
  const auto x = random_tensor<double>({6, 1}, 1, 2);
  Tensor<double> got(x.shape()), want(x.shape());
  for (const double scale : {-1.0, 0.0, 0.5, 1.0, 3.0, 7.5}) {
    const GaussianMixture third({{1, {-0.2 + scale * 0.9}, 0.4}});
    for (const auto& level : some_levels) {
      diffusion::guided(told, untold, scale)(x, level, got);
      third(x, level, want);
      CHECK(largest_difference(got, want) <= 1e-13);
    }
  }
  // A whole run, whose network predicts epsilon and is guided in epsilon, goes the same way.
  const auto levels = noise_levels(diffusion::Schedule::linear(), 20);
  const auto schedule = diffusion::Schedule::linear();
  const auto guided_epsilon = [&](const Tensor<double>& state, double time, Tensor<double>& out) {
    const auto level = schedule.level_at(time);
    Tensor<double> other = state;
    told(state, level, out);
    untold(state, level, other);
    convert(diffusion::Prediction::x0, diffusion::Prediction::epsilon, level, state, out);
    convert(diffusion::Prediction::x0, diffusion::Prediction::epsilon, level, state, other);
    for (std::int64_t i = 0; i < out.size(); ++i) out[i] = other[i] + 3 * (out[i] - other[i]);
  };
  diffusion::Ddim<Tensor<double>> ddim;
  auto a = x, b = x;
  sample(ddim, diffusion::guided(told, untold, 3), a, levels, diffusion::NoNoise());
  sample(ddim, diffusion::make_denoiser(guided_epsilon, diffusion::Prediction::epsilon), b, levels,
         diffusion::NoNoise());
  CHECK(relative_error(a, b) <= 1e-12);
}

TEST_CASE("guidance evaluates a model only where its answer counts", "[diffusion][guidance]") {
  const diffusion::GaussianMixture one({{1, {1}, 0.5}}), other({{1, {-1}, 0.5}});
  for (const auto& [scale, told_calls, untold_calls] :
       {std::tuple{0.0, 0, 1}, {1.0, 1, 0}, {2.5, 1, 1}, {0.5, 1, 1}, {-1.0, 1, 1}}) {
    const diffusion::CountingDenoiser told(one), untold(other);
    const auto guided = diffusion::guided(std::cref(told), std::cref(untold), scale, 0.7);
    double x0 = 0;
    guided(0.3, some_levels[0], x0);
    CHECK(told.evaluations() == told_calls);
    CHECK(untold.evaluations() == untold_calls);
    CHECK(guided.evaluations() == told_calls + untold_calls);
  }
  for (const double bad : {HUGE_VAL, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(diffusion::guided(one, other, bad), ValueError);
    CHECK_THROWS_AS(diffusion::classifier_guided(one, other, bad), ValueError);
    CHECK_THROWS_AS(diffusion::guided(one, other, 2, bad), ValueError);
  }
  CHECK_THROWS_AS(diffusion::guided(one, other, 2, -0.1), ValueError);
  CHECK_THROWS_AS(diffusion::guided(one, other, 2, 1.1), ValueError);
}

TEST_CASE("rescaling gives each sample the deviation of the conditional prediction", "[diffusion][guidance]") {
  const auto wanted = random_tensor<double>({4, 6, 5}, 1), base = random_tensor<double>({4, 6, 5}, 2, 0.5);
  const auto fixed = [](const Tensor<double>& values) {
    return [&values](const Tensor<double>&, const diffusion::NoiseLevel&, Tensor<double>& x0) { x0 = values; };
  };
  const auto run = [&](double rescale, const Tensor<double>& told, const Tensor<double>& untold) {
    Tensor<double> x0(told.shape());
    diffusion::guided(fixed(told), fixed(untold), 7.5, rescale)(told, some_levels[0], x0);
    return x0;
  };
  const auto deviation = [](const Tensor<double>& x, std::int64_t n) {
    double mean = 0, square = 0;
    for (std::int64_t i = 0; i < 30; ++i) mean += x[n * 30 + i] / 30;
    for (std::int64_t i = 0; i < 30; ++i) square += (x[n * 30 + i] - mean) * (x[n * 30 + i] - mean) / 30;
    return std::sqrt(square);
  };
  const auto plain = run(0, wanted, base), whole = run(1, wanted, base), part = run(0.7, wanted, base);
  for (std::int64_t n = 0; n < 4; ++n) {
    CHECK(deviation(plain, n) > 3 * deviation(wanted, n));
    CHECK_THAT(deviation(whole, n), WithinRel(deviation(wanted, n), 1e-12));
    CHECK_THAT(deviation(part, n), WithinRel(0.7 * deviation(wanted, n) + 0.3 * deviation(plain, n), 1e-12));
    const double factor = whole[n * 30] / plain[n * 30];
    for (std::int64_t i = n * 30; i < (n + 1) * 30; ++i) CHECK_THAT(whole[i], WithinAbs(factor * plain[i], 1e-12));
  }
  // A sample does not depend on its batch.
  const auto second = [](const Tensor<double>& x) { return Tensor<double>::copy_of(x.view().slice(1, 1)); };
  CHECK(same_bits(run(0.7, second(wanted), second(base)), second(part)));
  // Samples without any contrast have none to give back.
  const Tensor<double> flat({4, 6, 5}, 2.0), dark({4, 6, 5}, 1.0);
  CHECK(same_bits(run(1, flat, dark), Tensor<double>({4, 6, 5}, 8.5)));
}

TEST_CASE("a classifier's gradient turns the prior's denoiser into the posterior's", "[diffusion][guidance]") {
  // x0 ~ N(m, d^2) in each element, and y = x0 + r z: all of it stays Gaussian.
  constexpr double m = 0.3, d = 0.8, r = 0.5, y = 1.7;
  const diffusion::GaussianMixture prior({{1, {m}, d}});
  const double precision = 1 / (d * d) + 1 / (r * r);
  const diffusion::GaussianMixture posterior(
      {{1, {(m / (d * d) + y / (r * r)) / precision}, std::sqrt(1 / precision)}});
  // Given x, y is normal with mean E[x0 | x] and variance Var[x0 | x] + r^2.
  const auto gradient = [&](const auto& x, const diffusion::NoiseLevel& level, auto& out) {
    const double variance = level.alpha * level.alpha * d * d + level.sigma * level.sigma;
    const double slope = level.alpha * d * d / variance, left = d * d * level.sigma * level.sigma / variance;
    prior(x, level, out);
    for (auto& e : out) e = (y - e) / (left + r * r) * slope;
  };
  const auto x = random_tensor<double>({6, 1}, 1, 2);
  Tensor<double> got(x.shape()), want(x.shape());
  for (const auto& level : some_levels) {
    diffusion::classifier_guided(prior, gradient, 1)(x, level, got);
    posterior(x, level, want);
    CHECK(largest_difference(got, want) <= 1e-13);
    // Scale 2 is one more of the same, 0 none, and then nobody is asked for a gradient.
    Tensor<double> twice(x.shape()), none(x.shape());
    diffusion::classifier_guided(prior, gradient, 2)(x, level, twice);
    const auto never = [](const auto&, const auto&, auto&) { throw ValueError("asked"); };
    diffusion::classifier_guided(prior, never, 0)(x, level, none);
    for (std::int64_t i = 0; i < x.size(); ++i) CHECK_THAT(twice[i], WithinAbs(2 * got[i] - none[i], 1e-12));
  }
  CHECK_THROWS_AS(diffusion::classifier_guided(prior, gradient, 1)(x, {1, 0, 1}, got), ValueError);
}

TEST_CASE("wrappers pass a learned variance through", "[diffusion][guidance]") {
  // x0 = m + x and v = 10 m.
  struct Learned {
    double m;
    void operator()(const double& x, const diffusion::NoiseLevel&, double& x0) const { x0 = m + x; }
    void operator()(const double& x, const diffusion::NoiseLevel&, double& x0, double& v) const {
      x0 = m + x;
      v = 10 * m;
    }
  };
  const auto both = [](const auto& denoiser) {
    static_assert(diffusion::VarianceDenoiser<std::remove_cvref_t<decltype(denoiser)>, double>);
    double x0 = 0, v = 0, alone = 0;
    denoiser(0.5, some_levels[0], x0, v);
    denoiser(0.5, some_levels[0], alone);
    CHECK(x0 == alone);
    return std::pair{x0, v};
  };
  const Learned told{2}, untold{1};
  CHECK(both(diffusion::guided(told, std::cref(untold), 3)) == std::pair{4.5, 20.0});
  CHECK(both(diffusion::guided(told, untold, 1)) == std::pair{2.5, 20.0});
  CHECK(both(diffusion::guided(told, untold, 0)) == std::pair{1.5, 10.0});
  CHECK(both(diffusion::clipped(told)) == std::pair{1.0, 20.0});
  CHECK(both(diffusion::thresholded(told)) == std::pair{1.0, 20.0});
  const auto gradient = [](const double&, const diffusion::NoiseLevel&, double& out) { out = 4; };
  const auto [x0, v] = both(diffusion::classifier_guided(told, gradient, 2));
  CHECK_THAT(x0, WithinAbs(2.5 + 2 * 4 * 0.36 / 0.8, 1e-14));
  CHECK(v == 20.0);
  const diffusion::GaussianMixture plain({{1, {1}, 0.5}});
  const auto clipped = diffusion::clipped(plain);
  static_assert(!diffusion::VarianceDenoiser<std::remove_cvref_t<decltype(clipped)>, double>);
  (void)clipped;
}
