/// Steppers of ordinary equations: their orders, dense output, adaptive steps.

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"
#include "support/worst.hpp"

#include "sde/orders.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;
using easy_diffusion::tests::check_order;
using easy_diffusion::tests::ErrorAt;
using easy_diffusion::tests::fit;

namespace {

/// x' = -x^2 sin t, for which 1/x(t) = 1/x(0) + 1 - cos t.
struct Decay {
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::update_elements([s = std::sin(t)](const auto& e, auto& f) { f = -e * e * s; }, x, out);
  }
  static double exact(double x0, double t) { return 1 / (1 / x0 + 1 - std::cos(t)); }
};

/// x' = 10 x cos(10 t), for which x(t) = x(0) exp(sin(10 t)).
struct Waves {
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::update_elements([c = 10 * std::cos(10 * t)](const auto& e, auto& f) { f = c * e; }, x, out);
  }
  static double exact(double x0, double t) { return x0 * std::exp(std::sin(10 * t)); }
};

/// x' = a(t) (x - x^2) with a(t) = 1 + sin(t)/2, for which 1/x(t) = 1 + (1/x(0) - 1) exp(-A(t)).
struct Logistic {
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::update_elements([a = linear_drift(t)](const auto& e, auto& f) { f = a * (e - e * e); }, x, out);
  }
  double linear_drift(double t) const { return 1 + 0.5 * std::sin(t); }
  template <sde::State S>
  void nonlinear_drift(const S& x, double t, S& out) const {
    sde::update_elements([a = linear_drift(t)](const auto& e, auto& f) { f = -a * e * e; }, x, out);
  }
  static double integral(double t) { return t + 0.5 * (1 - std::cos(t)); }
  static double exact(double x0, double t) { return 1 / (1 + (1 / x0 - 1) * std::exp(-integral(t))); }
};

/// The same, with the integral of a known.
struct LogisticWithIntegral : Logistic {
  double linear_integral(double t0, double t1) const { return integral(t1) - integral(t0); }
};

template <class S>
S starts(S x) {
  double value = 0.5;
  sde::for_each_element([&value](auto& e) { e = value, value += 0.25; }, x);
  return x;
}

/// Largest error at `end` for 2^first ... 2^last steps. Where end < 0, the path is walked back from there to 0.
template <class Stepper, class Problem, class S>
std::vector<ErrorAt> errors(S shape, int first, int last, double end, bool stretched = false) {
  std::vector<ErrorAt> result;
  const S x0 = starts(shape);
  S goal = x0;
  sde::for_each_element([end](auto& e) { e = Problem::exact(e, end); }, goal);
  for (int level = first; level <= last; ++level) {
    const std::int64_t n = std::int64_t{1} << level;
    std::vector<double> times;
    for (std::int64_t i = 0; i <= n; ++i) {
      const double u = static_cast<double>(i) / static_cast<double>(n);
      times.push_back(end * (stretched ? u * (0.5 + 0.5 * u) : u));
    }
    S x = x0;
    sde::integrate(Stepper{}, Problem{}, x,
                   stretched ? sde::TimeGrid::from_times(times) : sde::TimeGrid::uniform(0, end, n));
    easy_diffusion::test::Worst worst;
    sde::for_each_element(
        [&worst](const auto& a, const auto& b) { worst.see(std::abs(static_cast<double>(a - b))); }, x, goal);
    result.push_back({std::abs(end) / static_cast<double>(n), worst.value(), 0});
  }
  return result;
}

template <template <class> class Stepper, class Problem>
void check_stepper(int first, int last, double back = -1) {
  constexpr double order = Stepper<double>::traits.order;
  check_order(errors<Stepper<double>, Problem>(0.0, first, last, 2), order);
  check_order(errors<Stepper<double>, Problem>(0.0, first, last, back), order);  // time runs backwards
  check_order(errors<Stepper<std::array<double, 3>>, Problem>(std::array<double, 3>{}, first, last, 2), order);
  check_order(errors<Stepper<Tensor<double>>, Problem>(Tensor<double>({5}), first, last, 2), order);
  check_order(errors<Stepper<std::vector<double>>, Problem>(std::vector<double>(2), first, last, 2, true), order);
}

template <class S>
using AdamsBashforth2 = sde::AdamsBashforth<S, 2>;
template <class S>
using AdamsBashforth3 = sde::AdamsBashforth<S, 3>;
template <class S>
using AdamsBashforth4 = sde::AdamsBashforth<S, 4>;

/// Declares more than it is.
template <class S>
struct Boasting : sde::Euler<S> {
  static constexpr sde::OdeTraits traits{.order = 2, .evaluations = 1};
};

struct Counting {
  std::int64_t* calls;
  void drift(const double& x, double t, double& out) const {
    ++*calls;
    Decay{}.drift(x, t, out);
  }
};

/// Two variables with very different speeds.
struct VanDerPol {
  using State = std::array<double, 2>;
  void drift(const State& x, double, State& out) const {
    out[0] = x[1];
    out[1] = 5 * (1 - x[0] * x[0]) * x[1] - x[0];
  }
};

struct Exploding {
  void drift(const double& x, double, double& out) const { out = x * x; }
};

}  // namespace

TEST_CASE("steppers of ordinary equations have their orders", "[sde][ode][order]") {
  check_stepper<sde::Euler, Decay>(5, 10);
  check_stepper<sde::Heun, Decay>(4, 9);
  check_stepper<sde::Midpoint, Decay>(4, 9);
  check_stepper<sde::RungeKutta4, Logistic>(3, 8);
  check_stepper<sde::DormandPrince5, Waves>(6, 10);
}

TEST_CASE("multistep methods have their orders from the first step on", "[sde][ode][order]") {
  check_stepper<AdamsBashforth2, Decay>(5, 10);
  check_stepper<AdamsBashforth3, Decay>(6, 10);
  check_stepper<AdamsBashforth4, Decay>(6, 10);
}

TEST_CASE("exponential steppers have their orders", "[sde][ode][order]") {
  check_stepper<sde::ExponentialEuler, Logistic>(5, 10);
  check_stepper<sde::ExponentialHeun, Logistic>(4, 9);
  check_stepper<sde::ExponentialHeun, LogisticWithIntegral>(4, 9);
}

TEST_CASE("an order that is not there is refused", "[sde][ode][order]") {
  using Stepper = Boasting<double>;
  CHECK_FALSE(fit(errors<Stepper, Decay>(0.0, 5, 10, 2)).shows(Stepper::traits.order));
  CHECK(fit(errors<Stepper, Decay>(0.0, 5, 10, 2)).shows(sde::Euler<double>::traits.order));
}

TEST_CASE("exponential steppers are exact where the equation is linear", "[sde][ode]") {
  struct Stiff {
    double linear_drift(double t) const { return -1000 * t; }
    double linear_integral(double a, double b) const { return -500 * (b * b - a * a); }
    void nonlinear_drift(const double&, double, double& out) const { out = 0; }
  };
  struct Forced {  // x' = -3 x + 2 + t: a particular solution is t/3 + 5/9
    double linear_drift(double) const { return -3; }
    void nonlinear_drift(const double&, double t, double& out) const { out = 2 + t; }
  };
  double x = 1;
  sde::integrate(sde::ExponentialEuler<double>{}, Stiff{}, x, sde::TimeGrid::uniform(0, 0.1, 3));
  CHECK_THAT(x, WithinRel(std::exp(-5.0), 1e-13));
  for (const std::int64_t n : {1, 4, 1000}) {
    x = 1;
    sde::integrate(sde::ExponentialHeun<double>{}, Forced{}, x, sde::TimeGrid::uniform(0, 1, n));
    CHECK_THAT(x, WithinRel(1.0 / 3 + 5.0 / 9 + (1 - 5.0 / 9) * std::exp(-3.0), 1e-13));
  }
  // The weights lose no digits where their formulas would.
  for (const double z : {-0.0501, -0.0499, -1e-3, -1e-9, 0.0, 1e-9, 0.0499, 0.0501}) {
    const auto w = sde::detail::exponential_weights(z);
    const auto l = static_cast<long double>(z);
    long double phi1 = 0, phi2 = 0, term = 1;
    for (int k = 1; k < 30; ++k) {
      phi1 += term / k;
      phi2 += term / (static_cast<long double>(k) * (k + 1));
      term *= l / k;
    }
    CHECK_THAT(w.phi1, WithinRel(static_cast<double>(phi1), 1e-14));
    CHECK_THAT(w.phi2, WithinRel(static_cast<double>(phi2), 2e-14));
  }
}

TEST_CASE("steppers count their evaluations", "[sde][ode]") {
  std::int64_t calls = 0;
  const Counting system{&calls};
  const auto grid = sde::TimeGrid::uniform(0, 1, 20);
  const auto count = [&](auto stepper) {
    calls = 0;
    double x = 1;
    sde::integrate(stepper, system, x, grid);
    return calls;
  };
  CHECK(count(sde::Euler<double>{}) == 20 * sde::Euler<double>::traits.evaluations);
  CHECK(count(sde::Heun<double>{}) == 20 * sde::Heun<double>::traits.evaluations);
  CHECK(count(sde::RungeKutta4<double>{}) == 80);
  CHECK(count(sde::DormandPrince5<double>{}) == 120);
  CHECK(count(AdamsBashforth4<double>{}) == 3 * 4 + 17);
  double x = 1;
  calls = 0;
  const auto result = sde::integrate_adaptive(sde::DormandPrince5<double>{}, system, x, 0, 2);
  CHECK(calls == 2 + 1 + 6 * (result.steps + result.rejected));  // two find the first step, one starts
}

TEST_CASE("a multistep method takes a past, and forgets one that does not belong to it", "[sde][ode]") {
  const double dt = 0.01;
  const auto drift_at = [](double t) {
    double out = 0;
    const double x = Decay::exact(0.5, t);
    Decay{}.drift(x, t, out);
    return out;
  };
  sde::AdamsBashforth<double, 4> given;
  const std::array<double, 3> times{-dt, -2 * dt, -3 * dt};
  const std::array<double, 3> drifts{drift_at(-dt), drift_at(-2 * dt), drift_at(-3 * dt)};
  given.begin_with(times, drifts, 0);
  std::int64_t calls = 0;
  double x = 0.5;
  sde::integrate(given, Counting{&calls}, x, sde::TimeGrid::uniform(0, 1, 100));
  CHECK(calls == 100);
  CHECK_THAT(x, WithinAbs(Decay::exact(0.5, 1), 1e-8));

  // Another integration with the same stepper begins anew.
  double y = 0.5, z = 0.5;
  sde::integrate(given, Decay{}, y, sde::TimeGrid::uniform(0, 1, 100));
  sde::integrate(sde::AdamsBashforth<double, 4>{}, Decay{}, z, sde::TimeGrid::uniform(0, 1, 100));
  CHECK(y == z);
  const std::array<double, 3> equal{-dt, -dt, -dt};
  CHECK_THROWS_AS(given.begin_with(equal, drifts, 0), ValueError);
  CHECK_THROWS_AS(given.begin_with(std::span<const double>(times).first(2), drifts, 0), ValueError);
}

TEST_CASE("adaptive steps keep the tolerance and follow the solution", "[sde][ode][adaptive]") {
  double before = 1;
  for (const double tolerance : {1e-4, 1e-6, 1e-8, 1e-10}) {
    double x = 1.5;
    const auto result = sde::integrate_adaptive(sde::DormandPrince5<double>{}, Decay{}, x, 0, 3,
                                                {.tolerances = {tolerance, tolerance}});
    const double error = std::abs(x - Decay::exact(1.5, 3));
    CHECK(error < 5 * tolerance);
    CHECK(error < before);
    CHECK(result.t == 3);
    before = error;
  }
  // The slow part takes long steps, the fast one short ones, and both directions lead to the same path.
  std::array<double, 2> x{2, 0};
  double shortest = 1, longest = 0, last = 0;
  const auto look = [&](std::int64_t step, double t, const auto&) {
    if (step > 0 && t < 20) shortest = std::fmin(shortest, t - last), longest = std::fmax(longest, t - last);
    last = t;
  };
  const sde::AdaptiveOptions tight{.tolerances = {1e-9, 1e-9}};
  const auto forward = sde::integrate_adaptive(sde::DormandPrince5<VanDerPol::State>{}, VanDerPol{}, x, 0, 20, tight, look);
  CHECK(longest > 10 * shortest);
  CHECK(forward.rejected > 0);
  CHECK(forward.steps > 50);
  std::array<double, 2> y{2, 0};
  sde::integrate(sde::RungeKutta4<VanDerPol::State>{}, VanDerPol{}, y, sde::TimeGrid::uniform(0, 20, 40'000));
  CHECK_THAT(x[0], WithinAbs(y[0], 1e-5));

  double back = Decay::exact(1.5, 3);
  sde::integrate_adaptive(sde::DormandPrince5<double>{}, Decay{}, back, 3, 0, tight);
  CHECK_THAT(back, WithinAbs(1.5, 1e-7));
}

TEST_CASE("dense output is as good as the steps, and changes none", "[sde][ode][adaptive]") {
  const sde::AdaptiveOptions options{.tolerances = {1e-8, 1e-8}};
  double x = 1.5, y = 1.5;
  const auto plain = sde::integrate_adaptive(sde::DormandPrince5<double>{}, Decay{}, x, 0, 3, options);
  sde::RecordEvery<double> record(1);
  const auto grid = sde::TimeGrid::uniform(0, 3, 200);
  const auto dense = sde::integrate_adaptive(sde::DormandPrince5<double>{}, Decay{}, y, grid, options, record);
  CHECK(x == y);
  CHECK(plain.steps == dense.steps);
  CHECK(plain.steps < 100);
  REQUIRE(record.states().size() == 201);
  for (std::size_t i = 0; i < 201; ++i) {
    CHECK(record.times()[i] == grid.time(static_cast<std::int64_t>(i)));
    CHECK_THAT(record.states()[i], WithinAbs(Decay::exact(1.5, record.times()[i]), 2e-7));
  }
  // Order 4 between the ends of a step, for one step of falling length.
  std::vector<ErrorAt> measured;
  for (int level = 1; level <= 6; ++level) {
    const double dt = std::ldexp(1.0, -level);
    sde::DormandPrince5<double> stepper;
    const double x0 = Decay::exact(0.8, 1);
    double next = 0, error = 0, between = 0;
    stepper.attempt(Decay{}, x0, {0, 1, dt}, true, next, error);
    easy_diffusion::test::Worst worst;
    for (const double theta : {0.2, 0.4, 0.6, 0.8}) {
      stepper.interpolate(x0, next, dt, theta, between);
      worst.see(std::abs(between - Decay::exact(0.8, 1 + theta * dt)));
    }
    measured.push_back({dt, worst.value(), 0});
  }
  const double slope = fit(measured).slope;  // one step: one more than the order
  CHECK(slope > 4.7);

  std::int64_t looks = 0;
  double z = 1.5;
  const auto stopped = sde::integrate_adaptive(
      sde::DormandPrince5<double>{}, Decay{}, z, grid, options, [&](std::int64_t, double t, double) {
        ++looks;
        return t >= 0.3 ? sde::Flow::stop : sde::Flow::go_on;
      });
  CHECK(stopped.stopped);
  CHECK(looks == 21);
}

TEST_CASE("adaptive integration refuses what cannot work", "[sde][ode][adaptive]") {
  double x = 1;
  const auto run = [&x](double start, double end, sde::AdaptiveOptions options) {
    x = 1;
    return sde::integrate_adaptive(sde::DormandPrince5<double>{}, Exploding{}, x, start, end, options);
  };
  CHECK_THROWS_WITH(run(0, 0.5, {.tolerances = {0, 1e-6}}), ContainsSubstring("relative tolerance"));
  CHECK_THROWS_WITH(run(0, 0.5, {.tolerances = {1e-6, -1}}), ContainsSubstring("absolute tolerance") && ContainsSubstring("-1"));
  CHECK_THROWS_AS(run(0, 0.5, {.tolerances = {std::numeric_limits<double>::quiet_NaN(), 1}}), ValueError);
  CHECK_THROWS_AS(run(1, 1, {}), ValueError);
  CHECK_THROWS_AS(run(0, std::numeric_limits<double>::infinity(), {}), ValueError);
  CHECK_THROWS_AS(run(0, 0.5, {.tolerances = {}, .first_step = -1}), ValueError);
  CHECK_THROWS_WITH(run(0, 0.9, {.tolerances = {}, .max_steps = 3}), ContainsSubstring("3 steps did not suffice"));
  CHECK_THROWS_WITH(run(0, 2, {}), ContainsSubstring("at step") && ContainsSubstring("t = "));  // x(1) is infinite
  x = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(sde::integrate_adaptive(sde::DormandPrince5<double>{}, Exploding{}, x, 0, 0.5),
                    ContainsSubstring("finite state"));
  x = 1;
  CHECK_THROWS_WITH(sde::integrate(sde::Euler<double>{}, Exploding{}, x, sde::TimeGrid::uniform(0, 20, 20),
                                   {.non_finite = sde::NonFinite::fail}),
                    ContainsSubstring("step 1") && ContainsSubstring("t = 1"));
  x = 1;
  sde::integrate(sde::Euler<double>{}, Exploding{}, x, sde::TimeGrid::uniform(0, 20, 20));
  CHECK(!std::isfinite(x));
}

namespace {
struct NeverWithNoise {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  void drift(const double&, double, double& out) const { out = std::numeric_limits<double>::quiet_NaN(); }
  double diffusion(double) const { return 1; }
};
}  // namespace

TEST_CASE("a drift that is not finite is named as such", "[sde][ode][adaptive]") {
  struct Never {
    void drift(const double&, double, double& out) const { out = std::numeric_limits<double>::quiet_NaN(); }
  };
  double x = 1;
  for (const double first_step : {0.0, 0.1})
    CHECK_THROWS_WITH(sde::integrate_adaptive(sde::DormandPrince5<double>{}, Never{}, x, 0, 1,
                                              {.tolerances = {}, .first_step = first_step}),
                      ContainsSubstring("drift is not finite") && ContainsSubstring("t = 0"));
  // From half of the way on.
  struct Half {
    void drift(const std::vector<double>& at, double t, std::vector<double>& out) const {
      out = at;
      if (t >= 0.5) out[1] = std::numeric_limits<double>::infinity();
    }
  };
  std::vector<double> y{1, 1};
  CHECK_THROWS_WITH(sde::integrate_adaptive(sde::DormandPrince5<std::vector<double>>{}, Half{}, y, 0.5, 1),
                    ContainsSubstring("drift is not finite (element 1)"));
  y = {1, 1};
  CHECK_THROWS_WITH(sde::integrate_adaptive(sde::DormandPrince5<std::vector<double>>{}, Half{}, y, 0, 1),
                    ContainsSubstring("no step, however short, gave a finite state") && ContainsSubstring("t = 0.5"));
  // A stochastic equation.
  sde::BrownianTree<double> tree({.depth = 8});
  CHECK_THROWS_WITH(sde::integrate_adaptive(sde::Sra1<double>{}, NeverWithNoise{}, x, tree), ContainsSubstring("drift is not finite"));
}

TEST_CASE("times may be as large as the age of the universe in seconds", "[sde][ode][adaptive]") {
  constexpr double span = 4e17;
  struct Slow {
    void drift(const double& at, double, double& out) const { out = -at / 1e17; }
  };
  const auto at_end = [&](double start) {
    double x = 1;
    const auto result = sde::integrate_adaptive(sde::DormandPrince5<double>{}, Slow{}, x, start, start + span);
    CHECK(result.t == start + span);
    CHECK(result.steps < 200);
    return x;
  };
  for (const double start : {0.0, 1e17, -4e17}) CHECK_THAT(at_end(start), WithinRel(std::exp(-4.0), 1e-4));
  double back = 1;
  sde::integrate_adaptive(sde::DormandPrince5<double>{}, Slow{}, back, span, 0);
  CHECK_THAT(back, WithinRel(std::exp(4.0), 1e-4));

  double x = 1;
  sde::integrate(sde::RungeKutta4<double>{}, Slow{}, x, sde::TimeGrid::uniform(0, span, 100'000));
  CHECK_THAT(x, WithinRel(std::exp(-4.0), 1e-9));

  // dx = -x / T dt + sqrt(2 / T) dW keeps a variance of 1.
  const sde::OrnsteinUhlenbeck process(1e-17, 0, std::sqrt(2e-17));
  std::vector<double> many(4000);
  sde::draw_normal(many, 1, {1, easy_diffusion::streams::initial_state, 0});
  sde::integrate(sde::EulerMaruyama<std::vector<double>>{}, process, many, sde::TimeGrid::uniform(0, span, 400),
                 sde::BrownianNoise{.seed = 2});
  double square = 0;
  for (const double e : many) square += e * e / 4000;
  CHECK_THAT(square, WithinAbs(1, 0.12));
  sde::BrownianTree<double> tree({.seed = 1, .start = 0, .end = span});
  double alone = 0.5;
  CHECK(sde::integrate_adaptive(sde::Sra1<double>{}, process, alone, tree).t == span);
  CHECK(std::abs(alone) < 6);
}
