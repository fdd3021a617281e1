/// \file
/// Tables and plots of measured numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "support/plot.hpp"
#include "support/samplers/contenders.hpp"
#include "support/samplers/results.hpp"

namespace easy_diffusion::bench {

/// A set of data with a metric, and how it is spoken of.
struct Measure {
  std::string set, metric, title, unit;
  bool larger_is_better = false;
};

inline const std::vector<Measure>& all_measures() {
  static const std::vector<Measure> measures = {
      {"mixture_2d", "sliced_wasserstein", "Mixture in 2 dimensions", "sliced Wasserstein distance"},
      {"mixture_2d", "kl", "Mixture in 2 dimensions", "KL divergence (nats)"},
      {"mixture_64d", "sliced_wasserstein", "Mixture in 64 dimensions", "sliced Wasserstein distance"},
      {"mixture_64d", "kl", "Mixture in 64 dimensions", "KL divergence (nats)"},
      {"pictures", "frechet", "Fashion-MNIST", "Frechet distance of classifier features"},
      {"pictures", "accuracy", "Fashion-MNIST", "accuracy (%)", true}};
  return measures;
}

namespace detail {

inline std::string three_digits(double value) {
  if (!std::isfinite(value)) return "not finite";
  if (std::abs(value) >= 1e4) return "> 10^4";
  const int decimals = value == 0 ? 2 : std::clamp(2 - static_cast<int>(std::floor(std::log10(std::abs(value)))), 0, 4);
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

inline std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

/// Targets and samplers of a measure, targets rising, samplers in the order of the list.
struct MeasuredGrid {
  std::vector<std::int64_t> targets;
  std::vector<std::string> samplers;

  MeasuredGrid(const Results& results, const Measure& measure) {
    std::vector<std::string> present;
    for (const ResultRow& row : results.rows()) {
      if (row.set != measure.set || row.metric != measure.metric || row.sampler == "exact") continue;
      if (std::find(targets.begin(), targets.end(), row.target) == targets.end()) targets.push_back(row.target);
      if (std::find(present.begin(), present.end(), row.sampler) == present.end()) present.push_back(row.sampler);
    }
    std::sort(targets.begin(), targets.end());
    for (const Contender& c : all_contenders())
      if (std::find(present.begin(), present.end(), c.name) != present.end()) samplers.push_back(c.name);
  }
};

}  // namespace detail

/// What all samplers are.
[[nodiscard]] inline std::string markdown_of_samplers() {
  std::string text = detail::markdown_row({"sampler", "order", "evaluations a step", "steps it looks back on",
                                           "draws noise", "starts at pure noise", "spacing in the tables", "source"}) +
                     "|---|---|---|---|---|---|---|---|\n";
  for (const Contender& c : all_contenders()) {
    const SamplerFacts facts = facts_of(c);
    text += detail::markdown_row(
        {"`" + c.name + "`", std::to_string(facts.traits.order),
         facts.traits.adaptive ? "as the tolerance asks" : std::to_string(facts.evaluations_a_step),
         std::to_string(facts.traits.history), facts.draws_noise ? "yes" : "no", facts.traits.any_start ? "yes" : "no",
         facts.traits.adaptive ? "-" : std::string(diffusion::spacing_names[static_cast<std::size_t>(c.spacing)]),
         source_of(c.sampler)});
  }
  return text;
}

/// Samplers down, evaluations across, the best of each column in bold; where a run made fewer, its number stands in brackets.
/// Empty where nothing is measured.
[[nodiscard]] inline std::string markdown_of(const Results& results, const Measure& measure) {
  const detail::MeasuredGrid grid(results, measure);
  if (grid.samplers.empty()) return {};
  const auto exact = results.find(measure.set, measure.metric, "exact", 0);
  const auto better = [&](double a, double b) { return measure.larger_is_better ? a > b : a < b; };
  std::vector<std::string> head = {measure.unit}, rule = {"---"};
  std::vector<double> best;
  for (const std::int64_t target : grid.targets) {
    head.push_back(std::to_string(target));
    rule.emplace_back("---");
    double column = std::nan("");
    for (const std::string& sampler : grid.samplers)
      if (const auto row = results.find(measure.set, measure.metric, sampler, target);
          row && std::isfinite(row->value) && (std::isnan(column) || better(row->value, column)))
        column = row->value;
    best.push_back(column);
  }
  std::string text = detail::markdown_row(head) + detail::markdown_row(rule);
  std::int64_t samples = 0;
  for (const std::string& sampler : grid.samplers) {
    std::vector<std::string> cells = {"`" + sampler + "`"};
    for (std::size_t t = 0; t < grid.targets.size(); ++t) {
      const auto row = results.find(measure.set, measure.metric, sampler, grid.targets[t]);
      std::string cell = row ? detail::three_digits(row->value) : "";
      if (row && row->value == best[t]) cell = "**" + cell + "**";
      if (row && std::llround(row->evaluations) != row->target)
        cell += " (" + std::to_string(std::llround(row->evaluations)) + ")";
      cells.push_back(cell);
      if (row) samples = row->samples;
    }
    text += detail::markdown_row(cells);
  }
  text += "\n" + std::to_string(samples) + " samples a cell";
  if (exact) text += "; real data in their place: " + detail::three_digits(exact->value);
  return text + ".\n";
}

/// Replaces what stands between `<!-- bench_samplers <name> -->` and `<!-- end -->` in a document: of every measure by its
/// table (`<set> <metric>`), and of `samplers` by what they are. A measure without numbers stays as it is.
/// \throw IoError; FormatError for a name that is not known, or a block without an end
inline void update_document(const std::filesystem::path& path, const Results& results) {
  std::string text;
  {
    const io::detail::MappedFile file(path);
    text.assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  }
  const std::string begin = "<!-- bench_samplers ", close = " -->", end = "<!-- end -->";
  for (std::size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) {
    const std::size_t name_at = at + begin.size(), name_end = text.find(close, name_at), end_at = text.find(end, at);
    if (name_end == std::string::npos || end_at == std::string::npos)
      throw FormatError(path.string() + ": expected '" + end + "' after '" + begin + "...'");
    const std::string name = text.substr(name_at, name_end - name_at);
    const std::size_t body = name_end + close.size();
    std::string table;
    if (name == "samplers") {
      table = markdown_of_samplers();
    } else {
      const auto& measures = all_measures();
      const auto found = std::find_if(measures.begin(), measures.end(),
                                      [&](const Measure& m) { return m.set + " " + m.metric == name; });
      if (found == measures.end()) throw FormatError(path.string() + ": there is no table '" + name + "'");
      table = markdown_of(results, *found);
    }
    if (!table.empty()) text.replace(body, end_at - body, "\n\n" + table + "\n");
  }
  io::write_file(path, text);
}

/// A panel for samplers that look back, one for those that do not, and one for those that draw noise; DDIM and real data in
/// each. \return false where there is nothing to draw, with fewer than three numbers of evaluations
inline bool draw(const Results& results, const Measure& measure, const std::filesystem::path& png) {
  using examples::Curve;
  using examples::LinePlot;
  const detail::MeasuredGrid grid(results, measure);
  if (grid.samplers.empty() || grid.targets.size() < 3) return false;
  const std::array<std::string, 3> titles = {"looking back", "each step by itself", "with noise"};
  std::array<std::vector<Curve>, 3> curves;
  std::vector<double> values;
  Curve ddim;
  for (const Contender& c : all_contenders()) {
    Curve curve{.label = c.name, .x = {}, .y = {}};
    for (const std::int64_t target : grid.targets)
      if (const auto row = results.find(measure.set, measure.metric, c.name, target);
          row && std::isfinite(row->value)) {
        curve.x.push_back(row->evaluations);
        curve.y.push_back(row->value);
      }
    if (curve.x.empty()) continue;
    values.insert(values.end(), curve.y.begin(), curve.y.end());
    const SamplerFacts facts = facts_of(c);
    auto& panel = curves[facts.draws_noise ? 2 : facts.traits.history > 0 ? 0 : 1];
    curve.dashed = panel.size() >= 8;
    if (c.name == "ddim")
      ddim = curve;
    else
      panel.push_back(std::move(curve));
  }
  const auto exact = results.find(measure.set, measure.metric, "exact", 0);
  if (exact) values.push_back(exact->value);
  // Runs that blew up would press all others to the ground.
  const auto largest = [](const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); };
  const double low = 0.8 * *std::min_element(values.begin(), values.end());
  const double high = 1.2 * std::min(largest(values), ddim.y.empty() ? HUGE_VAL : 2.5 * largest(ddim.y));
  std::vector<double> ticks(grid.targets.begin(), grid.targets.end());
  std::vector<LinePlot> panels;
  for (std::size_t p = 0; p < curves.size(); ++p) {
    if (curves[p].empty()) continue;
    if (!ddim.x.empty()) {
      ddim.colour = "#0f172a";
      ddim.width = 2.6;
      curves[p].push_back(ddim);
    }
    if (exact)
      curves[p].push_back({.label = "real data",
                           .x = {static_cast<double>(grid.targets.front()), static_cast<double>(grid.targets.back())},
                           .y = {exact->value, exact->value},
                           .colour = "#94a3b8",
                           .width = 1.4,
                           .dashed = true});
    panels.push_back({.axes = {.title = measure.title + ": " + titles[p],
                               .x_label = "evaluations",
                               .y_label = panels.empty() ? measure.unit : "",
                               .log_x = true,
                               .log_y = true,
                               .legend = examples::Legend::right_top,
                               .width = 860,
                               .height = 760,
                               .x_range = {0.9 * ticks.front(), 1.1 * ticks.back()},
                               .y_range = {low, high},
                               .x_ticks = ticks},
                      .curves = std::move(curves[p])});
  }
  if (panels.empty()) return false;
  examples::draw_png(panels, png);
  return true;
}

}  // namespace easy_diffusion::bench
