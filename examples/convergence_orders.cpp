/// Convergence orders, measured: the strong error of every stepper against the length of its steps, all on one
/// refined Brownian path, with the slope of the line through them beside the order that the stepper declares.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/options.hpp"
#include "support/plot.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace sde = easy_diffusion::sde;

namespace {

using State = std::vector<double>;  // every element is a path of its own

/// x(t) = sinh(t/4 + W(t) + arsinh x0): the equation has noise sqrt(1 + x^2), in either calculus.
template <sde::Calculus which>
struct Multiplicative {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  static constexpr sde::Calculus calculus = which;
  void drift(const State& x, double, State& out) const {
    const double correction = which == sde::Calculus::ito ? 0.5 : 0.0;
    sde::update_elements([correction](double e, double& f) { f = correction * e + 0.25 * std::sqrt(1 + e * e); }, x, out);
  }
  void diffusion(const State& x, double, State& out) const {
    sde::update_elements([](double e, double& g) { g = std::sqrt(1 + e * e); }, x, out);
  }
  void diffusion_slope(const State& x, double, State& out) const { out = x; }
};

/// dx = sin(3x) dt + dW: no formula gives its solution, a method of order 1.5 with steps eight times finer does.
struct Additive {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  void drift(const State& x, double, State& out) const {
    sde::update_elements([](double e, double& f) { f = std::sin(3 * e); }, x, out);
  }
  double diffusion(double) const { return 1; }
};

/// x' = a(t) (x - x^2) with a(t) = 1 + cos(t)/2.
struct Logistic {
  double linear_drift(double t) const { return 1 + 0.5 * std::cos(t); }
  void drift(double x, double t, double& out) const { out = linear_drift(t) * (x - x * x); }
  void nonlinear_drift(double x, double t, double& out) const { out = -linear_drift(t) * x * x; }
  static double exact(double x0, double t) {
    return 1 / (1 + (1 / x0 - 1) * std::exp(-t - 0.5 * std::sin(t)));
  }
};

struct Setup {
  std::int64_t paths = 2000;
  std::uint64_t seed = 0;
  int first = 3, last = 9;  ///< levels: 2^level steps
};

struct Measured {
  std::string name, equation;
  double declared = 0, slope = 0;
  std::vector<double> dt, error;
};

/// Slope of the line through (log dt, log error).
double slope_of(const Measured& m) {
  const auto n = static_cast<double>(m.dt.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t i = 0; i < m.dt.size(); ++i) x += std::log(m.dt[i]) / n, y += std::log(m.error[i]) / n;
  for (std::size_t i = 0; i < m.dt.size(); ++i) {
    const double u = std::log(m.dt[i]) - x;
    xx += u * u, xy += u * (std::log(m.error[i]) - y);
  }
  return xy / xx;
}

/// Mean distance between two states.
double distance(const State& a, const State& b) {
  double sum = 0;
  sde::for_each_element([&sum](double x, double y) { sum += std::abs(x - y); }, a, b);
  return sum / static_cast<double>(a.size());
}

template <class Stepper, class System>
State solve(const System& system, const Setup& setup, std::int64_t steps, std::int64_t finest) {
  State x(static_cast<std::size_t>(setup.paths), 0.5);
  sde::CoarseNoise<sde::BrownianNoise, State> path({.seed = setup.seed}, finest / steps);
  sde::integrate(Stepper{}, system, x, sde::TimeGrid::uniform(0, 1, steps), path);
  return x;
}

template <class Stepper, class System>
Measured measure(const std::string& name, const std::string& equation, double declared, const System& system,
                 const State& goal, const Setup& setup, std::int64_t finest) {
  Measured m{name, equation, declared, 0, {}, {}};
  for (int level = setup.first; level <= setup.last; ++level) {
    const std::int64_t steps = std::int64_t{1} << level;
    m.dt.push_back(1.0 / static_cast<double>(steps));
    m.error.push_back(distance(solve<Stepper>(system, setup, steps, finest), goal));
  }
  m.slope = slope_of(m);
  return m;
}

std::vector<Measured> multiplicative(const Setup& setup) {
  const std::int64_t finest = std::int64_t{1} << setup.last;
  State w(static_cast<std::size_t>(setup.paths));
  sde::CoarseNoise<sde::BrownianNoise, State>({.seed = setup.seed}, finest).increment({0, 0, 1}, w);
  State goal = w;
  for (double& e : goal) e = std::sinh(0.25 + e + std::asinh(0.5));
  const Multiplicative<sde::Calculus::ito> ito;
  const Multiplicative<sde::Calculus::stratonovich> stratonovich;
  const auto row = [&]<class Stepper>(const char* name, Stepper) {
    if constexpr (Stepper::traits.calculus == sde::Calculus::ito) {
      return measure<Stepper>(name, "multiplicative", Stepper::traits.strong_order, ito, goal, setup, finest);
    } else {
      return measure<Stepper>(name, "multiplicative", Stepper::traits.strong_order, stratonovich, goal, setup, finest);
    }
  };
  return {row("Euler-Maruyama", sde::EulerMaruyama<State>{}),
          row("Milstein", sde::Milstein<State>{}),
          row("Milstein, derivative-free", sde::MilsteinDerivativeFree<State>{}),
          row("Platen, weak order 2", sde::PlatenWeak2<State>{}),
          row("Heun (Stratonovich)", sde::StratonovichHeun<State>{}),
          row("midpoint (Stratonovich)", sde::StratonovichMidpoint<State>{}),
          row("reversible Heun", sde::ReversibleHeun<State>{}),
          row("SRI1W1", sde::Sri1W1<State>{}),
          row("SRI2W1", sde::Sri2W1<State>{})};
}

std::vector<Measured> additive(const Setup& setup) {
  const std::int64_t finest = std::int64_t{1} << (setup.last + 3);
  const Additive system;
  const State goal = solve<sde::Sra3<State>>(system, setup, finest, finest);
  const auto row = [&]<class Stepper>(const char* name, Stepper) {
    return measure<Stepper>(name, "additive", Stepper::traits.strong_order_additive, system, goal, setup, finest);
  };
  return {row("Euler-Maruyama", sde::EulerMaruyama<State>{}),   row("Platen, weak order 2", sde::PlatenWeak2<State>{}),
          row("Heun (Stratonovich)", sde::StratonovichHeun<State>{}),
          row("midpoint (Stratonovich)", sde::StratonovichMidpoint<State>{}),
          row("reversible Heun", sde::ReversibleHeun<State>{}), row("SRA1", sde::Sra1<State>{}),
          row("SRA3", sde::Sra3<State>{}),                      row("SRI1W1", sde::Sri1W1<State>{})};
}

std::vector<Measured> ordinary(const Setup& setup) {
  const auto row = [&setup]<class Stepper>(const char* name, Stepper) {
    Measured m{name, "ordinary", Stepper::traits.order, 0, {}, {}};
    // Eight times as long as the stochastic ones run, and so eight times as many steps.
    for (int level = setup.first + 3; level <= setup.last + 3; ++level) {
      const std::int64_t steps = std::int64_t{1} << level;
      // The largest error on the way: that at the end changes its sign at some dt, and is nearly zero there.
      double x = 0.1, worst = 0;
      sde::integrate(Stepper{}, Logistic{}, x, sde::TimeGrid::uniform(0, 8, steps),
                     [&worst](std::int64_t, double t, double at) {
                       worst = std::fmax(worst, std::abs(at - Logistic::exact(0.1, t)));
                     });
      if (worst < 1e-13) break;  // rounding
      m.dt.push_back(8.0 / static_cast<double>(steps));
      m.error.push_back(worst);
    }
    m.slope = slope_of(m);
    return m;
  };
  return {row("Euler", sde::Euler<double>{}),
          row("Heun", sde::Heun<double>{}),
          row("midpoint", sde::Midpoint<double>{}),
          row("Runge-Kutta 4", sde::RungeKutta4<double>{}),
          row("Dormand-Prince 5", sde::DormandPrince5<double>{}),
          row("Adams-Bashforth 2", sde::AdamsBashforth<double, 2>{}),
          row("Adams-Bashforth 4", sde::AdamsBashforth<double, 4>{}),
          row("exponential Euler", sde::ExponentialEuler<double>{}),
          row("exponential Heun", sde::ExponentialHeun<double>{})};
}

ex::LinePlot figure(const std::vector<Measured>& rows, const std::string& title, const std::string& error) {
  ex::LinePlot plot;
  plot.axes = {.title = title,
               .x_label = "length of a step dt",
               .y_label = error,
               .log_x = true,
               .log_y = true,
               .legend = ex::Legend::right_center,
               .width = 1250};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    char label[96];
    std::snprintf(label, sizeof label, "%s: %.2f (declared %g)", rows[i].name.c_str(), rows[i].slope, rows[i].declared);
    ex::Curve curve{.label = label, .x = rows[i].dt, .y = rows[i].error};
    curve.dashed = i >= 8;  // the palette begins anew
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

void program(ex::CommandLine& line) {
  Setup setup;
  line.describe(
      "Measures the convergence order of every stepper and draws error against step length.\n"
      "Stochastic steppers run on one refined Brownian path; their error is that of each path (strong).");
  line.add<std::int64_t>("--paths", setup.paths, "number of Brownian paths", 10, 1'000'000);
  line.add<int>("--finest", setup.last, "the shortest step is 1 / 2^N", 5, 14);
  line.parse();
  setup.seed = line.seed;
  if (line.smoke) {
    if (!line.given("--paths")) setup.paths = 200;
    if (!line.given("--finest")) setup.last = 7;
  }

  const auto noise = multiplicative(setup);
  const auto plain = additive(setup);
  const auto ode = ordinary(setup);
  std::printf("%-26s %-16s %9s %9s %12s\n", "stepper", "equation", "declared", "measured", "last error");
  for (const auto* rows : {&noise, &plain, &ode})
    for (const Measured& m : *rows)
      std::printf("%-26s %-16s %9g %9.2f %12.3g\n", m.name.c_str(), m.equation.c_str(), m.declared, m.slope,
                  m.error.back());
  std::fflush(stdout);
  const std::pair<const char*, ex::LinePlot> figures[] = {
      {"orders_multiplicative", figure(noise, "Strong error, multiplicative noise", "mean error at the end")},
      {"orders_additive", figure(plain, "Strong error, additive noise", "mean error at the end")},
      {"orders_ordinary", figure(ode, "Error, ordinary equation", "largest error on the way")}};
  // The numbers of all are kept where one cannot be drawn.
  for (const auto& [name, plot] : figures) write_csv(plot, line.out / (std::string(name) + ".csv"));
  for (const auto& [name, plot] : figures) draw_png(plot, line.out / (std::string(name) + ".png"));
  std::printf("\nwrote orders_multiplicative.png, orders_additive.png and orders_ordinary.png to %s\n", ex::printable(line.out).c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
