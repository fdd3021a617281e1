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

/// dx = -x dt + (1 + x/4) dW
struct Relaxing {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  void drift(const double& x, double, double& out) const { out = -x; }
  void diffusion(const double& x, double, double& out) const { out = 1 + 0.25 * x; }
  void diffusion_slope(const double& x, double, double& out) const { out = 0.25 * (1 + 0.25 * x); }
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

constexpr std::int64_t steps = 2'000'000;

template <class Library, class Hand>
void compare(const char* name, int repetitions, Library&& library, Hand&& hand) {
  volatile double sink = 0;
  double a = 0, b = 0, best_a = 1e300, best_b = 1e300;
  // In turn, and the shortest of each: other programs only ever add.
  for (int i = 0; i < repetitions; ++i) {
    best_a = std::fmin(best_a, ed::bench::median_seconds(1, [&] { sink = a = library(); }));
    best_b = std::fmin(best_b, ed::bench::median_seconds(1, [&] { sink = b = hand(); }));
  }
  if (!(std::abs(a - b) <= 1e-9 * (1 + std::abs(b)))) throw std::runtime_error("bench_sde: results differ");
  std::printf("%-20s library %6.2f ns, by hand %6.2f ns a step: %.3f\n", name, 1e9 * best_a / steps, 1e9 * best_b / steps,
              best_a / best_b);
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

  const auto grid = sde::TimeGrid::uniform(0, 1, steps);
  const double dt = 1.0 / static_cast<double>(steps), root = std::sqrt(dt);
  const auto w = [root](std::int64_t i) { return i % 2 == 0 ? root : -root; };
  compare(
      "Euler-Maruyama", repetitions,
      [&] {
        double x = 1;
        sde::integrate(sde::EulerMaruyama<double>{}, Relaxing{}, x, grid, Alternating{root});
        return x;
      },
      [&] {
        double x = 1;
        for (std::int64_t i = 0; i < steps; ++i) x = x - x * dt + (1 + 0.25 * x) * w(i);
        return x;
      });
  compare(
      "Milstein", repetitions,
      [&] {
        double x = 1;
        sde::integrate(sde::Milstein<double>{}, Relaxing{}, x, grid, Alternating{root});
        return x;
      },
      [&] {
        double x = 1;
        for (std::int64_t i = 0; i < steps; ++i) {
          const double g = 1 + 0.25 * x, dw = w(i);
          x = x - x * dt + g * dw + 0.25 * g * (0.5 * (dw * dw - dt));
        }
        return x;
      });
  compare(
      "Runge-Kutta 4", repetitions,
      [&] {
        double x = 1;
        sde::integrate(sde::RungeKutta4<double>{}, Decay{}, x, grid);
        return x;
      },
      [&] {
        double x = 1;
        for (std::int64_t i = 0; i < steps; ++i) {
          const double t = static_cast<double>(i) / static_cast<double>(steps), h = dt;
          const double k1 = -x * t, k2 = -(x + 0.5 * h * k1) * (t + 0.5 * h), k3 = -(x + 0.5 * h * k2) * (t + 0.5 * h),
                       k4 = -(x + h * k3) * (t + h);
          x += h / 6 * k1 + h / 3 * k2 + h / 3 * k3 + h / 6 * k4;
        }
        return x;
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
