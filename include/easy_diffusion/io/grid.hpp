/// \file
/// Many pictures as one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/detail/array_view.hpp"
#include "easy_diffusion/io/image.hpp"

namespace easy_diffusion::io {

/// How `make_grid` lays pictures out.
struct GridOptions {
  std::int64_t columns = 0;  ///< 0: about as many as rows
  std::int64_t padding = 2;  ///< pixels of the result between pictures and around them
  double background = 1;     ///< 0 (black) to 1 (white)
  std::int64_t scale = 1;    ///< every pixel becomes a square of scale x scale
};

/// Lays pictures out row by row; cells that are left over show the background.
/// \param batch [N, H, W, C] (or [H, W, C] for one), N >= 1; bytes, or numbers in [0, 1]
/// \return [rows (scale H + padding) + padding, columns (scale W + padding) + padding, C]
/// \throw ShapeError for another shape or an empty one \throw ValueError for an option out of range
template <detail::Array A>
[[nodiscard]] auto make_grid(const A& batch, const GridOptions& options = {}) {
  const auto view = detail::read_only(batch);
  using T = typename decltype(view)::value_type;
  Shape shape = view.shape();
  if (shape.rank() == 3) shape = {1, shape[0], shape[1], shape[2]};
  expect_rank("grid", 4, "[N, H, W, C]", shape);
  if (view.size() == 0) throw ShapeError("grid: expected at least one picture, got " + shape.to_string());
  const auto expect_range = [](const char* option, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value < low || value > high)
      throw ValueError("grid: " + std::string(option) + ": expected " + std::to_string(low) + " to " +
                       std::to_string(high) + ", got " + std::to_string(value));
  };
  expect_range("columns", options.columns, 0, 65536);
  expect_range("padding", options.padding, 0, 4096);
  expect_range("scale", options.scale, 1, 4096);
  if (!(options.background >= 0 && options.background <= 1))
    throw ValueError("grid: background: expected 0 to 1, got " + number_text(options.background));

  const std::int64_t count = shape[0];
  std::int64_t columns = options.columns;
  if (columns == 0)
    while (columns * columns < count) ++columns;
  columns = std::min(columns, count);
  const std::int64_t rows = (count + columns - 1) / columns;
  const std::int64_t channels = shape[3];
  const std::int64_t cell_height = options.scale * shape[1] + options.padding;
  const std::int64_t cell_width = options.scale * shape[2] + options.padding;
  const T background =
      std::is_floating_point_v<T> ? static_cast<T>(options.background) : static_cast<T>(options.background * 255 + 0.5);
  Tensor<T> grid({rows * cell_height + options.padding, columns * cell_width + options.padding, channels}, background);
  for (std::int64_t n = 0; n < count; ++n) {
    const std::int64_t top = options.padding + n / columns * cell_height;
    const std::int64_t left = options.padding + n % columns * cell_width;
    for (std::int64_t y = 0; y < options.scale * shape[1]; ++y) {
      const T* from = view.data() + (n * shape[1] + y / options.scale) * shape[2] * channels;
      T* to = grid.data() + ((top + y) * grid.extent(1) + left) * channels;
      for (std::int64_t x = 0; x < options.scale * shape[2]; ++x)
        std::copy_n(from + x / options.scale * channels, channels, to + x * channels);
    }
  }
  return grid;
}

/// `make_grid`, written as a PNG file. \throw as `make_grid` and `save_png` do
template <detail::Array A>
void save_grid(const std::filesystem::path& path, const A& batch, const GridOptions& options = {}) {
  save_png(path, make_grid(batch, options));
}

}  // namespace easy_diffusion::io
