/// \file
/// Options that the benchmarks share.
#pragma once

#include <cstdio>
#include <exception>
#include <regex>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "easy_diffusion/io/text.hpp"

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

/// Parses the options and calls `body`. \return the exit code: 2 for a wrong option, 1 where `body` throws, its reason on
/// the standard error
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body&& body) {
  try {
    app.parse(argc, argv);
    body();
    return 0;
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s (see --help)\n", io::printable(error.what()).c_str());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", io::printable(error.what()).c_str());
    return 1;
  }
}

}  // namespace easy_diffusion::bench
