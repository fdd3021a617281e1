/// \file
/// A matrix as a picture: a coloured field for each number, with the number in it and names along both sides.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/text.hpp"
#include "support/plot.hpp"

namespace easy_diffusion::examples {

/// Numbers that are not finite leave their field white.
struct HeatMap {
  std::string title, value_label;
  std::vector<std::string> names;  ///< of rows and of columns
  std::vector<double> values;      ///< [names, names]
};

/// Writes the values: row, column, value. \throw IoError
inline void write_csv(const HeatMap& map, const std::filesystem::path& csv) {
  std::string text = "row,column,value\n";
  for (std::size_t r = 0; r < map.names.size(); ++r)
    for (std::size_t c = 0; c < map.names.size(); ++c)
      text += io::csv_field(map.names[r]) + "," + io::csv_field(map.names[c]) + "," +
              detail::number(map.values[r * map.names.size() + c]) + "\n";
  io::write_file(csv, text);
}

/// \throw IoError where gnuplot is missing (naming the package) or fails, ShapeError unless there is a value for each pair
inline void draw_png(const HeatMap& map, const std::filesystem::path& png) {
  const std::size_t n = map.names.size();
  if (n < 1 || map.values.size() != n * n)
    throw ShapeError("plot '" + png.string() + "': expected " + std::to_string(n * n) + " values, got " +
                     std::to_string(map.values.size()));
  const Axes axes{.title = map.title, .x_label = "", .y_label = "", .width = 980, .height = 860};
  GnuplotScript script;
  detail::begin(script, axes.width, axes.height);
  detail::add_frame(script, axes);
  script += "unset grid\nset border 0\nset size ratio 1\nset lmargin 17\nset rmargin 14\nset bmargin 7\n";
  script += "set palette defined (-1 '#b2182b', -0.5 '#f4a582', 0 '#f7f7f7', 0.5 '#92c5de', 1 '#2166ac')\n";
  script += "set cblabel " + script.text(map.value_label, detail::longest_label) +
            " font 'Sans,14' textcolor rgb '#334155' offset 1,0\n";
  constexpr std::size_t longest_name = 18;  // what the margins have room for
  // The diagonal would hide all other differences: the scale ends at the largest of the rest.
  double top = 1e-6;
  std::string fields = "$fields << EOD\n", labels = "$labels << EOD\n", tics;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t c = 0; c < n; ++c) {
      const double value = map.values[r * n + c];
      fields += detail::number(value) + " ";
      if (!std::isfinite(value)) continue;
      top = std::max(top, std::abs(value));
      labels += std::to_string(c) + " " + std::to_string(r) + " " + fixed_text(value, 2) + "\n";
    }
    fields += "\n";
    tics += (r ? ", " : "") + script.tick(map.names[r], longest_name) + " " + std::to_string(r);
  }
  script += fields + "EOD\n" + labels + "EOD\n";
  script += "set xtics (" + tics + ") rotate by -40\nset ytics (" + tics + ")\n";
  script += "set cbrange [" + detail::number(-top) + ":" + detail::number(top) + "]\n";
  const std::string end = detail::number(static_cast<double>(n) - 0.5);
  script += "set xrange [-0.5:" + end + "]\nset yrange [" + end + ":-0.5]\n";
  script +=
      "plot $fields matrix with image notitle, $labels using 1:2:3 with labels font 'Sans,11' textcolor rgb '#0f172a' "
      "notitle\n";
  detail::draw(script, png);
}

}  // namespace easy_diffusion::examples
