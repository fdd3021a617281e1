// The bound of the discrete chain in bits per dimension: the reference's values, and data whose entropy is known.

#include "easy_diffusion/diffusion/variational_bound.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

#include "diffusion/reference.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

/// Tensors of a reference, and whether x0 was clipped for the step that it holds and for the bound.
struct BoundCase {
  const Reference& reference;
  std::string output, terms;
  bool clip_step, clip_bound;
  NormalCdf cdf;
};

void check_bound(const GaussianDiffusion& chain, const BoundCase& c) {
  const auto x0 = c.reference.read("x_0"), noise = c.reference.read("noise");
  const auto t = c.reference.whole("t");
  Tensor<double> output = c.reference.read(c.output);
  if (chain.learns_variance()) {  // the mean's channels, then the variance's
    const auto v = c.reference.read("v");
    const std::int64_t channels = x0.shape().back();
    Tensor<double> both({x0.extent(0), x0.extent(1), 2 * channels});
    for (std::int64_t i = 0; i < x0.size(); ++i) {
      both[i / channels * 2 * channels + i % channels] = output[i];
      both[i / channels * 2 * channels + channels + i % channels] = v[i];
    }
    output = both;
  }
  const auto x_t = chain.q_sample(x0, t, noise);
  CHECK(largest_difference(x_t, c.reference.read("x_t")) <= 1e-10);
  CHECK(largest_difference(chain.posterior_mean(x0, x_t, t), c.reference.read("q_mean")) <= 1e-10);
  const auto step = chain.p_mean_variance(x_t, t, output, c.clip_step);
  CHECK(largest_difference(step.mean, c.reference.read("p_mean")) <= 1e-10);
  CHECK(largest_difference(step.log_variance, c.reference.read("p_log_variance")) <= 1e-10);
  CHECK(largest_difference(step.x0, c.reference.read("pred_x0")) <= 1e-10);
  const auto got = bound_terms(chain, x0, noise, t, output, {.clip = c.clip_bound, .cdf = c.cdf});
  const auto want = c.reference.read(c.terms);
  for (std::size_t n = 0; n < t.size(); ++n) CHECK_THAT(got[n], WithinAbs(want[static_cast<std::int64_t>(n)], 1e-10));
}

}  // namespace

TEST_CASE("bounds of the reference", "[diffusion][bound]") {
  const auto file = test_data() / "discrete_diffusion.safetensors";
  const Reference full(file, "bound_full."), strided(file, "bound_strided.");
  const auto schedule = Schedule::linear();
  check_bound(GaussianDiffusion(schedule, {Prediction::epsilon, VarianceType::fixed_large}),
              {full, "output", "terms", false, false, NormalCdf::tanh_with_floor});
  check_bound(GaussianDiffusion(schedule, strided.whole("timesteps"), {Prediction::v, VarianceType::learned_range}),
              {strided, "output", "terms", true, true, NormalCdf::exact});
}

TEST_CASE("bound of the original", "[diffusion][bound]") {
  const auto file = shared_data("reference/diffusion/vlb_fixed_large_epsilon.safetensors");
  if (!file) return;
  const Reference reference(*file);
  const GaussianDiffusion chain(Schedule::linear(), {Prediction::epsilon, VarianceType::fixed_large});
  check_bound(chain, {reference, "model_output", "vlb_bpd", true, false, NormalCdf::tanh_with_floor});
  const auto log_variance = reference.read("q_log_variance");
  const auto t = reference.whole("t");
  for (std::size_t n = 0; n < t.size(); ++n)
    CHECK_THAT(chain.posterior_log_variance(t[n]),
               WithinAbs(log_variance(static_cast<std::int64_t>(n), 0, 0, 0), 1e-10));
}

TEST_CASE("a model that knows the pictures codes them for nothing but the last step", "[diffusion][bound]") {
  // Two pictures; the one that the chain noised is told to the model: KL terms are zero.
  const GaussianDiffusion chain(Schedule::linear(), {Prediction::x0, VarianceType::fixed_small});
  const Tensor<double> x0({2, 3}, {-1, 1, 5 / 127.5 - 1, 1, 200 / 127.5 - 1, 1 / 127.5 - 1});
  BoundEstimate estimate(chain);
  std::int64_t calls = 0;
  estimate.add(
      [&](const Tensor<double>&, const Tensor<double>& times) {
        CHECK(times.shape() == Shape{2});
        CHECK(times[0] == static_cast<double>(calls++));
        return x0;
      },
      x0);
  CHECK(calls == 1000);
  const auto bound = estimate.result();
  REQUIRE(bound.terms.size() == 1000);
  CHECK((bound.terms[0] > 0 && bound.terms[0] < 1));
  for (std::size_t t = 1; t < 1000; ++t) CHECK_THAT(bound.terms[t], WithinAbs(0, 1e-12));
  CHECK((bound.prior > 0 && bound.prior < 1e-4));
  CHECK_THAT(bound.total(), WithinAbs(bound.terms[0] + bound.prior, 1e-9));
}

TEST_CASE("the exact denoiser of even pixels comes close to their entropy, and no lower", "[diffusion][bound]") {
  // Each pixel is one of four values with equal chances: 2 bits.
  const std::vector<int> bytes = {0, 90, 140, 255};
  const auto schedule = Schedule::linear();
  const auto model = [&](const Tensor<double>& x, const Tensor<double>& times) {
    Tensor<double> x0 = x;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const NoiseLevel level = schedule.level(static_cast<std::int64_t>(times[i / (x.size() / x.extent(0))]));
      double total = 0, mean = 0;
      for (const int k : bytes) {
        const double value = k / 127.5 - 1, off = (x[i] - level.alpha * value) / level.sigma;
        const double share = std::exp(-0.5 * off * off) + 1e-300;
        total += share;
        mean += share * value;
      }
      x0[i] = mean / total;
    }
    return x0;
  };
  Tensor<double> x0({20, 64});
  std::vector<int> which;
  for (std::int64_t i = 0; i < x0.size(); ++i) {
    which.push_back(
        bytes[static_cast<std::size_t>(uniform_integer(4, {8, streams::user, 0}, static_cast<std::uint64_t>(i)))]);
    x0[i] = which.back() / 127.5 - 1;
  }
  const auto bound_of = [&](std::int64_t stride) {
    std::vector<std::int64_t> timesteps;
    for (std::int64_t t = 0; t < 1000; t += stride) timesteps.push_back(t);
    BoundEstimate estimate(GaussianDiffusion(schedule, timesteps, {Prediction::x0, VarianceType::fixed_small}), 3);
    estimate.add(model, x0);
    return estimate.result();
  };
  const VariationalBound full = bound_of(1), few = bound_of(111);
  CHECK(few.terms.size() == 10);
  // The last step knows the value; what it pays is that its normal distribution is wider than a bin.
  const double log_variance = GaussianDiffusion(schedule).posterior_log_variance(0);
  double decoder = 0;
  for (const int k : which)
    decoder -= bin_likelihood(k / 127.5 - 1, k / 127.5 - 1, log_variance).log_probability / std::log(2.0) /
               static_cast<double>(x0.size());
  CHECK_THAT(full.terms[0], WithinAbs(decoder, 1e-9));
  // What was paid before is the entropy; a chain of few steps pays more.
  const double before = full.total() - full.terms[0];
  CHECK_THAT(before, WithinAbs(2, 0.1));
  CHECK(few.total() - few.terms[0] > before + 0.1);
}

TEST_CASE("a bound has the same bits however the data are cut", "[diffusion][bound][threads]") {
  const GaussianDiffusion chain(Schedule::linear(20), {Prediction::epsilon, VarianceType::learned_range});
  Tensor<float> x0({7, 3, 2});
  for (std::int64_t i = 0; i < x0.size(); ++i) x0[i] = static_cast<float>((i * 37) % 256) / 127.5F - 1;
  const auto model = [](const Tensor<float>& x, const Tensor<float>&) {
    Tensor<float> output({x.extent(0), 3, 4});
    for (std::int64_t i = 0; i < x.size(); ++i) {
      output[i / 2 * 4 + i % 2] = 0.9F * x[i];
      output[i / 2 * 4 + 2 + i % 2] = 0.1F * x[i];
    }
    return output;
  };
  const auto cut = [&](const std::vector<std::int64_t>& parts, int threads) {
    const Threads scope(threads);
    BoundEstimate estimate(chain, 12);
    std::int64_t first = 0;
    for (const std::int64_t count : parts) {
      Tensor<float> part({count, 3, 2});
      for (std::int64_t i = 0; i < part.size(); ++i) part[i] = x0[first * 6 + i];
      estimate.add(model, part);
      first += count;
    }
    CHECK(estimate.samples() == 7);
    return estimate.result();
  };
  const auto whole = cut({7}, 1);
  CHECK(std::isfinite(whole.total()));
  for (const auto& other : {cut({3, 4}, 3), cut({1, 1, 5}, 1)}) {
    CHECK(other.terms == whole.terms);
    CHECK(other.prior == whole.prior);
  }
}

TEST_CASE("the prior's part is the divergence of the last state", "[diffusion][bound]") {
  const auto schedule = Schedule::linear();
  const GaussianDiffusion short_chain(schedule, std::vector<std::int64_t>{0, 100});
  const double a = schedule.alpha_bar(100), x = -0.6;
  CHECK_THAT(prior_bits(short_chain, x),
             WithinRel(0.5 * (1 - a + a * x * x - 1 - std::log(1 - a)) / std::log(2.0), 1e-12));
  CHECK(prior_bits(GaussianDiffusion(schedule.with_zero_terminal_snr()), x) == 0);
}

TEST_CASE("bounds refuse what they cannot be of", "[diffusion][bound]") {
  const GaussianDiffusion chain(Schedule::linear(5));
  const auto same = [](const Tensor<double>& x, const Tensor<double>&) { return x; };
  BoundEstimate estimate(chain);
  CHECK_THROWS_AS(estimate.result(), ValueError);
  CHECK_THROWS_WITH(estimate.add(same, Tensor<double>({1, 2}, {0.3, 0.1})), ContainsSubstring("8-bit"));
  CHECK_THROWS_AS(estimate.add(same, Tensor<double>({0, 2})), ShapeError);
  CHECK_THROWS_AS(estimate.add(
                      [](const Tensor<double>& x, const Tensor<double>&) {
                        return Tensor<double>({x.extent(0), 3});
                      },
                      Tensor<double>({1, 2}, {1, -1})),
                  ShapeError);
  CHECK(estimate.samples() == 0);
  estimate.add(same, Tensor<double>({1, 2}, {1, -1}));
  CHECK_THROWS_AS(estimate.add(same, Tensor<double>({1, 3}, {1, -1, 1})), ShapeError);
  CHECK(estimate.samples() == 1);
}
