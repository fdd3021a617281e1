/// Times scalar Euler-Maruyama paths of Brownian motion, float: path-steps a second.
/// With --json a line for each number of threads: {"paths","steps","threads","ms","path_steps_per_s"}.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/options.hpp"
#include "support/timing.hpp"

namespace ed = easy_diffusion;

int main(int argc, char** argv) {
  std::int64_t paths = 1'000'000;
  std::int64_t steps = 100;
  std::vector<int> threads{ed::num_threads()};
  int repetitions = 7;
  bool json = false;
  CLI::App app("Times scalar Euler-Maruyama paths.");
  app.add_option("--paths", paths)->check(CLI::Range(1000, 100'000'000))->capture_default_str();
  app.add_option("--steps", steps)->check(CLI::Range(1, 1'000'000))->capture_default_str();
  ed::bench::add_threads_option(app, threads);
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_flag("--json", json, "lines of JSON");

  return ed::bench::run_program(app, argc, argv, [&] {
    ed::Tensor<float> x(ed::Shape{paths});
    ed::sde::EulerMaruyama<ed::Tensor<float>> stepper;
    const auto run = [&] {
      x.fill(0);
      ed::sde::integrate(stepper, ed::sde::BrownianMotion(1), x, ed::sde::TimeGrid::uniform(0, 10, steps),
                         ed::sde::BrownianNoise{.seed = 1});
    };
    for (const int count : threads) {
      ed::set_num_threads(count);
      x.fill(1e6F);
      run();
      double squares = 0;
      for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
      const double variance = squares / static_cast<double>(paths);
      if (!(std::abs(variance - 10) < 5 * 10 * std::sqrt(2 / static_cast<double>(paths))))
        throw std::runtime_error("bench_paths: the variance is wrong");

      const double seconds = ed::bench::median_seconds(repetitions, run);
      const double rate = static_cast<double>(paths * steps) / seconds;
      const auto n = static_cast<long long>(paths);
      const auto m = static_cast<long long>(steps);
      if (json)
        std::printf("{\"paths\":%lld,\"steps\":%lld,\"threads\":%d,\"ms\":%.3f,\"path_steps_per_s\":%.4g}\n", n, m,
                    count, 1e3 * seconds, rate);
      else
        std::printf("%lld paths, %lld steps, %d threads: %.2f G path-steps/s\n", n, m, count, 1e-9 * rate);
    }
  });
}
