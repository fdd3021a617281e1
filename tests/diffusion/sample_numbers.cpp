// What steps samples alone tells the denoiser which samples they are: each gets its own class, guidance and mask.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/clipping.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/euler_ancestral.hpp"
#include "easy_diffusion/diffusion/samplers/predictor_corrector.hpp"
#include "easy_diffusion/diffusion/samplers/runge_kutta45.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using test::random_tensor;

namespace {

using X = Tensor<double>;
constexpr std::int64_t samples = 3, elements = 4;

/// x0 of data around a mean that each sample has of its own: what a class does to a network.
struct ToldMeans {
  std::vector<double> means{-0.8, 0.1, 0.7};

  void operator()(const X& x, const NoiseLevel& level, X& x0) const {
    (*this)(x, level, x0, SampleRange{0, x.extent(0)});
  }
  void operator()(const X& x, const NoiseLevel& level, X& x0, const SampleRange& which) const {
    REQUIRE(x.extent(0) == which.count);
    const double pull = level.alpha * 0.04 / (0.04 * level.alpha * level.alpha + level.sigma * level.sigma);
    for (std::int64_t n = 0; n < which.count; ++n) {
      const double mean = means[static_cast<std::size_t>(which.first + n)];
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i)
        x0[i] = mean + pull * (x[i] - level.alpha * mean);
    }
  }
};

/// The same for sample n alone.
ToldMeans told(std::int64_t n) { return {{ToldMeans().means[static_cast<std::size_t>(n)]}}; }

/// Epsilon of it, as a model.
struct ToldModel {
  ToldMeans data;
  void operator()(const X& x, double time, X& out) const { (*this)(x, time, out, SampleRange{0, x.extent(0)}); }
  void operator()(const X& x, double time, X& out, const SampleRange& which) const {
    data(x, exploding_level(time), out, which);
    for (std::int64_t i = 0; i < x.size(); ++i) out[i] = (x[i] - out[i]) / time;
  }
};

/// A network as EDM has it, whose answer is a sample's own number.
struct ToldNetwork {
  std::vector<double> means = ToldMeans().means;
  void operator()(const X& x, double, X& out) const { (*this)(x, 0, out, SampleRange{0, x.extent(0)}); }
  void operator()(const X& x, double, X& out, const SampleRange& which) const {
    for (std::int64_t i = 0; i < x.size(); ++i) out[i] = means[static_cast<std::size_t>(which.first + i / elements)];
  }
};

struct ToldGradient {
  std::vector<double> means = ToldMeans().means;
  void operator()(const X& x, const NoiseLevel& level, X& out) const { (*this)(x, level, out, SampleRange{0, x.extent(0)}); }
  void operator()(const X& x, const NoiseLevel& level, X& out, const SampleRange& which) const {
    for (std::int64_t i = 0; i < x.size(); ++i)
      out[i] = (level.alpha * means[static_cast<std::size_t>(which.first + i / elements)] - x[i]) / (1 + level.sigma);
  }
};

}  // namespace

TEST_CASE("each sample that is stepped alone gets what it is told", "[diffusion][sample_numbers]") {
  const NoiseLevels levels = karras_levels(5, 0.05, 3);
  const X start = random_tensor<double>({samples, elements}, 1, 5);
  // The whole batch against each sample with a denoiser of its own.
  const auto check = [&](const char* name, const auto& make_sampler, const auto& make_denoiser) {
    CAPTURE(name);
    auto sampler = make_sampler();
    X all = start;
    sample(sampler, make_denoiser(std::int64_t{-1}), all, levels, sde::BrownianNoise{4});
    for (std::int64_t n = 0; n < samples; ++n) {
      auto own = make_sampler();
      X one = X::copy_of(start.view().slice(n, 1));
      sample(own, make_denoiser(n), one, levels, sde::BrownianNoise{4, static_cast<std::uint64_t>(n * elements)});
      for (std::int64_t i = 0; i < elements; ++i) CHECK(all[n * elements + i] == one[i]);
    }
    CHECK(all[0] != all[elements]);
  };
  const auto rk45 = [] { return RungeKutta45<X>(exploding_path(), {.tolerances = {1e-4, 1e-4}}); };
  const auto means = [](std::int64_t n) { return n < 0 ? ToldMeans() : told(n); };
  // Data around 0, narrower than the others: guidance by more than 1 then never turns a sample's deviation round, where
  // rescaling it would jump and no step is short enough.
  const auto plain = [](const X& x, const NoiseLevel& level, X& x0) {
    const double pull = level.alpha * 0.02 / (0.02 * level.alpha * level.alpha + level.sigma * level.sigma);
    for (std::int64_t i = 0; i < x.size(); ++i) x0[i] = pull * x[i];
  };
  check("plain", rk45, means);
  check("clipped", rk45, [&](std::int64_t n) { return clipped(means(n), -0.75, 0.75); });
  check("thresholded", rk45, [&](std::int64_t n) { return thresholded(means(n), 0.9); });
  check("guided", rk45, [&](std::int64_t n) { return guided(means(n), plain, 2.5, 0.3); });
  check("guided, conditions swapped", rk45, [&](std::int64_t n) { return guided(plain, means(n), 0.4); });
  check("unconditional only", rk45, [&](std::int64_t n) { return guided(plain, means(n), 0.0); });
  check("classifier", rk45, [&](std::int64_t n) {
    ToldGradient gradient;
    if (n >= 0) gradient.means = told(n).means;
    return classifier_guided(plain, gradient, 0.5);
  });
  check("told and classifier", rk45, [&](std::int64_t n) { return classifier_guided(means(n), ToldGradient{{0.2, 0.2, 0.2}}, 0.5); });
  check("model", rk45, [&](std::int64_t n) { return make_denoiser(ToldModel{means(n)}, Prediction::epsilon); });
  check("EDM", rk45, [&](std::int64_t n) { return n < 0 ? EdmDenoiser(ToldNetwork()) : EdmDenoiser(ToldNetwork{told(n).means}); });
  check("nested", rk45, [&](std::int64_t n) {
    return clipped(guided(make_denoiser(ToldModel{means(n)}, Prediction::epsilon), plain, 1.5, 0.5), -0.9, 0.9);
  });
  check("corrected", [&] { return PredictorCorrector<RungeKutta45<X>>(rk45(), {.corrections = 2}); }, means);
  const ToldMeans kept;
  const ToldMeans own[] = {told(0), told(1), told(2)};
  check("by reference", rk45, [&](std::int64_t n) { return clipped(std::cref(n < 0 ? kept : own[n]), -0.75, 0.75); });
}

TEST_CASE("inpainting steps samples alone with what each is told and knows", "[diffusion][sample_numbers]") {
  const NoiseLevels levels = karras_levels(5, 0.05, 4);
  const X start = random_tensor<double>({samples, elements}, 1, 5), known = random_tensor<double>({samples, elements}, 2, 0.5);
  X mask({samples, elements});
  for (std::int64_t i = 0; i < mask.size(); ++i) mask[i] = i % elements <= i / elements ? 1 : 0;
  const auto run = [&](std::int64_t first, std::int64_t count, const ToldMeans& denoiser) {
    RungeKutta45<X> sampler(exploding_path());
    const auto part = [&](const X& x) { return X::copy_of(x.view().slice(first, count)); };
    X x = part(start);
    inpaint(sampler, denoiser, x, levels, sde::BrownianNoise{4}, part(known), part(mask),
            {.resampling = 2, .seed = 3, .first_element = static_cast<std::uint64_t>(first * elements)});
    return x;
  };
  const X all = run(0, samples, ToldMeans());
  for (std::int64_t n = 0; n < samples; ++n) {
    const X one = run(n, 1, told(n));
    for (std::int64_t i = 0; i < elements; ++i) CHECK(all[n * elements + i] == one[i]);
  }
}
