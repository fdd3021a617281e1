/// Reverse diffusion in one dimension: the spread of forward_1d, run backwards with the exact score from
/// time T to time T - steps dt. The variance measured is compared with Euler's own recursion, and that with the
/// variance of the equation: their gap halves when dt does.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/diffusion_1d.hpp"
#include "support/figures_1d.hpp"
#include "support/options.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

void print_table(const std::vector<ex::VarianceRow>& rows, double from) {
  std::printf("%6s %8s %8s %11s %11s %10s %12s %11s %10s\n", "step", "t", "tau", "measured", "Euler", "std error",
              "deviation/SE", "continuous", "gap");
  for (const auto& row : rows)
    std::printf("%6lld %8.4g %8.4g %11.6g %11.6g %10.3g %+12.2f %11.6g %+10.5f\n", static_cast<long long>(row.step),
                row.t, from - row.t, row.measured, row.discrete, row.standard_error, row.deviation(), row.continuous,
                row.gap());
}

/// The end of the run at dt, dt/2, dt/4, ...: Euler's variance comes to that of the equation as dt does to zero.
void print_halvings(ex::Diffusion1d setup, const ex::VarianceRow& first, int halvings) {
  std::printf("\nAt the end, for shorter steps (gap ratio: the gap at twice the dt over this one):\n");
  std::printf("%10s %8s %11s %11s %12s %11s %11s %10s\n", "dt", "steps", "measured", "Euler", "continuous", "gap",
              "gap ratio", "std error");
  ex::VarianceRow row = first;
  double before = 0;
  for (int i = 0;; ++i) {
    char ratio[32] = "";
    if (i > 0) std::snprintf(ratio, sizeof ratio, "%.4f", before / row.gap());
    std::printf("%10.5g %8lld %11.6g %11.6g %12.6g %+11.6f %11s %10.3g\n", setup.dt,
                static_cast<long long>(setup.steps), row.measured, row.discrete, row.continuous, row.gap(), ratio,
                row.standard_error);
    if (i == halvings) break;
    before = row.gap();
    setup.dt /= 2;
    setup.steps *= 2;
    row = ex::reverse_experiment(setup, setup.steps).back();
  }
}

void program(ex::CommandLine& line) {
  ex::Diffusion1d setup;
  int halvings = 2;
  line.describe(
      "Reverse diffusion in one dimension: x <- x + sigma^2 score(x, tau) dt + sigma sqrt(dt) r, tau = T - t,\n"
      "with the exact score -x / (sigma^2 tau) of paths that started at 0. Draws five paths and the density of many;\n"
      "compares the measured variance with Euler's own recursion v <- v (1 - dt/tau)^2 + sigma^2 dt.");
  line.add<std::int64_t>("--paths", setup.paths, "number of paths", 2, 100'000'000);
  line.add<std::int64_t>("--steps", setup.steps, "number of steps", 1, 100'000);
  line.add<double>("--dt", setup.dt, "length of a step", 1e-9, 1e9);
  line.add<double>("--sigma", setup.sigma, "strength of the noise", 1e-6, 1e6);
  line.add<double>("--from", setup.reverse_from, "T, the time at which the reversal starts; above dt * steps", 1e-9,
                   1e12);
  line.add<int>("--halvings", halvings, "how often dt is halved to show how the gap shrinks", 0, 8);
  line.add("--as-written", setup.as_written,
           "the start of the original's listing: its standard deviation is T, where the marginal has sigma sqrt(T)");
  line.parse();
  setup.seed = line.seed;
  if (line.smoke && !line.given("--paths")) setup.paths = 20'000;

  ed::sde::RecordEvery<ed::Tensor<float>> record(1);
  ex::run_reverse(setup, 5, record);

  const std::vector<double> variances = ex::reverse_variances(setup);
  ex::DensityObserver density(3.5 * std::sqrt(variances.front()), 320, ex::column_interval(setup.steps));
  const auto rows = ex::reverse_experiment(setup, 10, density);

  std::printf("reverse diffusion: %lld paths, from T = %g in %lld steps of dt = %g, sigma = %g, seed %llu%s\n\n",
              static_cast<long long>(setup.paths), setup.reverse_from, static_cast<long long>(setup.steps), setup.dt,
              setup.sigma, static_cast<unsigned long long>(setup.seed), setup.as_written ? ", as written" : "");
  print_table(rows, setup.reverse_from);
  if (halvings > 0) print_halvings(setup, ex::reverse_experiment(setup, setup.steps).back(), halvings);
  std::fflush(stdout);

  const char* const suffix = setup.as_written ? " (as written)" : "";
  const double last_std = std::sqrt(variances.back());
  ex::save_figures(line.out, "reverse_1d",
                   ex::paths_figure(std::string("Reverse diffusion: five paths") + suffix, record, setup.dt),
                   ex::density_figure("Reverse diffusion: " + ex::grouped(setup.paths) + " paths" + suffix, density,
                                      setup.dt, variances, 0.4 / last_std));
  std::printf("\nwrote %s and %s\n", ex::printable(line.out / "reverse_1d_paths.png").c_str(),
              ex::printable(line.out / "reverse_1d_density.png").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
