/// \file
/// Plots as PNG files, drawn by gnuplot; the numbers of every plot as CSV, without it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "support/gnuplot.hpp"

namespace easy_diffusion::examples {

/// One curve of a plot.
struct Curve {
  std::string label;  ///< of the legend; empty: none
  std::vector<double> x, y;
  std::string colour = {};  ///< "#rrggbb"; empty: the next of the palette
  double width = 1.8;       ///< pixels
  bool dashed = false;
};

/// Where the legend stands.
enum class Legend { below, right_top, right_center };

/// What every plot has. Texts are drawn as they are, in one line, as far as there is room.
struct Axes {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  Legend legend = Legend::below;
  int width = 1100, height = 680;              ///< pixels
  std::array<double, 2> x_range{}, y_range{};  ///< both 0: as the values ask
  std::vector<double> x_ticks = {};            ///< none: as the values ask
};

/// Curves over one pair of axes.
struct LinePlot {
  Axes axes;
  std::vector<Curve> curves;
};

/// An image of a density with curves on it. Each picture element covers one column and row of the rectangle; values
/// are shown by their square root, as that makes tails visible.
struct DensityPlot {
  Axes axes;
  double x_first = 0, x_last = 1;  ///< middle of the first and of the last column
  double y_first = 0, y_last = 1;  ///< middle of the first and of the last row
  std::size_t columns = 0, rows = 0;
  std::vector<double> values;  ///< [columns, rows]
  double full_scale = 1;       ///< value with the strongest colour; larger ones are shown as this
  std::string value_label;
  std::vector<Curve> curves;
};

namespace detail {

// As much of a text as there is room for.
inline constexpr std::size_t longest_title = 90, longest_label = 70, longest_legend = 60;

inline const std::string& palette(std::size_t i) {
  static const std::array<std::string, 8> colours{"#2563eb", "#ea580c", "#059669", "#db2777",
                                                  "#7c3aed", "#0891b2", "#ca8a04", "#475569"};
  return colours[i % colours.size()];
}

/// \throw ValueError: a colour stands in a command as it is
inline std::string colour_of(const Curve& curve, std::size_t i) {
  if (curve.colour.empty()) return palette(i);
  if (curve.colour.size() != 7 || curve.colour[0] != '#' ||
      curve.colour.find_first_not_of("0123456789abcdefABCDEF", 1) != std::string::npos)
    throw ValueError("plot: expected a colour such as #2563eb, got '" + curve.colour + "'");
  return curve.colour;
}

inline void begin(GnuplotScript& script, int width, int height) {
  script += "set terminal pngcairo noenhanced size " + std::to_string(width) + "," + std::to_string(height) +
            " font 'Sans,13' linewidth 1 background '#ffffff'\nset encoding utf8\n";
}

inline void add_frame(GnuplotScript& s, const Axes& axes) {
  s += "set title " + s.text(axes.title, longest_title) + " font 'Sans,17' textcolor rgb '#0f172a' offset 0,0.4\n";
  s += "set xlabel " + s.text(axes.x_label, longest_label) + " font 'Sans,15' textcolor rgb '#334155' offset 0,-0.3\n";
  s += "set ylabel " + s.text(axes.y_label, longest_label) + " font 'Sans,15' textcolor rgb '#334155' offset -0.6,0\n";
  s += "set border 3 linecolor rgb '#94a3b8' linewidth 1.2\n";
  s += "set tics nomirror out scale 0.6 textcolor rgb '#334155'\n";
  s += "set grid linetype 1 linecolor rgb '#e2e8f0' linewidth 1\n";
  const char* const legend = axes.legend == Legend::below       ? "center bmargin horizontal"
                             : axes.legend == Legend::right_top ? "outside right top vertical"
                                                                : "outside right center vertical";
  s += std::string("set key ") + legend + " Left reverse spacing 1.25 samplen 2.2 width 2 textcolor rgb '#334155'\n";
  s += std::string("set lmargin ") + (axes.log_y ? "13" : "11") + "\nset tmargin 3.4\nset bmargin 6.2\n";
  if (axes.legend == Legend::below) s += "set rmargin 4\n";
  if (axes.log_x) s += "set logscale x\n";
  if (axes.log_y) s += "set logscale y\n";
  const auto range = [&s](const char* which, const std::array<double, 2>& ends) {
    if (ends[0] < ends[1]) s += std::string("set ") + which + " [" + number(ends[0]) + ":" + number(ends[1]) + "]\n";
  };
  range("xrange", axes.x_range);
  range("yrange", axes.y_range);
  std::string ticks;
  for (const double tick : axes.x_ticks) ticks += (ticks.empty() ? "" : ", ") + number(tick);
  if (!ticks.empty()) s += "set xtics (" + ticks + ")\n";
}

/// The curves' points into the script, and what is to be plotted of them onto `plots`.
inline void add_curves(GnuplotScript& script, std::string& plots, const std::vector<Curve>& curves) {
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const Curve& curve = curves[i];
    if (curve.x.size() != curve.y.size())
      throw ShapeError("plot: curve '" + curve.label + "': expected as many x as y, got " +
                       std::to_string(curve.x.size()) + " and " + std::to_string(curve.y.size()));
    if (curve.x.empty()) continue;
    const std::string name = "$curve" + std::to_string(i);
    script += name + " << EOD\n";
    for (std::size_t j = 0; j < curve.x.size(); ++j) script += number(curve.x[j]) + " " + number(curve.y[j]) + "\n";
    script += "EOD\n";
    if (!plots.empty()) plots += ", ";
    plots += name + " using 1:2 with lines linewidth " + number(curve.width) + " linecolor rgb '" +
             colour_of(curve, i) + "'" + (curve.dashed ? " dashtype (7,5)" : "") +
             (curve.label.empty() ? " notitle" : " title " + script.text(curve.label, longest_legend));
  }
}

}  // namespace detail

/// Writes the points of all curves: curve, x, y. \throw IoError
inline void write_csv(const LinePlot& plot, const std::filesystem::path& csv) {
  std::string text = "curve,x,y\n";
  for (std::size_t i = 0; i < plot.curves.size(); ++i) {
    const Curve& curve = plot.curves[i];
    for (std::size_t j = 0; j < curve.x.size(); ++j)
      text += std::to_string(i) + "," + detail::number(curve.x[j]) + "," + detail::number(curve.y[j]) + "\n";
  }
  io::write_file(csv, text);
}

/// Writes the values: x, y, density. \throw IoError
inline void write_csv(const DensityPlot& plot, const std::filesystem::path& csv) {
  std::string text = "x,y,density\n";
  for (std::size_t c = 0; c < plot.columns; ++c)
    for (std::size_t r = 0; r < plot.rows; ++r) {
      const auto place = [](double first, double last, std::size_t i, std::size_t n) {
        return n > 1 ? first + (last - first) * static_cast<double>(i) / static_cast<double>(n - 1) : first;
      };
      text += detail::number(place(plot.x_first, plot.x_last, c, plot.columns)) + "," +
              detail::number(place(plot.y_first, plot.y_last, r, plot.rows)) + "," +
              detail::number(plot.values[c * plot.rows + r]) + "\n";
    }
  io::write_file(csv, text);
}

/// Panels side by side, each of the width and height that its axes say; all as high as the first.
/// \throw IoError where gnuplot is missing (naming the package) or fails, ValueError where a panel has no point
inline void draw_png(const std::vector<LinePlot>& panels, const std::filesystem::path& png) {
  int width = 0;
  for (const LinePlot& panel : panels) width += panel.axes.width;
  GnuplotScript script;
  detail::begin(script, width, panels.empty() ? 0 : panels[0].axes.height);
  if (panels.size() > 1) script += "set multiplot\n";
  int left = 0;
  for (const LinePlot& panel : panels) {
    std::string plots;
    detail::add_frame(script, panel.axes);
    if (panels.size() > 1)
      script += "set origin " + detail::number(static_cast<double>(left) / width) + ",0\nset size " +
                detail::number(static_cast<double>(panel.axes.width) / width) + ",1\n";
    detail::add_curves(script, plots, panel.curves);
    if (plots.empty()) throw ValueError("plot '" + png.string() + "': there is no point to draw");
    script += "plot " + plots + "\n";
    left += panel.axes.width;
  }
  if (panels.size() > 1) script += "unset multiplot\n";
  detail::draw(script, png);
}

/// \throw IoError where gnuplot is missing (naming the package) or fails, ValueError where there is no point
inline void draw_png(const LinePlot& plot, const std::filesystem::path& png) { draw_png(std::vector{plot}, png); }

/// \throw IoError where gnuplot is missing (naming the package) or fails
inline void draw_png(const DensityPlot& plot, const std::filesystem::path& png) {
  if (plot.columns < 2 || plot.rows < 2 || plot.values.size() != plot.columns * plot.rows)
    throw ShapeError("plot '" + png.string() + "': expected at least 2 x 2 values, got " +
                     std::to_string(plot.columns) + " x " + std::to_string(plot.rows));
  GnuplotScript script;
  detail::begin(script, plot.axes.width, plot.axes.height);
  detail::add_frame(script, plot.axes);
  const double dx = (plot.x_last - plot.x_first) / static_cast<double>(plot.columns - 1);
  const double dy = (plot.y_last - plot.y_first) / static_cast<double>(plot.rows - 1);
  // White to deep blue, lightness falling evenly.
  script +=
      "set palette defined (0 '#ffffff', 0.08 '#e8f1fd', 0.3 '#a5c8f5', 0.55 '#4f8fe6', 0.8 '#1d4fb4', 1 '#0b1f54')\n";
  script += "set xrange [" + detail::number(plot.x_first - dx / 2) + ":" + detail::number(plot.x_last + dx / 2) + "]\n";
  script += "set yrange [" + detail::number(std::min(plot.y_first, plot.y_last) - std::abs(dy) / 2) + ":" +
            detail::number(std::max(plot.y_first, plot.y_last) + std::abs(dy) / 2) + "]\n";
  const double top = std::sqrt(plot.full_scale);
  script += "set cbrange [0:" + detail::number(top) + "]\n";
  script += "set cblabel " + script.text(plot.value_label, detail::longest_label) +
            " font 'Sans,14' textcolor rgb '#334155' offset 1.2,0\nset rmargin 17\n";
  // The scale shows square roots; its labels say the values.
  script += "set colorbox user origin graph 1.03,0 size graph 0.022,1 noborder\nset cbtics (";
  for (int i = 0; i <= 5; ++i) {
    const double share = 0.2 * i;
    script += (i ? ", '" : "'") + number_text(plot.full_scale * share * share, 3) +
              "' " + detail::number(top * share);
  }
  script += ")\n$density << EOD\n";
  for (std::size_t r = 0; r < plot.rows; ++r) {
    for (std::size_t c = 0; c < plot.columns; ++c)
      script += detail::number(std::sqrt(std::min(plot.values[c * plot.rows + r], plot.full_scale))) + " ";
    script += "\n";
  }
  script += "EOD\n";
  std::string plots = "$density matrix using (" + detail::number(plot.x_first) + "+" + detail::number(dx) + "*$1):(" +
                      detail::number(plot.y_first) + "+" + detail::number(dy) + "*$2):3 with image notitle";
  detail::add_curves(script, plots, plot.curves);
  script += "plot " + plots + "\n";
  detail::draw(script, png);
}

}  // namespace easy_diffusion::examples
