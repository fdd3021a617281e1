/// \file
/// The command line of the programs: the options that all of them have, numbers that are read strictly, and one
/// clear line for whatever goes wrong.
#pragma once

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/io/detail/absence.hpp"
#include "easy_diffusion/io/text.hpp"
#include "support/interrupt.hpp"
#include "support/run_folder.hpp"
#include "support/standard_streams.hpp"

namespace easy_diffusion::examples {

namespace detail {

template <class T>
std::string shown(T value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

/// "1000000" and "1e6" are whole numbers, "1e6x", "", "0x10" and "1.5" are none; "nan" and "inf" are no numbers.
template <class T>
bool read_number(const std::string& text, T& value) {
  const char* const first = text.data();
  const char* const last = first + text.size();
  const auto whole = std::from_chars(first, last, value);
  if (whole.ec == std::errc{} && whole.ptr == last) return !std::floating_point<T> || value - value == T{};
  if constexpr (std::integral<T>) {
    double wide = 0;
    const auto result = std::from_chars(first, last, wide);
    // Up to 2^53 a double holds whole numbers exactly.
    if (result.ec != std::errc{} || result.ptr != last || !(wide >= -9007199254740992.0 && wide <= 9007199254740992.0))
      return false;
    const auto rounded = static_cast<std::int64_t>(wide);
    if (static_cast<double>(rounded) != wide || !std::in_range<T>(rounded)) return false;
    value = static_cast<T>(rounded);
    return true;
  } else {
    return false;
  }
}

/// Text that has line breaks of its own, such as a page of help: each line by itself.
inline std::string printable_lines(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    result += io::printable(text.substr(0, end));
    if (end < text.size()) result += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

inline std::string program_name(int argc, const char* const* argv) {
  return argc > 0 ? std::filesystem::path(argv[0]).filename().string() : "program";
}

}  // namespace detail

using io::printable;

/// The one line of what went wrong, on the standard error. Messages quote what came from outside as it is; here it becomes
/// printable.
inline void print_error(const std::string& program, std::string what) {
  while (!what.empty() && (what.back() == '\n' || what.back() == ' ')) what.pop_back();
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", printable(program).c_str(), printable(what).c_str());
}

/// The command line of one program. It has --help, --seed, --threads, --out and --smoke; the program adds its own
/// options, then calls `parse()`.
class CommandLine {
 public:
  std::uint64_t seed = 0;
  int threads = num_threads();
  std::filesystem::path out = "out";
  bool smoke = false;
  bool makes_folder = true;  ///< false: `out` is made only where it is asked for, or a smoke run needs it
  bool takes_folder = true;  ///< false: the program calls `take_folder()` where it comes to write into `out`
  bool results_are_files = false;  ///< true: a run is whole although what it printed did not arrive

  CommandLine(int argc, const char* const* argv) : argc_(argc), argv_(argv) {
    add("--seed", seed, "seed of all random numbers");
    add("--threads", threads, "threads; no result depends on them", 1, 4096);
    app_.add_option("--out", out_text_, "folder for the results, made where it is missing")
        ->type_name("DIR")
        ->default_str(out.string());
    app_.add_flag("--smoke", smoke, "a tiny run of a few seconds, to see that the program works");
  }
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  void describe(const std::string& text) { app_.description(text); }

  /// A number in [low, high]; whatever follows the number, and numbers outside, are refused.
  template <class T>
  requires(std::integral<T> || std::floating_point<T>) &&
      (!std::same_as<T, bool>)CLI::Option* add(const std::string& name, T& target, const std::string& description,
                                               T low = std::numeric_limits<T>::lowest(),
                                               T high = std::numeric_limits<T>::max()) {
    return app_
        .add_option_function<std::string>(
            name,
            [name, low, high, &target](const std::string& text) {
              T value{};
              if (!detail::read_number(text, value) || !(value >= low && value <= high))
                throw ValueError(name + ": expected a " + (std::integral<T> ? "whole number" : "number") +
                                 between(low, high) + ", got '" + text + "'");
              target = value;
            },
            description)
        ->type_name(std::integral<T> ? "N" : "X")
        ->default_str(detail::shown(target));
  }

  /// A text, such as the name of a file. An empty one is refused: it comes from a variable of a script that is not set, and
  /// would be taken for an option that was left out.
  CLI::Option* add(const std::string& name, std::string& target, const std::string& description) {
    return app_
        .add_option_function<std::string>(
            name,
            [name, &target](const std::string& text) {
              if (text.empty()) throw ValueError(name + ": expected a text, got ''");
              target = text;
            },
            description)
        ->type_name("TEXT")
        ->default_str(target);
  }

  /// A switch.
  CLI::Option* add(const std::string& name, bool& target, const std::string& description) {
    return app_.add_flag(name, target, description);
  }

  /// For what this class does not cover.
  [[nodiscard]] CLI::App& app() noexcept { return app_; }

  /// True where the option stood on the command line.
  [[nodiscard]] bool given(const std::string& name) const { return app_.count(name) > 0; }

  /// Reads the command line, sets the number of threads, makes the folder of results and takes it for this run.
  /// \throw CLI::ParseError, ValueError naming the option, IoError where the folder cannot be made or has another run
  void parse() {
    app_.parse(argc_, argv_);
    if (given("--out")) {
      if (out_text_.empty()) throw ValueError("--out: expected a folder, got ''");
      out = out_text_;
    }
    set_num_threads(threads);
    if (!makes_folder && !smoke && !given("--out")) return;
    std::error_code error, ignored;
    std::filesystem::create_directories(out, error);
    if (!std::filesystem::is_directory(out, ignored)) {
      std::string reason = io::detail::absence(out);  // names what above it is in the way, where that is the reason
      if (reason == "there is none") reason = error.message();
      if (std::filesystem::exists(out, ignored)) reason = "a file of this name is in the way";
      throw IoError("--out: cannot make the folder '" + out.string() + "': " + reason);
    }
    if (takes_folder) take_folder();
  }

  /// Until this program ends, no other run may write into `out`. \throw IoError naming who does
  void take_folder() {
    if (!folder_) folder_.emplace(out, detail::program_name(argc_, argv_));
  }

 private:
  template <class T>
  static std::string between(T low, T high) {
    // All bounds of a whole number count: what does not fit its type is refused as well.
    const bool below = std::integral<T> || high < std::numeric_limits<T>::max();
    if (std::integral<T> || low > std::numeric_limits<T>::lowest())
      return below ? " from " + detail::shown(low) + " to " + detail::shown(high)
                   : " of at least " + detail::shown(low);
    return below ? " up to " + detail::shown(high) : "";
  }

  CLI::App app_;
  int argc_;
  const char* const* argv_;
  std::string out_text_;
  std::optional<RunFolder> folder_;
};

/// The body of `main`: calls `program(CommandLine&)`. Where it throws, one line on the standard error names the
/// program and what is wrong.
/// \returns 0; 2 for a bad option, file or value, and where what was printed was the result and did not arrive; 128 plus the
///          number of the signal that has ended it in good order; 1 for anything else
template <class Program>
int run_main(int argc, const char* const* argv, Program&& program) {
  prepare_standard_streams();
  const std::string name = detail::program_name(argc, argv);
  const auto fail = [&name](const std::string& what, int code) {
    print_error(name, what);
    return code;
  };
  try {
    CommandLine line(argc, argv);
    bool results_are_files = false;
    try {
      program(line);
      results_are_files = line.results_are_files;
    } catch (const CLI::CallForHelp&) { 
      std::fputs(detail::printable_lines(line.app().help()).c_str(), stdout);
    }
    const std::string failure = printing_failure();
    if (failure.empty()) return 0;
    if (!results_are_files) return fail("standard output: " + failure, 2);
    return fail("standard output: " + failure + "; the files are whole", 0);
  } catch (const Interrupted& error) {
    return fail(error.what(), InterruptGuard::exit_code());
  } catch (const CLI::ParseError& error) {
    return fail(std::string(error.what()) + " (see --help)", 2);
  } catch (const Error& error) {
    return fail(error.what(), 2);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("not enough memory for this size", 2);
  } catch (const std::exception& error) { return fail(error.what(), 1); }
}

}  // namespace easy_diffusion::examples
