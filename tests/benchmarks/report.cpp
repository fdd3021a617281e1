#include "support/samplers/report.hpp"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "easy_diffusion/core/error.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/samplers/results.hpp"

using namespace easy_diffusion;

namespace {

void write(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Two samplers with two numbers of evaluations, one run that blew up, and real data.
bench::Results some_results(const std::filesystem::path& folder) {
  std::filesystem::remove(folder / "samplers.csv");
  bench::Results results(folder / "samplers.csv");
  const auto add = [&](const std::string& sampler, std::int64_t target, double evaluations, double value) {
    results.add({.set = "mixture_2d",
                 .metric = "kl",
                 .sampler = sampler,
                 .target = target,
                 .evaluations = evaluations,
                 .samples = 64,
                 .value = value});
  };
  add("exact", 0, 0, 0.0212);
  add("heun", 10, 9, std::nan(""));
  add("heun", 4, 3, 12345678);
  add("ddim", 10, 10, 0.4567);
  add("ddim", 4, 4, 11.04);
  return results;
}

}  // namespace

TEST_CASE("a table of results", "[benchmarks][samplers]") {
  const auto folder = test::scratch_folder("bench_report");
  const auto& measure = bench::all_measures().at(1);
  CHECK(bench::markdown_of(some_results(folder), measure) ==
        "| KL divergence (nats) | 4 | 10 |\n"
        "| --- | --- | --- |\n"
        "| `ddim` | **11.0** | **0.457** |\n"
        "| `heun` | > 10^4 (3) | not finite (9) |\n"
        "\n64 samples a cell; real data in their place: 0.0212.\n");
  CHECK(bench::markdown_of(some_results(folder), bench::all_measures().at(0)).empty());
}

TEST_CASE("tables take the place of what stood in a document", "[benchmarks][samplers]") {
  const auto folder = test::scratch_folder("bench_report");
  const auto results = some_results(folder);
  const auto document = folder / "document.md";
  const std::string before = "Text.\n<!-- bench_samplers mixture_2d kl -->\nold\n<!-- end -->\nMore.\n";
  const std::string other = "<!-- bench_samplers pictures frechet -->\nkept: nothing is measured\n<!-- end -->\n";
  write(document, before + other);
  bench::update_document(document, results);
  const std::string once = read(document);
  CHECK(once == "Text.\n<!-- bench_samplers mixture_2d kl -->\n\n" +
                    bench::markdown_of(results, bench::all_measures().at(1)) + "\n<!-- end -->\nMore.\n" + other);
  bench::update_document(document, results);
  CHECK(read(document) == once);

  write(document, "<!-- bench_samplers no_such table -->\n<!-- end -->\n");
  CHECK_THROWS_AS(bench::update_document(document, results), FormatError);
  write(document, "<!-- bench_samplers mixture_2d kl -->\nno end\n");
  CHECK_THROWS_AS(bench::update_document(document, results), FormatError);
  CHECK_THROWS_AS(bench::update_document(folder / "no_such.md", results), IoError);
}

TEST_CASE("names in a file of results are plain, or the file is refused", "[benchmarks][samplers]") {
  const auto folder = test::scratch_folder("bench_names");
  const auto file = folder / "samplers.csv";
  const auto write_name = [&](const std::string& set, const std::string& model) {
    write(file, std::string(bench::Results::head) + "\n" + set + ",kl,ddim,4,-,4,4,64,0," + model + ",0.5,1\n");
  };
  write_name("mixture_2d", "UNet step 500 0a1b2c3d");
  CHECK(bench::Results(file).rows().size() == 1);
  bench::Results results(file);
  results.add({.set = "mixture_2d", .metric = "kl", .sampler = "heun", .target = 4, .samples = 64, .value = 1});
  CHECK(bench::Results(file).rows().size() == 2);
  for (const std::string name : {"=1+1", "+x", "@x", "a\"b", "\"a\"", "\x1b[2J", "\xff", " x", "x\r"}) {
    write_name("mixture_2d", name);
    CHECK_THROWS_WITH(bench::Results(file), ContainsSubstring("line 2: expected a plain name"));
    write_name(name, "exact");
    CHECK_THROWS_AS(bench::Results(file), FormatError);
  }
  write(folder / "file", "x");
  CHECK_THROWS_AS(bench::update_document(folder / "file" / "x.md", results), IoError);
  std::filesystem::create_symlink("samplers_loop.csv", folder / "samplers_loop.csv");
  CHECK_THROWS_AS(bench::Results(folder / "samplers_loop.csv"), IoError);
}

TEST_CASE("every sampler of the list is described, with its source", "[benchmarks][samplers]") {
  const std::string table = bench::markdown_of_samplers();
  for (const bench::Contender& c : bench::all_contenders()) {
    CHECK(table.find("| `" + c.name + "` |") != std::string::npos);
    CHECK(table.find(bench::source_of(c.sampler)) != std::string::npos);
  }
  CHECK(table.find("| `heun` | 2 | 2 | 0 | no | yes |") != std::string::npos);
  CHECK(table.find("| `ddpm` | 1 | 1 | 0 | yes | yes |") != std::string::npos);
}
