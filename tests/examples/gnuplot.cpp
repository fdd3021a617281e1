// What is drawn and written of names that are no names. Every text of a plot may come from outside.
#include "support/gnuplot.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/image.hpp"
#include "easy_diffusion/io/text.hpp"
#include "support/catch.hpp"
#include "support/heat_map.hpp"
#include "support/hostile.hpp"
#include "support/paths.hpp"
#include "support/plot.hpp"

using namespace easy_diffusion;

namespace {

bool gnuplot_is_missing() {
  if (!examples::detail::run_gnuplot("").missing) return false;
  WARN("SKIP: gnuplot is missing");
  return true;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Where the texts are drawn: an SVG has them as text.
std::vector<std::string> texts_of_svg(const std::string& svg) {
  std::vector<std::string> texts;
  for (std::size_t at = svg.find("<text"); at != std::string::npos; at = svg.find("<text", at + 1)) {
    const std::size_t begin = svg.find('>', at) + 1;
    std::string text = svg.substr(begin, svg.find("</text>", begin) - begin);
    for (const auto& [escape, character] :
         {std::pair{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&#39;", "'"}, {"&amp;", "&"}})
      for (std::size_t i = 0; (i = text.find(escape, i)) != std::string::npos; ++i)
        text.replace(i, std::string(escape).size(), character);
    texts.push_back(text);
  }
  return texts;
}

/// Sets a variable of the environment for a while.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name), before_(std::getenv(name)) {
    setenv(name, value.c_str(), 1);
  }
  ~Environment() { setenv(name_, before_.c_str(), 1); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::string before_;
};

void make_program(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << "#!/bin/sh\n" << text;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace

TEST_CASE("no text of a plot is obeyed, and the plot is drawn", "[examples][plot]") {
  if (gnuplot_is_missing()) return;
  const auto folder = test::scratch_folder("hostile plots");
  const std::string victim = folder / "victim";
  std::vector<std::string> texts = test::hostile_texts(victim);
  for (std::string& text : test::mixed_hostile_texts(victim, 200)) texts.push_back(std::move(text));
  const std::size_t n = texts.size();
  std::size_t file = 0;
  const auto size_of = [](const std::filesystem::path& png) { return io::load_image<float>(png).shape(); };

  for (std::size_t i = 0; i < n; i += 15) {
    const auto text = [&](std::size_t k) { return texts[(i + k) % n]; };
    examples::LinePlot plot{.axes = {.title = text(0), .x_label = text(1), .y_label = text(2)}, .curves = {}};
    for (std::size_t k = 3; k < 12; ++k)
      plot.curves.push_back({.label = text(k), .x = {0, 1}, .y = {0, 1.0 * static_cast<double>(k)}});
    const auto png = folder / (std::to_string(file++) + ".png");
    examples::draw_png(plot, png);
    REQUIRE(size_of(png) == Shape{680, 1100, 3});

    const examples::DensityPlot density{.axes = {.title = text(12), .x_label = text(13), .y_label = text(14)},
                                        .columns = 2,
                                        .rows = 2,
                                        .values = {0, 0.5, 0.25, 1},
                                        .value_label = text(0),
                                        .curves = plot.curves};
    examples::draw_png(density, png);
    REQUIRE(size_of(png) == Shape{680, 1100, 3});
  }
  for (std::size_t i = 0; i < n; i += 24) {
    examples::HeatMap map{.title = texts[i], .value_label = texts[(i + 1) % n], .names = {}, .values = {}};
    for (std::size_t k = 0; k < 24; ++k) map.names.push_back(texts[(i + k) % n]);
    map.values.assign(24 * 24, 0.25);
    const auto png = folder / (std::to_string(file++) + ".png");
    examples::draw_png(map, png);
    REQUIRE(size_of(png) == Shape{860, 980, 3});
    examples::write_csv(map, folder / "map.csv");
    CHECK(std::filesystem::file_size(folder / "map.csv") > 24 * 24 * 8);
  }
  CHECK_FALSE(std::filesystem::exists(victim));
  // Nothing but the pictures was left, neither here nor where the test runs.
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    CHECK((entry.path().extension() == ".png" || entry.path().filename() == "map.csv"));
}

TEST_CASE("texts are drawn as they are", "[examples][plot]") {
  if (gnuplot_is_missing()) return;
  const auto folder = test::scratch_folder("drawn texts");
  std::vector<std::string> texts = test::hostile_texts(folder / "victim");
  for (std::string& text : test::mixed_hostile_texts(folder / "victim", 300)) texts.push_back(std::move(text));
  std::size_t compared = 0;
  for (std::size_t i = 0; i + 8 <= texts.size(); i += 8) {
    examples::GnuplotScript script;
    script += "set terminal svg noenhanced size 9000,1000\nset encoding utf8\nunset ytics\nset key maxrows 3\n";
    script += "set title " + script.text(texts[i], 90) + "\nset xlabel " + script.text(texts[i + 1], 70) + "\n";
    script += "set xtics (" + script.tick(texts[i + 2], 20) + " 1, " + script.tick(texts[i + 3], 20) + " 2)\n";
    script += "plot [0:3] x title " + script.text(texts[i + 4], 60) + ", 2*x title " + script.text(texts[i + 5], 60) +
              ", 3*x title " + script.text(texts[i + 6], 60) + "\n";
    const auto run = examples::detail::run_gnuplot(script.str());
    INFO(run.complaint);
    REQUIRE(run.status == 0);
    const std::vector<std::string> drawn = texts_of_svg(run.output);
    const auto expect_drawn = [&](const std::string& text, std::size_t longest) {
      std::string wanted = io::shortened(io::printable(text), longest);
      if (wanted.empty()) return;  // nothing is drawn of it
      ++compared;
      INFO(wanted);
      const std::string_view end = "…";
      CHECK(std::any_of(drawn.begin(), drawn.end(), [&](const std::string& text_drawn) {
        // A mark of an axis with % in it may be shorter.
        const bool shorter = longest == 20 && wanted.find('%') != std::string::npos && text_drawn.ends_with(end);
        return text_drawn == wanted || (shorter && text_drawn.size() > 20 &&
                                        wanted.starts_with(text_drawn.substr(0, text_drawn.size() - end.size())));
      }));
    };
    expect_drawn(texts[i], 90);
    expect_drawn(texts[i + 1], 70);
    expect_drawn(texts[i + 2], 20);
    expect_drawn(texts[i + 3], 20);
    for (std::size_t k = 4; k < 7; ++k) expect_drawn(texts[i + k], 60);
  }
  CHECK(compared > 200);
}

TEST_CASE("names of files are no commands", "[examples][plot]") {
  if (gnuplot_is_missing()) return;
  const auto parent = test::scratch_folder("hostile names");
  const std::string victim = "victim";
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(parent);  // names with slashes are no names
  std::size_t drawn = 0;
  for (const std::string& name : test::hostile_texts(victim)) {
    if (name.size() > 200 || name.find('\0') != std::string::npos || name.find('/') != std::string::npos ||
        name.empty())
      continue;
    std::filesystem::create_directory(name);
    examples::draw_png(examples::LinePlot{.axes = {}, .curves = {{.label = {}, .x = {0, 1}, .y = {0, 1}}}},
                       std::filesystem::path(name) / (name + ".png"));
    drawn += std::filesystem::file_size(std::filesystem::path(name) / (name + ".png")) > 1000;
    CHECK(std::distance(std::filesystem::directory_iterator(name), {}) == 1);
  }
  CHECK(drawn > 35);
  CHECK_FALSE(std::filesystem::exists(victim));
  std::filesystem::current_path(before);
}

TEST_CASE("settings that lie about are not read", "[examples][plot]") {
  if (gnuplot_is_missing()) return;
  const auto folder = test::scratch_folder("gnuplot settings");
  for (const char* name : {".gnuplot", "gnuplot.ini", "gnuplotrc"})
    std::ofstream(folder / name) << "system \"touch '" << (folder / "victim").string() << "'\"\n";
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  const Environment home("HOME", folder);
  examples::draw_png(examples::LinePlot{.axes = {}, .curves = {{.label = {}, .x = {0, 1}, .y = {0, 1}}}}, "x.png");
  CHECK(std::filesystem::file_size("x.png") > 1000);
  CHECK_FALSE(std::filesystem::exists("victim"));
  std::filesystem::current_path(before);
}

TEST_CASE("a heat map's names are fields of its CSV file", "[examples][plot]") {
  const auto folder = test::scratch_folder("heat map");
  examples::write_csv(
      examples::HeatMap{.title = "", .value_label = "", .names = {"a,b", "=1\n2"}, .values = {1, 2, 3, std::nan("")}},
      folder / "map.csv");
  CHECK(read(folder / "map.csv") ==
        "row,column,value\n\"a,b\",\"a,b\",1\n\"a,b\",'=1\\n2,2\n'=1\\n2,\"a,b\",3\n'=1\\n2,'=1\\n2,NaN\n");
}

TEST_CASE("a colour is a colour", "[examples][plot]") {
  for (const std::string colour : {"red'; system 'x", "#12345", "#1234567", "#12345g", "#12345\n"})
    CHECK_THROWS_AS(
        examples::draw_png(
            examples::LinePlot{.axes = {}, .curves = {{.label = {}, .x = {0, 1}, .y = {0, 1}, .colour = colour}}},
            test::scratch_folder("colour") / "x.png"),
        ValueError);
}

TEST_CASE("a gnuplot that is missing or fails is said, and nothing is left", "[examples][plot]") {
  const auto folder = test::scratch_folder("no gnuplot");
  const examples::LinePlot plot{.axes = {}, .curves = {{.label = {}, .x = {0, 1}, .y = {0, 1}}}};
  const auto nothing_is_left = [&](const std::string& programs) {
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) files += entry.path() != folder / programs;
    return files == 0;
  };
  std::filesystem::create_directory(folder / "bin");
  const Environment path("PATH", folder / "bin");
  CHECK_THROWS_WITH(examples::draw_png(plot, folder / "x.png"),
                    ContainsSubstring("gnuplot is missing") && ContainsSubstring("install the package gnuplot-nox"));
  make_program(folder / "bin" / "gnuplot", "echo one >&2\necho 'it does not like it' >&2\necho >&2\nexit 1\n");
  CHECK_THROWS_WITH(examples::draw_png(plot, folder / "x.png"),
                    ContainsSubstring("could not draw") && ContainsSubstring(": it does not like it"));
  make_program(folder / "bin" / "gnuplot", "exit 0\n");
  CHECK_THROWS_WITH(examples::draw_png(plot, folder / "x.png"), ContainsSubstring("could not draw"));
  make_program(folder / "bin" / "gnuplot", "kill -9 $$\n");
  CHECK_THROWS_WITH(examples::draw_png(plot, folder / "x.png"), ContainsSubstring("could not draw"));
  // One that does not read its script must not end this program.
  make_program(folder / "bin" / "gnuplot", "exec <&-\necho gone >&2\nexit 3\n");
  examples::LinePlot large = plot;
  for (int i = 0; i < 200'000; ++i) {
    large.curves[0].x.push_back(i);
    large.curves[0].y.push_back(i);
  }
  CHECK_THROWS_WITH(examples::draw_png(large, folder / "x.png"), ContainsSubstring(": gone"));
  CHECK(nothing_is_left("bin"));
}
