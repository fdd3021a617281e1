// Every sampler behind one type: the same bits, evaluations and views as by its own type, whatever denoiser and noise it meets.

#include "easy_diffusion/diffusion/samplers/any_sampler.hpp"

#include <cstdint>
#include <cstring>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

namespace {

using S = Tensor<float>;

const GaussianMixture mixture({{1, {-0.8, 0.1, 0.2}, 0.3}, {2, {0.5, 0.3, -0.6}, 0.2}});

struct Unfit : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The mixture, which also writes a variance, until it has been asked so often.
struct Denoising {
  std::int64_t most = 1'000'000;
  mutable std::int64_t asked = 0;

  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    if (++asked > most) throw Unfit("asked too often");
    mixture(x, level, x0);
  }
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    (*this)(x, level, x0);
    for (std::int64_t i = 0; i < v.size(); ++i) v[i] = x[i] / (1 + x[i] * x[i]);
  }
};

S start_state(const NoiseLevel& level) {
  S x({5, 3});
  sde::draw_normal(x, level.sigma, {3, streams::initial_state, 0});
  return x;
}

/// All that a run shows.
struct Record {
  std::vector<float> numbers;  ///< x and x0 after every step
  SampleResult result;
  std::int64_t asked = 0;

  void add(const S& x) { numbers.insert(numbers.end(), x.data(), x.data() + x.size()); }
};

/// Two runs with one sampler, the first ended by the denoiser. The noise remembers nothing.
template <class Sampler>
Record record(Sampler& sampler, const NoiseLevels& levels, std::int64_t stop_after) {
  S x = start_state(levels.front());
  CHECK_THROWS_AS(sample(sampler, Denoising{2}, x, levels, sde::BrownianNoise{7}), Unfit);
  Record run;
  x = start_state(levels.front());
  const Denoising denoiser;
  run.result = sample(sampler, denoiser, x, levels, sde::BrownianNoise{7}, [&](const SamplerView<S>& view) {
    run.add(view.x);
    run.add(view.x0);
    return view.step == stop_after ? sde::Flow::stop : sde::Flow::go_on;
  });
  run.add(x);
  run.add(sampler.predicted_x0());
  run.asked = denoiser.asked;
  return run;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool same_bits(const S& a, const S& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

bool same_traits(const SamplerTraits& a, const SamplerTraits& b) {
  return a.order == b.order && a.history == b.history && a.stochastic == b.stochastic && a.adaptive == b.adaptive &&
         a.any_start == b.any_start && a.any_direction == b.any_direction;
}

SamplerOptions usual_options() { return {.path = schedule_path(Schedule::linear())}; }

}  // namespace

TEST_CASE("a sampler behind one type gives the bits, evaluations and views of its own type",
          "[diffusion][any_sampler]") {
  const NoiseLevels levels = noise_levels(Schedule::linear(), 7);
  std::set<std::string> names;
  for_each_sampler<S>([&](const char* name, const SamplerOptions& defaults, const auto& make) {
    INFO(name);
    names.insert(name);
    SamplerOptions options = defaults;
    options.path = usual_options().path;
    auto sampler = make(options);
    AnySampler<S> any = make_sampler<S>(name, usual_options());
    CHECK(same_traits(any.traits(), sampler.traits));
    CHECK(any.evaluations(levels) == sampler.evaluations(levels));
    for (const std::int64_t stop_after : {0, 4}) {
      const Record expected = record(sampler, levels, stop_after), got = record(any, levels, stop_after);
      CHECK(got.result.steps == (stop_after > 0 ? stop_after : levels.steps()));
      CHECK(got.result.steps == expected.result.steps);
      CHECK(got.result.evaluations == expected.result.evaluations);
      CHECK(got.result.stopped == expected.result.stopped);
      CHECK(got.asked == expected.asked);
      CHECK(got.numbers.size() == static_cast<std::size_t>((2 * got.result.steps + 2) * 15));
      CHECK(same_bits(got.numbers, expected.numbers));
    }
  });
  CHECK(names.size() == sampler_names().size());
}

TEST_CASE("a sampler behind one type inpaints to the same bits", "[diffusion][any_sampler]") {
  const NoiseLevels levels = noise_levels(Schedule::linear(), 6);
  S known({5, 3}), mask({5, 3});
  for (std::int64_t i = 0; i < known.size(); ++i) {
    known[i] = 0.1F * static_cast<float>(i) - 0.7F;
    mask[i] = i % 3 == 0 ? 1.0F : 0.0F;
  }
  const auto painted = [&](auto& sampler) {
    S x = start_state(levels.front());
    inpaint(sampler, mixture, x, levels, sde::BrownianNoise{4}, known, mask, {.resampling = 2, .jump = 3, .seed = 5});
    return x;
  };
  Ddim<S> ddpm(1);
  DpmSolver2M<S> multistep;
  AnySampler<S> any_ddpm = make_sampler<S>("ddim", {.eta = 1}), any_multistep = make_sampler<S>("dpmpp_2m");
  CHECK(same_bits(painted(any_ddpm), painted(ddpm)));
  CHECK(same_bits(painted(any_multistep), painted(multistep)));
  CHECK_FALSE(same_bits(painted(any_ddpm), painted(any_multistep)));
}

TEST_CASE("a learned variance passes through, and where there is none it is missed", "[diffusion][any_sampler]") {
  const NoiseLevels levels = noise_levels(Schedule::linear(20, 1e-3, 0.3), 20);
  const auto drawn = [&](auto& sampler) {
    S x = start_state(levels.front());
    sample(sampler, Denoising(), x, levels, sde::BrownianNoise{2});
    return x;
  };
  Ddpm<S> of_learned_range(VarianceType::learned_range), of_fixed;
  AnySampler<S> any = make_sampler<S>("ddpm", {.variance = VarianceType::learned_range});
  const S x = drawn(any);
  CHECK(same_bits(x, drawn(of_learned_range)));
  CHECK_FALSE(same_bits(x, drawn(of_fixed)));

  S state = start_state(levels.front());
  CHECK_THROWS_WITH(sample(any, mixture, state, levels, sde::BrownianNoise{2}),
                    ContainsSubstring("a learned variance needs a denoiser that writes one"));
  CHECK_NOTHROW(drawn(any));
}

TEST_CASE("a sampler behind one type passes on which samples it asks for", "[diffusion][any_sampler]") {
  /// One that is told something of each sample: where it is drawn to.
  struct Told {
    void operator()(const S& x, const NoiseLevel& level, S& x0) const { (*this)(x, level, x0, {0, x.extent(0)}); }
    void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
      mixture(x, level, x0);
      for (std::int64_t n = 0; n < samples.count; ++n)
        for (std::int64_t i = 0; i < 3; ++i) x0[3 * n + i] += 0.1F * static_cast<float>(samples.first + n);
    }
  };
  const NoiseLevels levels = noise_levels(Schedule::linear(), 4, {.spacing = Spacing::linspace});
  const auto drawn = [&](auto& sampler, const auto& denoiser) {
    S x = start_state(levels.front());
    sample(sampler, denoiser, x, levels, NoNoise());
    return x;
  };
  RungeKutta45<S> itself(usual_options().path, {.tolerances = {1e-3, 1e-3}});
  AnySampler<S> any = make_sampler<S>("rk45", usual_options());
  CHECK(same_bits(drawn(any, Told()), drawn(itself, Told())));
  CHECK_FALSE(same_bits(drawn(any, Told()), drawn(any, mixture)));
}

TEST_CASE("any noise reaches a sampler behind one type, and what one lacks is missed", "[diffusion][any_sampler]") {
  /// Brownian noise that may be asked only where it is not constant, and that has no dZ.
  struct Counted {
    sde::BrownianNoise noise{2};
    std::int64_t asked = 0;
    [[nodiscard]] static bool follows_time() { return false; }
    void standard_increment(const sde::Step& step, S& z) {
      ++asked;
      noise.standard_increment(step, z);
    }
    void increment(const sde::Step& step, S& dw) {
      ++asked;
      noise.increment(step, dw);
    }
  };
  const NoiseLevels levels = noise_levels(Schedule::linear(), 6);
  const auto drawn = [&](auto& sampler, auto& noise) {
    S x = start_state(levels.front());
    sample(sampler, mixture, x, levels, noise);
    return x;
  };
  AnySampler<S> ddpm = make_sampler<S>("ddpm"), ddim = make_sampler<S>("ddim"),
                sra1 = make_sampler<S>("sra1", usual_options());
  Counted counted;
  const sde::BrownianNoise brownian{2};
  CHECK(same_bits(drawn(ddpm, counted), drawn(ddpm, brownian)));
  CHECK(counted.asked == levels.steps() - 1);
  CHECK_NOTHROW(drawn(sra1, brownian));
  CHECK_THROWS_WITH(drawn(sra1, counted), ContainsSubstring("space-time"));

  sde::Antithetic<const sde::BrownianNoise&> other(brownian);
  Ddpm<S> itself;
  CHECK(same_bits(drawn(ddpm, other), drawn(itself, other)));
  CHECK_FALSE(same_bits(drawn(ddpm, other), drawn(ddpm, brownian)));

  const NoNoise none;
  CHECK_NOTHROW(drawn(ddim, none));
  CHECK_THROWS_WITH(drawn(ddpm, none), ContainsSubstring("needs a noise source"));
}

TEST_CASE("an option is taken by exactly the samplers whose defaults have it", "[diffusion][any_sampler]") {
  const std::vector<std::pair<const char*, SamplerOptions>> given = {
      {"eta", {.eta = 0.25}},
      {"variance", {.variance = VarianceType::fixed_large}},
      {"churn", {.churn = 1.0}},
      {"tolerance", {.tolerance = 1e-2}},
      {"signal-to-noise ratio", {.signal_to_noise = 0.2}},
      {"Langevin rule", {.langevin_rule = sde::LangevinRule::song_2021}}};
  std::size_t options_in_all = 0;
  for_each_sampler_option([&](const char*, auto) { ++options_in_all; });
  CHECK(given.size() == options_in_all);
  for_each_sampler<S>([&](const char* name, const SamplerOptions& defaults, const auto&) {
    for (auto [option, options] : given) {
      INFO(name << ", " << option);
      bool taken = false;
      for_each_sampler_option([&, which = std::string(option)](const char* each, auto member) {
        if (which == each) taken = (defaults.*member).has_value();
      });
      options.path = usual_options().path;
      if (taken)
        CHECK_NOTHROW(make_sampler<S>(name, options));
      else
        CHECK_THROWS_WITH(make_sampler<S>(name, options), ContainsSubstring("takes no " + std::string(option)));
    }
  });
}
