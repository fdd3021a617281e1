/// Forward diffusion in one dimension: paths that all start at 0 spread by dx = sigma dW until their
/// variance is sigma^2 t. Five of them as lines, a million as a density, and the variance measured.

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

void program(ex::CommandLine& line) {
  ex::Diffusion1d setup;
  line.describe(
      "Forward diffusion in one dimension: x <- x + sigma sqrt(dt) r from x = 0.\n"
      "Draws five paths and the density of many, and compares the measured variance with sigma^2 t.");
  line.add<std::int64_t>("--paths", setup.paths, "number of paths", 2, 100'000'000);
  line.add<std::int64_t>("--steps", setup.steps, "number of steps", 1, 100'000);
  line.add<double>("--dt", setup.dt, "length of a step", 1e-9, 1e9);
  line.add<double>("--sigma", setup.sigma, "strength of the noise", 1e-6, 1e6);
  line.add("--as-written", setup.as_written,
           "the formula of the original's listing: the noise is scaled by sqrt(t), where the equation has sqrt(dt)");
  line.parse();
  setup.seed = line.seed;
  if (line.smoke && !line.given("--paths")) setup.paths = 20'000;

  // A path has the same noise whatever their number: these five are the first five of the million.
  ed::sde::RecordEvery<ed::Tensor<float>> record(1);
  ex::run_forward(setup, 5, record);

  const std::vector<double> variances = ex::forward_variances(setup);
  const double last_std = std::sqrt(variances.back() > 0 ? variances.back() : setup.dt * setup.sigma * setup.sigma);
  ex::DensityObserver density(4 * last_std, 320, ex::column_interval(setup.steps));
  const auto rows = ex::forward_experiment(setup, 10, density);

  std::printf("forward diffusion: %lld paths, %lld steps of dt = %g, sigma = %g, seed %llu%s\n\n",
              static_cast<long long>(setup.paths), static_cast<long long>(setup.steps), setup.dt, setup.sigma,
              static_cast<unsigned long long>(setup.seed), setup.as_written ? ", as written" : "");
  std::printf("%6s %9s %12s %12s %12s %12s\n", "step", "t", "measured", setup.as_written ? "as written" : "sigma^2 t",
              "std error", "deviation/SE");
  for (const auto& row : rows)
    std::printf("%6lld %9.4g %12.6g %12.6g %12.3g %+12.2f\n", static_cast<long long>(row.step), row.t, row.measured,
                row.discrete, row.standard_error, row.deviation());
  if (setup.as_written)
    std::printf("\nThe equation itself has the variance %g at the end.\n",
                setup.sigma * setup.sigma * setup.dt * static_cast<double>(setup.steps));
  std::fflush(stdout);

  const char* const suffix = setup.as_written ? " (as written)" : "";
  ex::save_figures(line.out, "forward_1d",
                   ex::paths_figure(std::string("Forward diffusion: five paths") + suffix, record, setup.dt),
                   ex::density_figure("Forward diffusion: " + ex::grouped(setup.paths) + " paths" + suffix, density,
                                      setup.dt, variances, 0.7 / last_std));
  std::printf("\nwrote %s and %s\n", ex::printable(line.out / "forward_1d_paths.png").c_str(),
              ex::printable(line.out / "forward_1d_density.png").c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
