// DDPM and DDIM: trajectories of the original, the identities between them, the variances, no noise at the end.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_diffusion.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/ddpm.hpp"
#include "easy_diffusion/diffusion/samplers/original_clip.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/replay.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"
#include "support/worst.hpp"

#include "diffusion/reference.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

using State = std::array<double, 8>;

/// A denoiser whose x0 is clamped, so that epsilon follows it.
template <class D>
auto clamped(const D& denoiser) {
  return [&denoiser](const auto& x, const NoiseLevel& level, auto& x0) {
    denoiser(x, level, x0);
    sde::for_each_element([](auto& e) { e = std::clamp(e, -1.0, 1.0); }, x0);
  };
}

/// Not an exact one, which would hide a wrong sign far from the data; it often leaves [-1, 1].
const auto bent = [](const auto& x, const NoiseLevel& level, auto& x0) {
  sde::for_each_element(
      [&level](auto& e, const auto& state) {
        e = 2.5 * std::tanh(3 * level.alpha * state / (0.3 + level.sigma)) + 0.1 * std::cos(level.time / 100);
      },
      x0, x);
};

/// In y = x / alpha and s = sigma / alpha: dy/ds = epsilon = (y - x0) / s.
struct ProbabilityFlow {
  const NoiseLevels& levels;
  const std::int64_t& step;  // at hand: its level is what the denoiser is told

  void drift(const State& y, double s, State& epsilon) const {
    State x = y;
    for (double& e : x) e *= levels[step].alpha;
    bent(x, levels[step], epsilon);
    for (std::size_t k = 0; k < y.size(); ++k) epsilon[k] = (y[k] - epsilon[k]) / s;
  }
};

State start(std::uint64_t seed) {
  State x{};
  sde::draw_normal(x, 1, {seed, streams::initial_state, 0});
  return x;
}

template <class Sampler, class D>
std::vector<State> trajectory(Sampler sampler, const D& denoiser, const NoiseLevels& levels, std::uint64_t seed = 1) {
  State x = start(seed);
  std::vector<State> states;
  const SampleResult result = sample(sampler, denoiser, x, levels, sde::BrownianNoise{seed},
                                     [&](const SamplerView<State>& view) { states.push_back(view.x); });
  CHECK(result.evaluations == sampler.evaluations(levels));
  CHECK(result.steps == levels.steps());
  return states;
}

/// Largest difference over the largest value; NaN where there is one, or where one is longer.
double difference(const std::vector<State>& got, const std::vector<State>& want) {
  Worst worst;
  if (got.size() != want.size()) worst.see(std::numeric_limits<double>::quiet_NaN());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i)
    for (std::size_t k = 0; k < got[i].size(); ++k) {
      largest = std::max(largest, std::abs(want[i][k]));
      worst.see(std::abs(got[i][k] - want[i][k]));
    }
  return worst.value() == 0 ? 0 : worst.value() / largest;
}

/// Every stride of schedules whose levels all have alpha_bar >= 1e-5.
template <class F>
void for_each_run(F&& f) {
  for (const std::string name : {"linear", "quad", "sigmoid"}) {
    const auto schedule = Schedule::by_name(name);
    REQUIRE(schedule.alpha_bar(999) >= 1e-5);
    for (const std::int64_t n : {1, 2, 13, 50, 300, 1000})
      for (const Spacing spacing : {Spacing::leading, Spacing::trailing, Spacing::quadratic}) {
        INFO(name << ", " << n << " steps, " << spacing_names[static_cast<std::size_t>(spacing)]);
        f(noise_levels(schedule, n, {.spacing = spacing}));
      }
  }
}

/// A trajectory with its predicted x0, against the one in a file.
template <class Sampler>
void check_trajectory(const Reference& reference, Sampler sampler) {
  const auto timesteps = reference.whole("timesteps");
  const auto steps = static_cast<std::int64_t>(timesteps.size());
  std::vector<Tensor<double>> noise;
  for (std::int64_t i = 0; i < steps; ++i) noise.push_back(reference.part("noise", i));
  Tensor<double> x = reference.read("x_T");
  std::int64_t seen = 0;
  const auto result =
      sample(sampler, reference_denoiser(), x, levels_along(Schedule::linear(), timesteps),
             sde::GivenIncrements<Tensor<double>>(std::move(noise)), [&](const SamplerView<Tensor<double>>& view) {
               CHECK(largest_difference(view.x0, reference.part("pred_x0", seen)) <= 1e-10);
               CHECK(largest_difference(view.x, reference.part("trajectory", ++seen)) <= 1e-10);
             });
  CHECK(seen == steps);
  CHECK(result.evaluations == steps);
}

}  // namespace

TEST_CASE("differences of trajectories show a NaN and a missing end", "[diffusion][samplers]") {
  const std::vector<State> states(3, start(1));
  CHECK(difference(states, states) == 0);
  std::vector<State> wrong = states;
  wrong[1][0] = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(difference(wrong, states) <= 1e300);
  wrong = states;
  wrong.pop_back();
  CHECK_FALSE(difference(wrong, states) <= 1e300);
  wrong = states;
  wrong[0][0] += 1e-3;
  CHECK(difference(wrong, states) > 1e-5);
}

TEST_CASE("trajectories of the reference, with the original's clipping", "[diffusion][ddim][ddpm]") {
  const auto file = test_data() / "discrete_diffusion.safetensors";
  using T = Tensor<double>;
  check_trajectory(Reference(file, "ddim."), Ddim<T>(0, OriginalClip::on));
  check_trajectory(Reference(file, "ddim_eta."), Ddim<T>(0.6, OriginalClip::on));
  check_trajectory(Reference(file, "ddpm."), Ddpm<T>(VarianceType::fixed_large, OriginalClip::on));
}

TEST_CASE("trajectories of the original", "[diffusion][ddim][ddpm]") {
  const auto folder = shared_data("reference/diffusion");
  if (!folder) return;
  using T = Tensor<double>;
  check_trajectory(Reference(*folder / "ddim_eta0_uniform50.safetensors"), Ddim<T>(0, OriginalClip::on));
  check_trajectory(Reference(*folder / "ddpm_uniform100.safetensors"),
                   Ddpm<T>(VarianceType::fixed_large, OriginalClip::on));
  CHECK(Reference(*folder / "ddim_eta0_uniform50.safetensors").whole("timesteps") ==
        timesteps(1000, 50, {.spacing = Spacing::leading}));
}

TEST_CASE("DDIM with eta = 1 is DDPM with the small variance, at any stride and clipped", "[diffusion][identity]") {
  for_each_run([](const NoiseLevels& levels) {
    CHECK(difference(trajectory(Ddim<State>(1), bent, levels), trajectory(Ddpm<State>(), bent, levels)) <= 1e-12);
    const auto clipped = clamped(bent);
    CHECK(difference(trajectory(Ddim<State>(1), clipped, levels), trajectory(Ddpm<State>(), clipped, levels)) <= 1e-12);
  });
  // Clipping that keeps epsilon breaks it: the comparison sees that.
  const auto levels = noise_levels(Schedule::linear(), 13);
  CHECK_FALSE(difference(trajectory(Ddim<State>(1, OriginalClip::on), bent, levels),
                         trajectory(Ddpm<State>(VarianceType::fixed_small, OriginalClip::on), bent, levels)) <= 1e-3);
}

TEST_CASE("DDIM with eta = 0 is Euler on the probability-flow equation, and DPM-Solver++ of order 1",
          "[diffusion][identity]") {
  for_each_run([](const NoiseLevels& levels) {
    std::vector<double> times;
    for (const NoiseLevel& level : levels.all()) times.push_back(level.noise_to_signal());
    const auto grid = sde::TimeGrid::from_times(times);
    std::int64_t step = 0;
    const ProbabilityFlow equation{levels, step};
    sde::Euler<State> euler;
    State y = start(1), x = y, x0{};
    for (double& e : y) e /= levels[0].alpha;
    std::vector<State> by_euler, by_solver;
    for (; step < levels.steps(); ++step) {
      euler.step(equation, y, grid.step(step));
      by_euler.push_back(y);
      for (double& e : by_euler.back()) e *= levels[step + 1].alpha;
      // sigma_t / sigma_s x - alpha_t expm1(-h) x0 with h = lambda_t - lambda_s
      const NoiseLevel& from = levels[step];
      const NoiseLevel& to = levels[step + 1];
      bent(x, from, x0);
      const double h = to.lambda() - from.lambda();
      for (std::size_t k = 0; k < x.size(); ++k)
        x[k] = to.sigma / from.sigma * x[k] - to.alpha * std::expm1(-h) * x0[k];
      by_solver.push_back(x);
    }
    const auto got = trajectory(Ddim<State>(), bent, levels);
    CHECK(difference(got, by_euler) <= 1e-12);
    CHECK(difference(got, by_solver) <= 1e-12);
  });
}

TEST_CASE("samplers agree with the chain's own step and end without noise", "[diffusion][ddpm]") {
  struct Learned {
    void operator()(const State& x, const NoiseLevel& level, State& x0) const { bent(x, level, x0); }
    void operator()(const State& x, const NoiseLevel& level, State& x0, State& v) const {
      bent(x, level, x0);
      for (std::size_t k = 0; k < v.size(); ++k) v[k] = 0.3 * static_cast<double>(k) - 1;
    }
  } denoiser;
  for (std::size_t which = 0; which < variance_type_names.size(); ++which) {
    INFO(variance_type_names[which]);
    const auto type = static_cast<VarianceType>(which);
    // The variance `learned` is that of single timesteps.
    const bool all = type == VarianceType::learned;
    const auto schedule = all ? Schedule::linear(4, 0.1, 0.7) : Schedule::linear();
    const std::vector<std::int64_t> timesteps = all ? std::vector<std::int64_t>{0, 1, 2, 3} : std::vector<std::int64_t>{0, 40, 400, 999};
    const NoiseLevels levels = levels_along(schedule, timesteps);
    const NoiseLevels last({schedule.level(0), schedule.level(-1)});
    const GaussianDiffusion chain(schedule, timesteps, {Prediction::x0, type});
    const auto got = trajectory(Ddpm<State>(type), denoiser, levels);
    State x = start(1);
    std::vector<State> want;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t t = 3 - i;
      State x0{}, v{}, z{};
      ReverseStep<State> step{};
      denoiser(x, levels[i], x0, v);
      if (chain.learns_variance()) {
        chain.p_mean_variance(x, t, x0, v, false, step);
      } else {
        chain.p_mean_variance(x, t, x0, false, step);
      }
      sde::BrownianNoise{1}.increment(sde::Step{i, 0, 1}, z);
      for (std::size_t k = 0; k < x.size(); ++k)
        x[k] = step.mean[k] + (t > 0 ? std::exp(0.5 * step.log_variance[k]) * z[k] : 0);
      want.push_back(x);
    }
    CHECK(difference(got, want) <= 1e-13);

    // The last step is the same for any noise, the first is not.
    for (const auto& [run, same] : {std::pair{&last, true}, {&levels, false}}) {
      std::vector<State> ends;
      for (const std::uint64_t seed : {std::uint64_t{5}, std::uint64_t{6}}) {
        State state = start(1);
        Ddpm<State> sampler(type);
        sample(sampler, denoiser, state, *run, sde::BrownianNoise{seed});
        ends.push_back(state);
      }
      CHECK((ends[0] == ends[1]) == same);
    }
  }
  // Where no variance was learned there is none to use.
  State x = start(1);
  Ddpm<State> learned(VarianceType::learned_range);
  CHECK_THROWS_WITH(sample(learned, bent, x, noise_levels(Schedule::linear(), 4), sde::BrownianNoise{1}),
                    ContainsSubstring("learned_range"));
}

TEST_CASE("the moments of a Gaussian come out of both", "[diffusion][ddim][ddpm]") {
  std::vector<double> x(10000);
  const auto spread = [&](auto sampler, double mean, double deviation, std::int64_t steps) {
    const GaussianMixture gaussian({{1, {mean}, deviation}});
    sde::draw_normal(x, 1, {11, streams::initial_state, 0});
    sample(sampler, gaussian, x, noise_levels(Schedule::linear(), steps, {.end = End::smallest}),
           sde::BrownianNoise{11});
    double sum = 0, square = 0;
    for (const double e : x) sum += e / static_cast<double>(x.size());
    for (const double e : x) square += (e - sum) * (e - sum) / static_cast<double>(x.size());
    CHECK_THAT(sum, WithinAbs(mean, 0.04));
    return std::sqrt(square);
  };
  using S = std::vector<double>;
  CHECK_THAT(spread(Ddim<S>(0), 0.4, 0.5, 200), WithinAbs(0.5, 0.02));
  CHECK_THAT(spread(Ddim<S>(0.5), 0.4, 0.5, 200), WithinAbs(0.5, 0.02));
  CHECK_THAT(spread(Ddpm<S>(), 0.4, 0.5, 200), WithinAbs(0.5, 0.02));
  // The large variance is right for standard normal data at any stride, the small one for data that are a point.
  CHECK_THAT(spread(Ddpm<S>(VarianceType::fixed_large), 0, 1, 10), WithinAbs(1, 0.03));
  CHECK(spread(Ddpm<S>(), 0, 1, 10) < 0.9);
  const double sigma = Schedule::linear().level(0).sigma;
  CHECK_THAT(spread(Ddpm<S>(), 0.4, 1e-6, 10), WithinRel(sigma, 0.03));
  CHECK(spread(Ddpm<S>(VarianceType::fixed_large), 0.4, 1e-6, 10) > 2 * sigma);
}

TEST_CASE("samplers refuse levels and options that they cannot use", "[diffusion][ddim][ddpm]") {
  for (const double eta : {-0.1, 1.1, std::nan("")}) CHECK_THROWS_AS(Ddim<double>(eta), ValueError);
  const NoiseLevels up = noise_levels(Schedule::linear(), 5).reversed();
  const NoiseLevels noisy_up({{0, 0.8, 0.6}, {1, 0.6, 0.8}, {2, 0, 1}});
  Ddpm<double> ddpm;
  Ddim<double> noisy(0.5), plain;
  CHECK_THROWS_AS(ddpm.start(up), ValueError);
  CHECK_THROWS_AS(noisy.start(noisy_up), ValueError);
  CHECK_THROWS_AS(plain.start(up), ValueError);  // begins at a clean state
  CHECK_NOTHROW(plain.start(noisy_up));
  double x = 0.3;
  CHECK_THROWS_AS(sample(noisy, bent, x, noise_levels(Schedule::linear(), 5), diffusion::NoNoise{}), ValueError);
  CHECK_NOTHROW(sample(plain, bent, x, noise_levels(Schedule::linear(), 5), diffusion::NoNoise{}));
  // Levels that begin in pure noise, from a denoiser that knows x0 there.
  for (const std::int64_t steps : {1, 7}) {
    const auto ended = noise_levels(Schedule::cosine().with_zero_terminal_snr(), steps);
    State state = start(3);
    Ddim<State> all_noise(1);
    sample(all_noise, bent, state, ended, sde::BrownianNoise{3});
    for (const double e : state) CHECK(std::isfinite(e));
  }
}

TEST_CASE("a split batch is sampled to the same bits", "[diffusion][ddim][ddpm][threads]") {
  const GaussianMixture mixture({{1, {-0.5, 0.2}, 0.2}, {2, {0.6, -0.1}, 0.3}});
  const auto levels = noise_levels(Schedule::cosine(), 6);
  const auto run = [&](auto sampler, std::int64_t first, std::int64_t count, int threads) {
    const Threads scope(threads);
    Tensor<float> x({count, 2});
    const auto first_element = static_cast<std::uint64_t>(2 * first);
    sde::draw_normal(x, 1, {4, streams::initial_state, 0}, first_element);
    sample(sampler, mixture, x, levels, sde::BrownianNoise{4, first_element});
    return x;
  };
  const auto check = [&](const auto& sampler) {
    const auto whole = run(sampler, 0, 20000, 1);
    CHECK(same_bits(whole, run(sampler, 0, 20000, 3)));
    const auto part = run(sampler, 7001, 333, 1);
    for (std::int64_t i = 0; i < part.size(); ++i) REQUIRE(part[i] == whole[2 * 7001 + i]);
  };
  check(Ddim<Tensor<float>>(0.7, OriginalClip::on));
  check(Ddpm<Tensor<float>>(VarianceType::fixed_large));
}
