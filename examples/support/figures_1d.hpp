/// \file
/// The figures that both one-dimensional programs draw.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/diffusion_1d.hpp"
#include "support/plot.hpp"

namespace easy_diffusion::examples {

/// 1000000 as "1,000,000".
[[nodiscard]] inline std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

/// The number of 1, 2.5, 5 times a power of ten that is next above.
[[nodiscard]] inline double round_above(double value) {
  const double unit = std::pow(10.0, std::floor(std::log10(value)));
  for (const double m : {1.0, 2.5, 5.0})
    if (value <= m * unit) return m * unit;
  return 10 * unit;
}

/// Steps between the columns of a density image, so that it has 250 to 500 of them where there are many steps.
[[nodiscard]] inline std::int64_t column_interval(std::int64_t steps) { return steps < 500 ? 1 : steps / 250; }

/// One curve a path, against the time since the start of the run.
[[nodiscard]] inline LinePlot paths_figure(const std::string& title, const sde::RecordEvery<Tensor<float>>& record,
                                           double dt) {
  LinePlot plot;
  plot.axes = {.title = title, .x_label = "time t", .y_label = "x"};
  const auto& states = record.states();
  for (std::int64_t p = 0; p < states.front().size(); ++p) {
    Curve curve{.label = "path " + std::to_string(p + 1), .x = {}, .y = {}};
    for (std::size_t i = 0; i < states.size(); ++i) {
      curve.x.push_back(dt * static_cast<double>(i));
      curve.y.push_back(static_cast<double>(states[i][p]));
    }
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

/// The density over time with the envelopes of one and of two standard deviations.
/// \param variances analytic, after 0 ... steps steps
/// \param full_scale density that has the strongest colour, about
[[nodiscard]] inline DensityPlot density_figure(const std::string& title, const DensityObserver& density, double dt,
                                                const std::vector<double>& variances, double full_scale) {
  DensityPlot plot;
  plot.axes = {.title = title, .x_label = "time t", .y_label = "x"};
  plot.columns = density.columns();
  plot.rows = density.rows();
  plot.values = density.values();
  plot.x_first = 0;
  plot.x_last = dt * static_cast<double>(density.every()) * static_cast<double>(plot.columns - 1);
  plot.y_first = density.bin_middle(0);
  plot.y_last = density.bin_middle(plot.rows - 1);
  plot.full_scale = round_above(full_scale);
  plot.value_label = "probability density";
  for (const double k : {1.0, 2.0}) {
    for (const double sign : {1.0, -1.0}) {
      Curve curve;
      if (sign > 0) curve.label = k < 1.5 ? "analytic one sigma" : "analytic two sigma";
      curve.colour = "#f97316";
      curve.width = 2.2;
      curve.dashed = k > 1.5;
      for (std::size_t i = 0; i < variances.size(); ++i) {
        curve.x.push_back(dt * static_cast<double>(i));
        curve.y.push_back(sign * k * std::sqrt(variances[i]));
      }
      plot.curves.push_back(std::move(curve));
    }
  }
  return plot;
}

/// Both figures into a folder. The CSV files come first: they need no gnuplot.
inline void save_figures(const std::filesystem::path& folder, const std::string& name, const LinePlot& paths,
                         const DensityPlot& density) {
  write_csv(paths, folder / (name + "_paths.csv"));
  write_csv(density, folder / (name + "_density.csv"));
  draw_png(paths, folder / (name + "_paths.png"));
  draw_png(density, folder / (name + "_density.png"));
}

}  // namespace easy_diffusion::examples
