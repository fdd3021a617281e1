/// \file
/// Options that the benchmarks share.
#pragma once

#include <regex>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace easy_diffusion::bench {

/// --threads N or --threads N,N,...: everything is measured with each of these numbers of threads.
inline void add_threads_option(CLI::App& app, std::vector<int>& threads) {
  app.add_option("--threads", threads, "a number, or several as 1,2,4: measured with each")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
}

/// For CLI::Option::check: what is wrong with the text, or nothing.
inline std::string is_regular_expression(const std::string& text) {
  try {
    static_cast<void>(std::regex(text));
    return {};
  } catch (const std::regex_error& error) { return "not a regular expression: " + text + " (" + error.what() + ")"; }
}

}  // namespace easy_diffusion::bench
