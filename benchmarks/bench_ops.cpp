/// Times every operation against what the machine can do, which it measures first: GFLOP/s and the share of the
/// arithmetic peak, or GB/s and the share of the memory's bandwidth (above 1 where caches hold the data). Each is compared
/// with a plain loop before it is timed. Convolutions are counted in the operations of the direct algorithm.
/// With --json a line for each: {"op","threads","ms","gflops" or "gbs","share"}, after {"op":"peak","threads","gflops","gbs"}.

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "support/attention_rows.hpp"
#include "support/convolution_rows.hpp"
#include "support/matrix_rows.hpp"
#include "support/norm_rows.hpp"
#include "support/ops_report.hpp"
#include "support/options.hpp"

namespace ed = easy_diffusion;

int main(int argc, char** argv) {
  std::vector<int> threads{ed::num_threads()};
  int repetitions = 9;
  std::string filter;
  bool json = false;
  CLI::App app("Times the operations against the arithmetic peak and the memory's bandwidth.");
  ed::bench::add_threads_option(app, threads);
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--filter", filter, "only rows whose name this regular expression finds")
      ->check(ed::bench::is_regular_expression);
  app.add_flag("--json", json, "lines of JSON");

  return ed::bench::run_program(app, argc, argv, [&] {
    for (const int count : threads) {
      ed::set_num_threads(count);
      ed::bench::OpsReport report(count, repetitions, filter, json);
      ed::bench::convolution_rows(report);
      ed::bench::matrix_rows(report);
      ed::bench::norm_rows(report);
      ed::bench::attention_rows(report);
    }
  });
}
