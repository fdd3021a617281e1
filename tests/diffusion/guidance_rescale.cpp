// Which number of the usual scale the rescaling of guidance matches.

#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

namespace {

using X = Tensor<double>;
constexpr std::int64_t d = 64, samples = 60;

enum class Output { epsilon, v };

/// Guidance whose rescaling is that of a network's output, as others do it.
struct UsualRescale {
  const GaussianMixture &conditional, &unconditional;
  double scale, rescale;
  Output kind;

  void operator()(const X& x, const NoiseLevel& level, X& x0) const {
    X told(x.shape()), untold(x.shape());
    conditional(x, level, told);
    unconditional(x, level, untold);
    const auto output = [&](double p, double at) {
      const double epsilon = (at - level.alpha * p) / level.sigma;
      return kind == Output::epsilon ? epsilon : level.alpha * epsilon - level.sigma * p;
    };
    for (std::int64_t n = 0; n < x.extent(0); ++n) {
      std::vector<double> a(d), b(d);
      for (std::int64_t i = 0; i < d; ++i) {
        const std::int64_t j = n * d + i;
        a[static_cast<std::size_t>(i)] = output(told[j], x[j]);
        b[static_cast<std::size_t>(i)] = output(untold[j] + scale * (told[j] - untold[j]), x[j]);
      }
      const auto deviation = [](const std::vector<double>& of) {
        double mean = 0, square = 0;
        for (const double e : of) mean += e / d;
        for (const double e : of) square += (e - mean) * (e - mean) / d;
        return std::sqrt(square);
      };
      const double k = 1 + rescale * (deviation(a) / deviation(b) - 1);
      for (std::int64_t i = 0; i < d; ++i) {
        const double out = k * b[static_cast<std::size_t>(i)], at = x[n * d + i];
        x0[n * d + i] = kind == Output::epsilon ? (at - level.sigma * out) / level.alpha
                                                : level.alpha * at - level.sigma * out;
      }
    }
  }
};

/// Mean standard deviation within a sample.
template <class D>
double contrast(const D& denoiser) {
  const NoiseLevels levels = noise_levels(Schedule::linear(), 50);
  X x({samples, d});
  sde::draw_normal(x, levels.front().sigma, {1, streams::initial_state, 0});
  Ddim<X> ddim;
  sample(ddim, denoiser, x, levels, NoNoise());
  std::vector<double> deviations;
  diffusion::detail::sample_deviations(x, deviations);
  double mean = 0;
  for (const double e : deviations) mean += e / samples;
  return mean;
}

}  // namespace

TEST_CASE("rescaled guidance matches about 0.7 of the usual number", "[diffusion][guidance]") {
  // Nine pictures that share half of what they are; the condition names three.
  std::vector<MixtureComponent> nine;
  std::vector<double> shared(d);
  fill_normal(std::span<double>(shared), {5, streams::user, 99});
  for (std::uint32_t k = 0; k < 9; ++k) {
    std::vector<double> mean(d);
    fill_normal(std::span<double>(mean), {5, streams::user, k});
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = 0.35 * (mean[i] + shared[i]);
    nine.push_back({1, mean, 0.3});
  }
  const GaussianMixture everything(nine), three({nine[0], nine[1], nine[2]});
  for (const double scale : {3.0, 7.5}) {
    const double plain = contrast(three), full = contrast(guided(three, everything, scale));
    CHECK(full > 1.03 * plain);
    const auto here = [&](double rescale) { return contrast(guided(three, everything, scale, rescale)); };
    const double v = contrast(UsualRescale{three, everything, scale, 0.7, Output::v});
    const double epsilon = contrast(UsualRescale{three, everything, scale, 0.7, Output::epsilon});
    CAPTURE(scale, plain, full, v, epsilon);
    CHECK(here(0.4) > v);
    CHECK(here(0.6) < v);
    CHECK(full - epsilon < 0.1 * (full - v));
  }
}
