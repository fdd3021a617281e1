/// \file
/// Plots that a run leaves beside its results, and that do not decide how it ends.
#pragma once

#include <filesystem>

#include "easy_diffusion/core/error.hpp"
#include "support/options.hpp"

namespace easy_diffusion::examples {

/// Calls `draw()`. Where that fails (gnuplot is missing, or was ended by the same Ctrl-C) one line on the standard error says
/// so: what was computed is kept, and the program ends as it would have.
template <class Draw>
void try_to_draw(Draw&& draw) {
  try {
    draw();
  } catch (const Error& error) {
    print_error("not drawn", error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    print_error("not drawn", error.what());
  }
}

}  // namespace easy_diffusion::examples
