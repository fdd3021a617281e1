#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/text.hpp"
#include "support/catch.hpp"
#include "support/dataset.hpp"
#include "support/hostile.hpp"
#include "support/options.hpp"
#include "support/paths.hpp"
#include "support/table.hpp"

using namespace easy_diffusion;

namespace {

/// What a program prints and returns.
struct Run {
  int code;
  std::string out, error;
};

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// While it lives, a stream goes into a file.
class Redirected {
 public:
  Redirected(std::FILE* stream, const std::filesystem::path& file) : stream_(stream) {
    std::fflush(stream);
    before_ = ::dup(::fileno(stream));
    const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(descriptor >= 0);
    ::dup2(descriptor, ::fileno(stream));
    ::close(descriptor);
  }
  ~Redirected() {
    std::fflush(stream_);
    ::dup2(before_, ::fileno(stream_));
    ::close(before_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  std::FILE* stream_;
  int before_;
};

template <class Program>
Run run(const std::vector<std::string>& arguments, Program&& program) {
  const auto folder = test::scratch_folder("command_line");
  std::vector<const char*> argv = {"some_program"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Run result{};
  {
    const Redirected out(stdout, folder / "out.txt");
    const Redirected error(stderr, folder / "error.txt");
    result.code = examples::run_main(static_cast<int>(argv.size()), argv.data(), program);
  }
  result.out = read(folder / "out.txt");
  result.error = read(folder / "error.txt");
  return result;
}

/// Exit code 2, and one line that a terminal only shows.
void check_refused(const Run& refused, const std::string& text) {
  CHECK(refused.code == 2);
  CHECK_THAT(refused.error, ContainsSubstring(text));
  REQUIRE(refused.error.ends_with('\n'));
  const std::string line = refused.error.substr(0, refused.error.size() - 1);
  CHECK(io::printable(line) == line);
}

struct Options {
  double number = 1;
  std::int64_t whole = 1;
  std::uint64_t large = 1;
  float small = 1;
  std::string text = "usual";
};

Run run_options(const std::vector<std::string>& arguments, Options* parsed = nullptr) {
  return run(arguments, [&](examples::CommandLine& line) {
    Options options;
    line.describe("Does something.");
    line.makes_folder = false;
    line.add("--number", options.number, "a number", 0.5, 10.0);
    line.add<std::int64_t>("--whole", options.whole, "a whole number");
    line.add<std::uint64_t>("--large", options.large, "a large number");
    line.add("--small", options.small, "a number without limits");
    line.add("--text", options.text, "a text");
    line.parse();
    if (parsed != nullptr) *parsed = options;
  });
}

}  // namespace

TEST_CASE("an option that is no number of its range is refused in words that are true", "[examples][options]") {
  for (const std::string text :
       {"", " ", "nan", "NaN", "-nan", "inf", "-inf", "1e999", "0x10", "1,5", "5x", "--", "1e400", "0.4", "11"})
    check_refused(run_options({"--number=" + text}), "--number");
  check_refused(run_options({"--number", "nan"}), "--number: expected a number from 0.5 to 10, got 'nan'");
  check_refused(run_options({"--number", ""}), "--number: expected a number from 0.5 to 10, got ''");
  for (const std::string text : {"", "nan", "inf", "1.5", "1e99", "9223372036854775808", "-9223372036854775809"})
    check_refused(run_options({"--whole", text}),
                  "--whole: expected a whole number from -9223372036854775808 to "
                  "9223372036854775807, got '" +
                      text + "'");
  for (const std::string text : {"", "nan", "-1", "1e20", "18446744073709551616"})
    check_refused(run_options({"--large", text}),
                  "--large: expected a whole number from 0 to 18446744073709551615, got '" + text + "'");
  for (const std::string text : {"", "nan", "inf", "1e39"})
    check_refused(run_options({"--small", text}), "--small: expected a number, got '" + text + "'");
  check_refused(run_options({"--seed", "1e20"}), "--seed: expected a whole number from 0 to 18446744073709551615");
  check_refused(run_options({"--threads", "0"}), "--threads: expected a whole number from 1 to 4096, got '0'");
  Options parsed;
  CHECK(run_options({"--whole", "-1e6", "--large", "18446744073709551615", "--number", "1e1"}, &parsed).code == 0);
  CHECK(parsed.whole == -1'000'000);
  CHECK(parsed.large == std::numeric_limits<std::uint64_t>::max());
  CHECK(parsed.number == 10);
}

TEST_CASE("an empty text is not taken for none", "[examples][options]") {
  check_refused(run_options({"--text", ""}), "--text: expected a text, got ''");
  check_refused(run_options({"--text="}), "--text");
  check_refused(run_options({"--out", ""}), "--out: expected a folder, got ''");
  check_refused(run({"--data", ""},
                    [](examples::CommandLine& line) {
                      examples::DatasetOptions options;
                      line.makes_folder = false;
                      options.add_to(line);
                      line.parse();
                    }),
                "--data: expected a text, got ''");
  Options parsed;
  CHECK(run_options({"--text", " \n"}, &parsed).code == 0);
  CHECK(parsed.text == " \n");
}

TEST_CASE("what is wrong is told on one line, whatever it quotes", "[examples][options]") {
  std::vector<std::string> texts = test::hostile_texts("victim");
  for (std::string& text : test::mixed_hostile_texts("victim", 300)) texts.push_back(std::move(text));
  for (const std::string& text : texts) {
    check_refused(run({}, [&](examples::CommandLine&) { throw IoError("cannot open: " + text); }), "cannot open");
    check_refused(run({}, [&](examples::CommandLine&) { throw std::filesystem::filesystem_error("cannot", text, {}); }),
                  "cannot");
    if (text.find('\0') != std::string::npos) continue;
    check_refused(run_options({"--number", "x" + text}), "--number");
    check_refused(run_options({"--x" + text}), "");
    check_refused(run_options({"--out=/dev/null/" + text}), "--out: cannot make the folder '/dev/null/");
  }
  const Run other = run({}, [](examples::CommandLine&) { throw std::runtime_error("\x1b[2J"); });
  CHECK(other.code == 1);
  CHECK(other.error == "some_program: \\u001b[2J\n");
}

TEST_CASE("help shows a default as it is, and nothing more", "[examples][options]") {
  for (const std::string& text : test::hostile_texts("victim")) {
    if (text.size() > 1000) continue;
    const Run help = run({"--help"}, [&](examples::CommandLine& line) {
      std::string value = text;
      line.add("--text", value, "a text");
      line.parse();
    });
    CHECK(help.code == 0);
    std::size_t at = 0;
    for (std::size_t end; (end = help.out.find('\n', at)) != std::string::npos; at = end + 1)
      CHECK(io::printable(help.out.substr(at, end - at)) == help.out.substr(at, end - at));
    CHECK(at == help.out.size());
  }
}

TEST_CASE("a table shows its cells and nothing more", "[examples][table]") {
  const auto folder = test::scratch_folder("table");
  {
    const Redirected out(stdout, folder / "out.txt");
    examples::Table table({"name", "n"}, 1);
    for (const std::string& text : test::hostile_texts("victim")) table.add({text, "1"});
    table.print();
  }
  const std::string printed = read(folder / "out.txt");
  std::size_t lines = 0, at = 0;
  for (std::size_t end; (end = printed.find('\n', at)) != std::string::npos; at = end + 1, ++lines)
    CHECK(io::printable(printed.substr(at, end - at)) == printed.substr(at, end - at));
  CHECK(lines == test::hostile_texts("victim").size() + 1);
}

TEST_CASE("a folder of results that cannot be made is told with what is in the way", "[examples][options]") {
  const auto folder = test::scratch_folder("folder_of_results");
  std::ofstream(folder / "file") << "x";
  std::filesystem::create_symlink("loop", folder / "loop");
  std::filesystem::create_symlink("nowhere/deeper", folder / "dangling");
  const auto refuse = [&](const std::filesystem::path& out, const std::string& text) {
    check_refused(run({"--out", out}, [](examples::CommandLine& line) { line.parse(); }), text);
  };
  const std::string start = "--out: cannot make the folder '" + folder.string();
  refuse(folder / "file", start + "/file': a file of this name is in the way");
  refuse(folder / "file" / "a" / "b",
         start + "/file/a/b': '" + (folder / "file").string() + "' is a file and no folder");
  refuse(folder / std::string(300, 'x'), "name too long");
  refuse(folder / "loop" / "x", "symbolic links");
  refuse(folder / "dangling", "it is a link to what is not there");
  for (const std::string& name : test::hostile_texts("victim")) {
    if (name.size() > 200 || name.find('\0') != std::string::npos || name.find('/') != std::string::npos ||
        name.empty())
      continue;
    const Run made = run({"--out=" + (folder / name).string()}, [](examples::CommandLine& line) { line.parse(); });
    CHECK(made.code == 0);
    CHECK(std::filesystem::is_directory(folder / name));
  }
}

TEST_CASE("pictures that cannot be reached are not called missing", "[examples][options]") {
  const auto folder = test::scratch_folder("pictures_out_of_reach");
  std::ofstream(folder / "file") << "x";
  const auto refuse = [&](const std::filesystem::path& data, const std::string& text) {
    const Run refused = run({"--data", data}, [](examples::CommandLine& line) {
      examples::DatasetOptions options;
      line.makes_folder = false;
      options.add_to(line);
      line.parse();
      static_cast<void>(options.load(data::Split::train));
    });
    check_refused(refused, text);
    check_refused(refused, io::printable(data));
  };
  refuse(folder / "none", "but there is none");
  refuse(folder / "file" / "pictures", "but '" + (folder / "file").string() + "' is a file and no folder");
  refuse(folder / std::string(300, 'x'), "name too long");
  refuse("a\nb\x1b", "a\\nb\\u001b: expected a folder");
}
