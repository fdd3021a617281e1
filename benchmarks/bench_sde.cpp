/// Times the integrators: steppers on a double beside loops written by hand, and ensembles of scalar paths.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/timing.hpp"

namespace ed = easy_diffusion;
namespace sde = easy_diffusion::sde;

namespace {

double f(double x) { return 0.5 - x; }
double g(double x) { return 1 + 0.25 * x; }

/// dx = f(x) dt + g(x) dW
template <sde::Calculus which>
struct Relaxing {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  static constexpr sde::Calculus calculus = which;
  void drift(const double& x, double, double& out) const { out = f(x); }
  void diffusion(const double& x, double, double& out) const { out = g(x); }
  void diffusion_slope(const double& x, double, double& out) const { out = 0.25 * g(x); }
};
using Ito = Relaxing<sde::Calculus::ito>;
using Stratonovich = Relaxing<sde::Calculus::stratonovich>;

/// dx = f(x) dt + dW
struct Additive {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  void drift(const double& x, double, double& out) const { out = f(x); }
  double diffusion(double) const { return 1; }
};

struct Decay {
  void drift(const double& x, double t, double& out) const { out = -x * t; }
};

/// Noise that costs nothing, so that what is timed is the stepper.
struct Alternating {
  double root;
  void increment(const sde::Step& step, double& dw) const { dw = step.index % 2 == 0 ? root : -root; }
  void increment(const sde::Step& step, double& dw, double& dz) const {
    increment(step, dw);
    dz = 0.5 * step.dt * dw;
  }
};

constexpr std::int64_t steps = 100'000;

/// A loop by hand, in a function of its own, as the library's is.
template <class Next>
[[gnu::noinline]] double by_hand(const Next& next) {
  double x = 1;
  for (std::int64_t i = 0; i < steps; ++i) x = next(x, i);
  return x;
}

/// Times the stepper on a number, and `next(x, i)` in a loop, x after step i: the same formula in the order of its terms.
template <class Stepper, class System, class Noise, class Next>
void compare(const char* name, int repetitions, const Noise& noise, Next&& next) {
  const auto grid = sde::TimeGrid::uniform(0, 1, steps);
  [[maybe_unused]] volatile double sink = 0;
  double a = 0, b = 0, best_a = 1e300, best_b = 1e300;
  // In turn, and the shortest of each: other programs only ever add.
  for (int i = 0; i < 10 * repetitions; ++i) {
    best_a = std::fmin(best_a, ed::bench::median_seconds(1, [&] {
                         double x = 1;
                         if constexpr (sde::is_ode_stepper<Stepper>) {
                           sde::integrate(Stepper{}, System{}, x, grid);
                         } else {
                           sde::integrate(Stepper{}, System{}, x, grid, noise);
                         }
                         sink = a = x;
                       }));
    best_b = std::fmin(best_b, ed::bench::median_seconds(1, [&] { sink = b = by_hand(next); }));
  }
  if (!(std::abs(a - b) <= 1e-9 * (1 + std::abs(b)))) throw std::runtime_error("bench_sde: results differ");
  std::printf("%-28s library %6.2f ns, by hand %6.2f ns a step: %.3f\n", name, 1e9 * best_a / steps,
              1e9 * best_b / steps, best_a / best_b);
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t paths = 1'000'000;
  std::int64_t path_steps = 100;
  int threads = ed::num_threads();
  int repetitions = 7;
  CLI::App app("Times the integrators.");
  app.add_option("--paths", paths)->check(CLI::Range(1000, 100'000'000))->capture_default_str();
  app.add_option("--steps", path_steps)->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--threads", threads)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  ed::set_num_threads(threads);

  const double dt = 1.0 / static_cast<double>(steps), root = std::sqrt(dt);
  const auto w = [root](std::int64_t i) { return i % 2 == 0 ? root : -root; };
  const Alternating noise{root};
  compare<sde::EulerMaruyama<double>, Ito>("Euler-Maruyama", repetitions, noise,
                                           [=](double x, std::int64_t i) { return x + f(x) * dt + g(x) * w(i); });
  compare<sde::Milstein<double>, Ito>("Milstein", repetitions, noise, [=](double x, std::int64_t i) {
    const double dw = w(i);
    return x + f(x) * dt + g(x) * dw + 0.25 * g(x) * (0.5 * (dw * dw - dt));
  });
  compare<sde::StratonovichHeun<double>, Stratonovich>("Heun", repetitions, noise, [=](double x, std::int64_t i) {
    const double dw = w(i), drift = f(x) * dt, shake = g(x) * dw;
    const double y = x + drift + shake;
    return x + 0.5 * drift + 0.5 * shake + 0.5 * (f(y) * dt) + 0.5 * (g(y) * dw);
  });
  compare<sde::PlatenWeak2<double>, Ito>("Platen", repetitions, noise, [=](double x, std::int64_t i) {
    const double dw = w(i), drift = f(x) * dt, gx = g(x);
    const double up = g(x + drift + gx * root), down = g(x + drift - gx * root), end = f(x + drift + gx * dw) * dt;
    return x + 0.5 * drift + 0.5 * end + 0.25 * (up + down + 2 * gx) * dw + 0.25 / root * (up - down) * (dw * dw - dt);
  });
  compare<sde::Sra1<double>, Additive>("SRA1", repetitions, noise, [=](double x, std::int64_t i) {
    const double dw = w(i), dz = 0.5 * dt * dw;
    const double drift = f(x) * dt, later = f(x + 1.5 / dt * dz + 0.75 * drift) * dt;
    return x + dw + 1.0 / 3 * drift + 2.0 / 3 * later;
  });
  compare<sde::Sri1W1<double>, Ito>("SRI1W1", repetitions, noise, [=](double x, std::int64_t i) {
    const double dw = w(i), dz = 0.5 * dt * dw;
    const double two = 0.5 * (dw * dw - dt) / root, mixed = dz / dt, three = dw * (dw * dw - 3 * dt) / (6 * dt);
    const double f1 = f(x) * dt, g1 = g(x), f2 = f(x + 0.75 * f1 + 1.5 * g1 * mixed) * dt;
    const double g2 = g(x + 0.25 * f1 + 0.5 * root * g1), g3 = g(x + f1 - root * g1);
    const double g4 = g(x + 0.25 * f1 - 5 * root * g1 + 3 * root * g2 + 0.5 * root * g3);
    return x + 1.0 / 3 * f1 + 2.0 / 3 * f2 + (-dw - two + 2 * mixed - 2 * three) * g1 +
           (4.0 / 3 * (dw + two - mixed) + 5.0 / 3 * three) * g2 +
           (2.0 / 3 * (dw - mixed - three) - 1.0 / 3 * two) * g3 + three * g4;
  });
  compare<sde::RungeKutta4<double>, Decay>("Runge-Kutta 4", repetitions, noise, [dt](double x, std::int64_t i) {
    const double t = static_cast<double>(i) / static_cast<double>(steps), h = dt;
    const double k1 = -x * t, k2 = -(x + 0.5 * h * k1) * (t + 0.5 * h), k3 = -(x + 0.5 * h * k2) * (t + 0.5 * h),
                 k4 = -(x + h * k3) * (t + h);
    return x + h / 6 * k1 + h / 3 * k2 + h / 3 * k3 + h / 6 * k4;
  });
  const sde::BrownianNoise brownian{.seed = 1};
  compare<sde::EulerMaruyama<double>, Ito>(
      "Euler-Maruyama, drawn noise", repetitions, brownian, [=](double x, std::int64_t i) {
        const double dw = root * ed::normal<double>({1, ed::streams::brownian, static_cast<std::uint32_t>(i)}, 0);
        return x + f(x) * dt + g(x) * dw;
      });

  std::vector<float> x(static_cast<std::size_t>(paths));
  const auto path_grid = sde::TimeGrid::uniform(0, 10, path_steps);
  const double seconds = ed::bench::median_seconds(repetitions, [&] {
    std::fill(x.begin(), x.end(), 0.0F);
    sde::integrate_ensemble<sde::EulerMaruyama>(sde::BrownianMotion(1), std::span<float>(x), path_grid,
                                                sde::BrownianNoise{.seed = 1});
  });
  std::printf("ensemble: %lld paths, %lld steps, %d threads: %.2f G path-steps/s\n", static_cast<long long>(paths),
              static_cast<long long>(path_steps), threads, 1e-9 * static_cast<double>(paths * path_steps) / seconds);
}
