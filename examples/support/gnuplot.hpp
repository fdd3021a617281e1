/// \file
/// gnuplot as a part of this program: started without a shell, its script and its picture in files that have no name, and
/// texts handed to it as data, which it never reads as commands.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/text.hpp"

namespace easy_diffusion::examples {

namespace detail {

/// As gnuplot wants it: "NaN" where it is not finite.
inline std::string number(double value) { return std::isfinite(value) ? number_text(value, 9) : "NaN"; }

}  // namespace detail

/// A script for gnuplot. Commands are the program's own words; every text, wherever it is from, goes in by `text()`.
class GnuplotScript {
 public:
  GnuplotScript& operator+=(std::string_view commands) {
    commands_ += commands;
    return *this;
  }

  /// What stands in a command for a text: a line of a data block, made printable and no longer than `longest` characters.
  /// gnuplot reads the lines of a data block as they are, without quotes, escapes, macros or command substitution.
  [[nodiscard]] std::string text(std::string_view text, std::size_t longest) {
    return line(io::shortened(io::printable(text), longest));
  }

  /// The same for a mark of an axis. gnuplot takes a % in it for the beginning of a number's format, of 50 bytes at most.
  [[nodiscard]] std::string tick(std::string_view text, std::size_t longest) {
    const std::string plain = io::printable(text);
    std::string result;
    do {
      result.clear();
      for (const char c : io::shortened(plain, longest)) result += c == '%' ? std::string("%%") : std::string(1, c);
    } while (result.size() > 48 && result.find('%') != std::string::npos && --longest > 0);
    return line(result);
  }

  /// What gnuplot is to read.
  [[nodiscard]] std::string str() const { return "$texts << EOD\n" + lines_ + "EOD\n" + commands_; }

 private:
  // The bar keeps a line from being the end of the block.
  std::string line(const std::string& text) {
    lines_ += "|" + text + "\n";
    return "$texts[" + std::to_string(++count_) + "][2:]";
  }

  std::string commands_, lines_;
  std::size_t count_ = 0;
};

namespace detail {

/// A file without a name: it is gone with this program, however that ends.
class NamelessFile {
 public:
  /// \throw IoError
  NamelessFile() : file_(std::tmpfile(), &std::fclose) {
    if (!file_) fail("cannot make a temporary file");
  }
  void write(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
      fail("cannot write to a temporary file");
    std::rewind(file_.get());
  }
  [[nodiscard]] std::string read() {
    std::rewind(file_.get());
    std::string result;
    char part[1 << 14];
    for (std::size_t n; (n = std::fread(part, 1, sizeof part, file_.get())) > 0;) result.append(part, n);
    if (std::ferror(file_.get()) != 0) fail("cannot read a temporary file");
    return result;
  }
  [[nodiscard]] int descriptor() const { return ::fileno(file_.get()); }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw IoError(std::string("gnuplot: ") + what + ": " + std::generic_category().message(errno));
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

struct GnuplotRun {
  bool missing = false;
  int status = 0;                 ///< of `waitpid`
  std::string output, complaint;  ///< complaint: the last line that says something
};

/// Lets gnuplot read a script. Settings of the user's or of the current folder are not read. \throw IoError
inline GnuplotRun run_gnuplot(const std::string& script) {
  NamelessFile input, output, complaints;
  input.write(script);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, complaints.descriptor(), STDERR_FILENO);
  char name[] = "gnuplot", default_settings[] = "-d";
  char* const arguments[] = {name, default_settings, nullptr};
  pid_t process = 0;
  const int error = ::posix_spawnp(&process, name, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  GnuplotRun run;
  run.missing = error == ENOENT || error == EACCES || error == ENOTDIR;
  if (run.missing) return run;
  if (error != 0) throw IoError("gnuplot cannot be started: " + std::generic_category().message(error));
  while (::waitpid(process, &run.status, 0) < 0)
    if (errno != EINTR)
      throw IoError("gnuplot: its end cannot be waited for: " + std::generic_category().message(errno));
  run.output = output.read();
  const std::string text = complaints.read();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    if (line.find_first_not_of(" ^\t") != std::string::npos) run.complaint = line;
    at = end + 1;
  }
  return run;
}

/// Writes what gnuplot makes of a script. \throw IoError where gnuplot is missing (naming the package) or fails
inline void draw(const GnuplotScript& script, const std::filesystem::path& png) {
  const GnuplotRun run = run_gnuplot(script.str());
  if (run.missing)
    throw IoError("gnuplot is missing, so '" + png.string() +
                  "' is not drawn (its numbers are in the .csv beside it): install the package gnuplot-nox");
  if (run.status != 0 || !run.output.starts_with("\x89PNG"))
    throw IoError("gnuplot could not draw '" + png.string() + "'" +
                  (run.complaint.empty() ? "" : ": " + run.complaint));
  io::write_file(png, run.output);
}

}  // namespace detail

}  // namespace easy_diffusion::examples
