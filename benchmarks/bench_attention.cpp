/// Times attention, large and small, and the other operations of a transformer against what the machine can do, as
/// bench_ops does for the rest: each is compared with plain loops before it is timed.

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/parallel.hpp"
#include "support/attention_rows.hpp"
#include "support/ops_report.hpp"
#include "support/options.hpp"

namespace ed = easy_diffusion;

int main(int argc, char** argv) {
  std::vector<int> threads{ed::num_threads()};
  int repetitions = 9;
  std::string filter;
  bool json = false;
  CLI::App app("Times attention and what belongs to it against the arithmetic peak and the memory's bandwidth.");
  ed::bench::add_threads_option(app, threads);
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--filter", filter, "only rows whose name this regular expression finds")
      ->check(ed::bench::is_regular_expression);
  app.add_flag("--json", json, "lines of JSON");

  return ed::bench::run_program(app, argc, argv, [&] {
    for (const int count : threads) {
      ed::set_num_threads(count);
      ed::bench::OpsReport report(count, repetitions, filter, json);
      ed::bench::attention_rows(report);
    }
  });
}
