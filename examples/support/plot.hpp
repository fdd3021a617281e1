/// \file
/// Plots as PNG files, drawn by gnuplot through a pipe; the numbers of every plot as CSV, without it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <sys/wait.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/io/atomic_file.hpp"

namespace easy_diffusion::examples {

/// One curve of a plot.
struct Curve {
  std::string label;  ///< of the legend; empty: none
  std::vector<double> x, y;
  std::string colour = {};  ///< "#rrggbb"; empty: the next of the palette
  double width = 1.8;       ///< pixels
  bool dashed = false;
};

/// What every plot has.
struct Axes {
  std::string title, x_label, y_label;
  bool log_x = false, log_y = false;
  std::string legend = "center bmargin horizontal";  ///< where it stands, in gnuplot's words
  int width = 1100, height = 680;                    ///< pixels
  std::array<double, 2> x_range{}, y_range{};        ///< both 0: as the values ask
  std::vector<double> x_ticks = {};                  ///< none: as the values ask
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

/// A name beside `path`, with the same ending: what gnuplot draws reaches its name whole or not at all.
[[nodiscard]] inline std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  return path.parent_path() / (path.stem().string() + ".partial" + path.extension().string());
}

/// \throw IoError naming the file
inline void rename_into_place(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw IoError("cannot write '" + path.string() + "': " + error.message());
}

inline std::string number(double value) {
  if (!std::isfinite(value)) return "NaN";
  return number_text(value, 9);
}

/// A text for gnuplot, in single quotes.
inline std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("''") : std::string(1, c);
  return result + "'";
}

inline std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

inline const std::string& palette(std::size_t i) {
  static const std::array<std::string, 8> colours{"#2563eb", "#ea580c", "#059669", "#db2777",
                                                  "#7c3aed", "#0891b2", "#ca8a04", "#475569"};
  return colours[i % colours.size()];
}

inline std::string terminal(int width, int height, const std::filesystem::path& png) {
  return "set terminal pngcairo noenhanced size " + std::to_string(width) + "," + std::to_string(height) +
         " font 'Sans,13' linewidth 1 background '#ffffff'\nset output " + quoted(png.string()) +
         "\nset encoding utf8\n";
}

inline std::string frame(const Axes& axes) {
  std::string s;
  s += "set title " + quoted(axes.title) + " font 'Sans,17' textcolor rgb '#0f172a' offset 0,0.4\n";
  s += "set xlabel " + quoted(axes.x_label) + " font 'Sans,15' textcolor rgb '#334155' offset 0,-0.3\n";
  s += "set ylabel " + quoted(axes.y_label) + " font 'Sans,15' textcolor rgb '#334155' offset -0.6,0\n";
  s += "set border 3 linecolor rgb '#94a3b8' linewidth 1.2\n";
  s += "set tics nomirror out scale 0.6 textcolor rgb '#334155'\n";
  s += "set grid linetype 1 linecolor rgb '#e2e8f0' linewidth 1\n";
  s += "set key " + axes.legend + " Left reverse spacing 1.25 samplen 2.2 width 2 textcolor rgb '#334155'\n";
  s += std::string("set lmargin ") + (axes.log_y ? "13" : "11") + "\nset tmargin 3.4\nset bmargin 6.2\n";
  if (!axes.legend.starts_with("outside")) s += "set rmargin 4\n";
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
  return s;
}

inline void append_curves(std::string& data, std::string& plots, const std::vector<Curve>& curves) {
  for (std::size_t i = 0; i < curves.size(); ++i) {
    const Curve& curve = curves[i];
    if (curve.x.size() != curve.y.size())
      throw ShapeError("plot: curve '" + curve.label + "': expected as many x as y, got " +
                       std::to_string(curve.x.size()) + " and " + std::to_string(curve.y.size()));
    if (curve.x.empty()) continue;
    const std::string name = "$curve" + std::to_string(i);
    data += name + " << EOD\n";
    for (std::size_t j = 0; j < curve.x.size(); ++j) data += number(curve.x[j]) + " " + number(curve.y[j]) + "\n";
    data += "EOD\n";
    if (!plots.empty()) plots += ", ";
    plots += name + " using 1:2 with lines linewidth " + number(curve.width) + " linecolor rgb '" +
             (curve.colour.empty() ? palette(i) : curve.colour) + "'" + (curve.dashed ? " dashtype (7,5)" : "") +
             (curve.label.empty() ? " notitle" : " title " + quoted(curve.label));
  }
}

/// Gives a script to gnuplot, which writes `temporary`; then renames that.
inline void draw(const std::string& script, const std::filesystem::path& temporary, const std::filesystem::path& png) {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0)
    throw IoError("gnuplot is missing, so '" + png.string() +
                  "' is not drawn (its numbers are in the .csv beside it): install the package gnuplot-nox");
  const std::filesystem::path log = png.string() + ".log";
  // Where gnuplot dies early, writing to it must fail instead of ending this program.
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  std::FILE* pipe = ::popen(("gnuplot 2>" + shell_quoted(log.string())).c_str(), "w");
  int status = -1;
  if (pipe != nullptr) {
    std::fwrite(script.data(), 1, script.size(), pipe);
    status = ::pclose(pipe);
  }
  std::signal(SIGPIPE, before);
  std::string complaint;
  {
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);)
      if (line.find_first_not_of(" ^\t") != std::string::npos) complaint = line;
  }
  std::error_code ignored;
  std::filesystem::remove(log, ignored);
  if (status != 0 || !std::filesystem::exists(temporary) || std::filesystem::file_size(temporary) == 0) {
    std::filesystem::remove(temporary, ignored);
    throw IoError("gnuplot could not draw '" + png.string() + "'" + (complaint.empty() ? "" : ": " + complaint));
  }
  rename_into_place(temporary, png);
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
  const std::filesystem::path temporary = detail::temporary_beside(png);
  int width = 0;
  for (const LinePlot& panel : panels) width += panel.axes.width;
  std::string script = detail::terminal(width, panels.empty() ? 0 : panels[0].axes.height, temporary);
  if (panels.size() > 1) script += "set multiplot\n";
  int left = 0;
  for (const LinePlot& panel : panels) {
    std::string plots;
    script += detail::frame(panel.axes);
    if (panels.size() > 1)
      script += "set origin " + detail::number(static_cast<double>(left) / width) + ",0\nset size " +
                detail::number(static_cast<double>(panel.axes.width) / width) + ",1\n";
    detail::append_curves(script, plots, panel.curves);
    if (plots.empty()) throw ValueError("plot '" + png.string() + "': there is no point to draw");
    script += "plot " + plots + "\n";
    left += panel.axes.width;
  }
  if (panels.size() > 1) script += "unset multiplot\n";
  detail::draw(script + "unset output\n", temporary, png);
}

/// \throw IoError where gnuplot is missing (naming the package) or fails, ValueError where there is no point
inline void draw_png(const LinePlot& plot, const std::filesystem::path& png) { draw_png(std::vector{plot}, png); }

/// \throw IoError where gnuplot is missing (naming the package) or fails
inline void draw_png(const DensityPlot& plot, const std::filesystem::path& png) {
  if (plot.columns < 2 || plot.rows < 2 || plot.values.size() != plot.columns * plot.rows)
    throw ShapeError("plot '" + png.string() + "': expected at least 2 x 2 values, got " +
                     std::to_string(plot.columns) + " x " + std::to_string(plot.rows));
  const std::filesystem::path temporary = detail::temporary_beside(png);
  std::string script = detail::terminal(plot.axes.width, plot.axes.height, temporary) + detail::frame(plot.axes);
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
  script += "set cblabel " + detail::quoted(plot.value_label) +
            " font 'Sans,14' textcolor rgb '#334155' offset 1.2,0\nset rmargin 17\n";
  // The scale shows square roots; its labels say the values.
  script += "set colorbox user origin graph 1.03,0 size graph 0.022,1 noborder\nset cbtics (";
  for (int i = 0; i <= 5; ++i) {
    const double share = 0.2 * i;
    char label[32];
    std::snprintf(label, sizeof label, "%.3g", plot.full_scale * share * share);
    script += (i ? ", " : "") + detail::quoted(label) + " " + detail::number(top * share);
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
  detail::append_curves(script, plots, plot.curves);
  detail::draw(script + "plot " + plots + "\nunset output\n", temporary, png);
}

}  // namespace easy_diffusion::examples
