#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/deis.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_multistep.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_sde.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_singlestep.hpp"
#include "easy_diffusion/diffusion/samplers/ipndm.hpp"
#include "easy_diffusion/diffusion/samplers/pndm.hpp"
#include "easy_diffusion/diffusion/samplers/unipc.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

#include "diffusion/sampler_orders.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using S = FlowState;

/// f(name, sampler) for every sampler of this family, of some orders. \param path of the levels that they will walk
template <class State, class F>
void for_each_multistep(const LevelPath& path, F&& f) {
  f("DPM-Solver++ 2M", DpmSolver2M<State>());
  f("DPM-Solver++ 3M", DpmSolver3M<State>());
  f("DPM-Solver++ 2S", DpmSolver2S<State>());
  f("SDE-DPM-Solver++ 2M", SdeDpmSolver2M<State>());
  f("UniPC-2", UniPc<State, 2>());
  f("UniPC-3", UniPc<State, 3>());
  f("DEIS-2", Deis<State, 2>());
  f("DEIS-3", Deis<State, 3>());
  f("iPNDM-4", Ipndm<State, 4>());
  f("PNDM", Pndm<State>(path));
}

/// Runs of several kinds, and their path.
std::vector<std::pair<NoiseLevels, LevelPath>> some_runs(std::int64_t n) {
  const auto schedule = Schedule::linear();
  const auto zero = Schedule::linear().with_zero_terminal_snr();
  return {{karras_levels(10, 0.02, n), exploding_path()},
          {karras_levels(10, 0.02, n, 7, End::smallest), exploding_path()},
          {noise_levels(schedule, n, {.spacing = Spacing::leading}), schedule_path(schedule)},
          {noise_levels(schedule, n, {.spacing = Spacing::log_snr, .end = End::smallest}), schedule_path(schedule)},
          {noise_levels(zero, n), schedule_path(zero)},
          {flow_levels(n), flow_path()}};
}

double largest(const S& x) {
  test::Worst most;
  for (const double e : x) most.see(std::abs(e));
  return most.value();
}

/// Largest difference, in largest elements; a NaN is kept.
double relative_difference(const S& a, const S& b) {
  test::Worst most;
  for (std::size_t i = 0; i < a.size(); ++i) most.see(std::abs(a[i] - b[i]));
  return most.value() / std::fmax(largest(a), largest(b));
}

template <class Sampler>
S run(Sampler sampler, const NoiseLevels& levels, S x) {
  sample(sampler, order_mixture(), x, levels, SomeNoise{});
  return x;
}

template <class A, class B>
void check_same_trajectory(A a, B b, const NoiseLevels& levels, std::int64_t steps) {
  S x = flow_start(levels.front()), y = x;
  NoNoise none;
  a.start(levels);
  b.start(levels);
  for (std::int64_t i = 0; i < steps; ++i) {
    a.step(order_mixture(), x, levels, i, none);
    b.step(order_mixture(), y, levels, i, none);
    INFO("step " << i << " of " << levels.steps());
    CHECK(relative_difference(x, y) <= 1e-12);
    CHECK(relative_difference(a.predicted_x0(), b.predicted_x0()) <= 1e-12);
  }
}

}  // namespace

TEST_CASE("methods of order 1 are DDIM without noise", "[diffusion][multistep]") {
  for (const std::int64_t n : {1, 2, 13, 100})
    for (const auto& [levels, path] : some_runs(n)) {
      check_same_trajectory(DpmSolverMultistep<S, 1>(), Ddim<S>(), levels, n);
      check_same_trajectory(Deis<S, 1>(), Ddim<S>(), levels, n);
      check_same_trajectory(Ipndm<S, 1>(), Ddim<S>(), levels, n);
    }
  // Of every alpha_bar from 1e-5 on.
  const auto cosine = Schedule::cosine();
  std::vector<NoiseLevel> levels;
  for (std::int64_t t = cosine.steps() - 1; t >= -1; --t)
    if (cosine.alpha_bar(t) >= 1e-5) levels.push_back(cosine.level(t));
  const NoiseLevels all(std::move(levels));
  check_same_trajectory(DpmSolverMultistep<S, 1>(), Ddim<S>(), all, all.steps());
}

TEST_CASE("a first step, and one from pure noise with the next, are of order 1", "[diffusion][multistep]") {
  const auto check = [](const NoiseLevels& levels, std::int64_t steps) {
    check_same_trajectory(DpmSolver2M<S>(), Ddim<S>(), levels, steps);
    check_same_trajectory(DpmSolver3M<S>(), Ddim<S>(), levels, steps);
    check_same_trajectory(DpmSolver2S<S>(), Ddim<S>(), levels, steps);
    check_same_trajectory(Deis<S, 3>(), Ddim<S>(), levels, steps);
    check_same_trajectory(Ipndm<S, 4>(), Ddim<S>(), levels, steps);
    check_same_trajectory(UniPc<S, 3>(), Ddim<S>(), levels, steps);
  };
  check(karras_levels(10, 0.02, 8), 1);
  check(flow_levels(8), 2);
  check(noise_levels(Schedule::linear().with_zero_terminal_snr(), 8), 2);
  check(flow_levels(1), 1);
}

TEST_CASE("DPM-Solver++ and UniPC predict alike and differ by the corrector", "[diffusion][multistep]") {
  // The corrector begins with the second step.
  const auto levels = karras_levels(10, 0.02, 8);
  check_same_trajectory(UniPc<S, 2>(), DpmSolver2M<S>(), levels, 1);
  CHECK(relative_difference(run(UniPc<S, 2>(), levels, flow_start(levels.front())),
                            run(DpmSolver2M<S>(), levels, flow_start(levels.front()))) > 1e-4);
}

TEST_CASE("the noise of SDE-DPM-Solver++ 2M", "[diffusion][multistep]") {
  for (const std::int64_t n : {1, 2, 13, 100})
    for (const auto& [levels, path] : some_runs(n)) {
      INFO(n << " steps");
      // Without noise it is 2M, and asks for none.
      check_same_trajectory(SdeDpmSolver2M<S>(0), DpmSolver2M<S>(), levels, n);
      // With eta = 1 the first step is DDPM's.
      S x = flow_start(levels.front()), y = x;
      SomeNoise noise;
      SdeDpmSolver2M<S> sde(1);
      Ddim<S> ddpm(1);
      sde.start(levels);
      sde.step(order_mixture(), x, levels, 0, noise);
      ddpm.step(order_mixture(), y, levels, 0, noise);
      CHECK(relative_difference(x, y) <= 1e-12);
    }

  // Moments of a Gaussian, without Monte-Carlo error; 2M by itself is further from the variance.
  const GaussianData data;
  for (const double eta : {0.5, 1.0, 2.0}) {
    const auto levels = order_levels(OrderGrid::vp, 400);
    SdeDpmSolver2M<S> sampler(eta);
    const Moments got = gaussian_moments(sampler, levels, data);
    CHECK_THAT(got.mean, WithinRel(levels.back().alpha * data.mean, 1e-9));
    CHECK_THAT(got.variance, WithinRel(data.variance(levels.back()), 1e-3));
  }

  NoNoise none;
  const auto one = karras_levels(10, 0.02, 1);
  S x = flow_start(one.front());
  SdeDpmSolver2M<S> noisy;
  CHECK_NOTHROW(sample(noisy, order_mixture(), x, one, none));  // a single step leads to a clean state
  const auto two = karras_levels(10, 0.02, 2);
  x = flow_start(two.front());
  CHECK_THROWS_AS(sample(noisy, order_mixture(), x, two, none), ValueError);
  for (const double eta : {-0.1, std::numeric_limits<double>::infinity(), std::nan("")})
    CHECK_THROWS_AS(SdeDpmSolver2M<S>(eta), ValueError);
}

TEST_CASE("multistep samplers count their evaluations and stay finite", "[diffusion][multistep]") {
  for_each_multistep<S>(schedule_path(Schedule::linear()), [](const char* name, auto sampler) {
    INFO(name);
    check_evaluations(sampler);
  });
  // PNDM: four evaluations in each of the first three steps that are not of order 1.
  const auto count = [](const NoiseLevels& levels, const LevelPath& path) { return Pndm<S>(path).evaluations(levels); };
  CHECK(count(karras_levels(10, 0.02, 10), exploding_path()) == 19);
  CHECK(count(karras_levels(10, 0.02, 3), exploding_path()) == 9);
  CHECK(count(karras_levels(10, 0.02, 1), exploding_path()) == 1);
  CHECK(count(karras_levels(10, 0.02, 1, 7, End::smallest), exploding_path()) == 4);
  CHECK(count(flow_levels(4), flow_path()) == 10);
  for (const std::int64_t n : {1, 2, 3, 4, 5, 13})
    for (const auto& [levels, path] : some_runs(n))
      for_each_multistep<S>(path, [&, &levels = levels](const char* name, auto sampler) {
        INFO(name << ", " << n << " steps");
        S x = flow_start(levels.front());
        CHECK(sample(sampler, order_mixture(), x, levels, SomeNoise{}).evaluations == sampler.evaluations(levels));
        for (const double e : x) CHECK(std::isfinite(e));
      });
}

TEST_CASE("in float every multistep sampler is finite on every schedule and spacing", "[diffusion][multistep]") {
  using F = std::array<float, 2>;
  std::size_t runs = 0;
  for (const std::string_view schedule_name : Schedule::names)
    for (const bool zero : {false, true})
      for (std::size_t spacing = 0; spacing < spacing_names.size(); ++spacing)
        for (const std::int64_t n : {1, 2, 3, 13, 100, 250}) {
          Schedule schedule = Schedule::by_name(schedule_name, 250);
          if (zero) schedule = schedule.with_zero_terminal_snr();
          const bool pure = schedule.alpha_bar(schedule.steps() - 1) == 0;
          if (pure && static_cast<Spacing>(spacing) > Spacing::quadratic) continue;  // refused by `noise_levels`
          const auto levels = noise_levels(schedule, n, {.spacing = static_cast<Spacing>(spacing)});
          for_each_multistep<F>(schedule_path(schedule), [&](const char* name, auto sampler) {
            F x{static_cast<float>(0.7 * levels.front().sigma), static_cast<float>(-1.2 * levels.front().sigma)};
            sample(sampler, order_mixture(), x, levels, sde::BrownianNoise{5});
            // Where two or three steps go all the way, the Runge-Kutta method of PNDM overshoots without bound.
            const float bound = std::string_view(name) == "PNDM" ? std::numeric_limits<float>::max() : 20;
            const bool fine = std::abs(x[0]) <= bound && std::abs(x[1]) <= bound;
            ++runs;
            if (!fine) {
              INFO(name << ", " << schedule_name << (zero ? " to pure noise, " : ", ") << spacing_names[spacing] << ", "
                        << n << " steps: " << x[0] << ", " << x[1]);
              CHECK(fine);
            }
          });
        }
  CHECK(runs > 3000);

  // And close to double.
  for (const auto& [levels, path] : some_runs(50))
    for_each_multistep<S>(path, [&, &levels = levels, &path = path](const char* name, auto sampler) {
      S x = flow_start(levels.front());
      sample(sampler, order_mixture(), x, levels, SomeNoise{});
      for_each_multistep<std::vector<float>>(path, [&](const char* other, auto in_float) {
        if (std::string_view(name) != other || std::string_view(name) == "SDE-DPM-Solver++ 2M") return;
        INFO(name);
        std::vector<float> y;
        for (const double e : flow_start(levels.front())) y.push_back(static_cast<float>(e));
        sample(in_float, order_mixture(), y, levels, NoNoise{});
        CHECK(relative_difference(x, S(y.begin(), y.end())) <= 2e-5);
      });
    });
}

TEST_CASE("a multistep sampler begins anew wherever it is started", "[diffusion][multistep]") {
  const auto levels = karras_levels(10, 0.02, 12);
  const NoiseLevels rest(std::vector<NoiseLevel>(levels.all().begin() + 5, levels.all().end()));
  for_each_multistep<S>(exploding_path(), [&](const char* name, auto sampler) {
    INFO(name);
    if (decltype(sampler)::traits.stochastic) return;
    const auto fresh = sampler;
    NoNoise none;
    S x = flow_start(levels.front());
    sampler.start(levels);
    for (std::int64_t i = 0; i < 5; ++i) sampler.step(order_mixture(), x, levels, i, none);
    const S middle = x;
    const S wanted = run(fresh, rest, middle);

    // After `start`, from any step on; and without it where a step does not follow the one before.
    for (const bool told : {true, false}) {
      S y = middle;
      if (told)
        sampler.start(levels);
      else
        sampler.step(order_mixture(), x, levels, 7, none);
      for (std::int64_t i = 5; i < 12; ++i) sampler.step(order_mixture(), y, levels, i, none);
      CHECK(relative_difference(y, wanted) <= 1e-14);
    }

    // The same object again gives the same bits.
    const S first = run(sampler, levels, flow_start(levels.front()));
    S second = flow_start(levels.front());
    sample(sampler, order_mixture(), second, levels, none);
    CHECK(first == second);
  });
}

TEST_CASE("a multistep sampler gives a batch the bits of its parts", "[diffusion][multistep]") {
  const auto levels = noise_levels(Schedule::linear(), 12);
  S batch;
  for (int i = 0; i < 37; ++i) batch.push_back(2 * std::sin(i));
  for_each_multistep<S>(schedule_path(Schedule::linear()), [&](const char* name, auto sampler) {
    INFO(name);
    S all = batch;
    sample(sampler, order_mixture(), all, levels, sde::BrownianNoise{1});
    for (std::size_t first = 0; first < batch.size(); first += 5) {
      const std::size_t end = std::min(first + 5, batch.size());
      S part(batch.begin() + static_cast<std::ptrdiff_t>(first), batch.begin() + static_cast<std::ptrdiff_t>(end));
      sample(sampler, order_mixture(), part, levels, sde::BrownianNoise{1, first});
      CHECK(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(first)));
    }
  });
}

TEST_CASE("few steps: what high order is for", "[diffusion][multistep]") {
  const GaussianMixture mixture({{0.4, {-0.8, 0.4}, 0.5}, {0.3, {0.7, 0.5}, 0.4}, {0.3, {0.2, -0.8}, 0.6}});
  S start(200);
  fill_normal(std::span<double>(start), {3, streams::user, 0}, 0);
  for (double& e : start) e *= 10;
  const auto sampled = [&](auto sampler, const NoiseLevels& levels) {
    S x = start;
    sample(sampler, mixture, x, levels, NoNoise{});
    return x;
  };
  const S wanted = sampled(UniPc<S, 3>(), karras_levels(10, 0.02, 400));
  for (const std::int64_t n : {5, 6, 7, 8, 9, 10}) {
    const auto levels = karras_levels(10, 0.02, n);
    const auto error = [&](auto sampler) {
      const S x = sampled(std::move(sampler), levels);
      double square = 0;
      for (std::size_t i = 0; i < x.size(); ++i) square += (x[i] - wanted[i]) * (x[i] - wanted[i]);
      return std::sqrt(square / static_cast<double>(x.size()));
    };
    const double ddim = error(Ddim<S>());
    CAPTURE(n, ddim);
    CHECK(error(DpmSolver2M<S>()) < 0.6 * ddim);
    CHECK(error(UniPc<S, 2>()) < 0.65 * ddim);
    CHECK(error(Deis<S, 2>()) < 0.5 * ddim);
    CHECK(error(Deis<S, 3>()) < 0.25 * ddim);
    CHECK(error(Ipndm<S, 3>()) < 0.25 * ddim);
    CHECK(error(Ipndm<S, 4>()) < 0.25 * ddim);
    CHECK(error(DpmSolver2S<S>()) < ddim);
    // A parabola through x0 at steps that are this long overshoots: order 3 on x0 begins to pay with the eighth step.
    if (n >= 8) {
      CHECK(error(DpmSolver3M<S>()) < 0.75 * ddim);
      CHECK(error(UniPc<S, 3>()) < 0.6 * ddim);
    }
    if (n == 10) {
      CHECK(error(DpmSolver3M<S>()) < 0.25 * ddim);
      CHECK(error(UniPc<S, 3>()) < 0.25 * ddim);
    }
  }
}

TEST_CASE("multistep samplers refuse levels that they cannot walk", "[diffusion][multistep]") {
  const auto forth = karras_levels(10, 0.02, 4, 7, End::smallest);
  for_each_multistep<S>(exploding_path(), [&](const char* name, auto sampler) {
    INFO(name);
    CHECK_THROWS_AS(sampler.start(forth.reversed()), ValueError);
  });
  CHECK_THROWS_AS(Pndm<S>(LevelPath()), ValueError);
}

namespace {

/// A state that counts how often one is made or overwritten from another: no sampler does so once it has run.
struct CountedState {
  std::vector<double> elements;
  static inline std::int64_t copies = 0;

  CountedState() = default;
  explicit CountedState(std::size_t n) : elements(n, 1.0) {}
  CountedState(const CountedState& other) : elements(other.elements) { ++copies; }
  CountedState& operator=(const CountedState& other) {
    elements = other.elements;
    ++copies;
    return *this;
  }
  ~CountedState() = default;

  template <class F, class First, class... Others>
  requires std::is_same_v<std::remove_const_t<First>, CountedState>
  friend void for_each_element(F&& f, First& x, Others&... others) {
    for (std::size_t i = 0; i < x.elements.size(); ++i) f(x.elements[i], others.elements[i]...);
  }
};

}  // namespace

TEST_CASE("multistep samplers copy no state once they have run", "[diffusion][multistep]") {
  const auto levels = karras_levels(10, 0.02, 12);
  const auto denoiser = [](const CountedState& x, const NoiseLevel& level, CountedState& x0) {
    for (std::size_t i = 0; i < x.elements.size(); ++i)
      x0.elements[i] = x.elements[i] / (1 + level.sigma * level.sigma);
  };
  const auto noise = [] {
    struct Ones {
      void increment(const sde::Step&, CountedState& z) const { z.elements.assign(z.elements.size(), 1.0); }
    };
    return Ones{};
  }();
  for_each_multistep<CountedState>(exploding_path(), [&](const char* name, auto sampler) {
    INFO(name);
    CountedState x(3);
    const std::int64_t before = CountedState::copies;
    sample(sampler, denoiser, x, levels, noise);
    CHECK(CountedState::copies > before);  // it counts
    const std::int64_t after = CountedState::copies;
    sample(sampler, denoiser, x, levels, noise);
    CHECK(CountedState::copies == after);
  });
}
