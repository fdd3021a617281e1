/// \file
/// Stochastic equations with steps whose length follows an error estimate, all on one Brownian path.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/adaptive.hpp"
#include "easy_diffusion/sde/brownian_tree.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/integrate.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

struct AdaptiveSdeOptions {
  Tolerances tolerances{1e-3, 1e-3};
  int first_level = 6;               ///< the first step tried is the span / 2^first_level
  std::int64_t max_steps = 1 << 20;  ///< tried, accepted or not
};

/// Moves `x` along the tree's Brownian path, from its start to its end. Steps are dyadic parts of the span, counted in
/// integers: a step that is rejected is halved, and its halves are the two parts of the same increment, so that the path is
/// the one path whatever is tried \cite gaines_1997_variable. After a step that is far below the tolerance the next may be
/// twice as long.
/// \param stepper   one with an error estimate: `StratonovichHeun`, the SRA and SRI methods
/// \param tree      must be as fine as the shortest step; its depth is the limit
/// \param observers as of `integrate`, at the start and after every accepted step
/// \throw ValueError for tolerances that are not above 0, a first level outside [0, depth], more steps than `max_steps`, a
///        step that would be finer than the tree, or a start that is not finite
template <class Stepper, class System, State S, State B, class... Observers>
AdaptiveResult integrate_adaptive(Stepper&& stepper, const System& system, S& x, BrownianTree<B>& tree,
                                  const AdaptiveSdeOptions& options = {}, Observers&&... observers) {
  using Method = std::remove_cvref_t<Stepper>;
  static_assert((ObserverOf<std::remove_reference_t<Observers>, S> && ...),
                "integrate_adaptive: an observer takes (std::int64_t step, double t, const State& x)");
  static_assert(std::is_same_v<B, brownian_t<System, S>>,
                "integrate_adaptive: the tree's elements are not the increments of this system");
  expect_fit<Method, System>();
  detail::check_tolerances("integrate_adaptive", options.tolerances);
  const int depth = tree.config().depth;
  const double start = tree.config().start, end = tree.config().end;
  if (options.first_level < 0 || options.first_level > depth)
    throw ValueError("integrate_adaptive: first level: expected 0 to the tree's depth " + std::to_string(depth) +
                     ", got " + std::to_string(options.first_level));
  detail::expect_finite(x, 0, start);
  if (detail::observe(0, start, x, observers...)) return {0, 0, start, true};

  const std::int64_t units = std::int64_t{1} << depth;
  const auto time = [&](std::int64_t unit) {
    return unit == units ? end : start + (end - start) * std::ldexp(static_cast<double>(unit), -depth);
  };
  S next = make_like(x), error = make_like(x);
  AdaptiveResult result{0, 0, start, false};
  int level = options.first_level;
  std::int64_t place = 0;
  while (place < units) {
    if (result.steps + result.rejected >= options.max_steps)
      throw ValueError("integrate_adaptive: " + std::to_string(options.max_steps) + " steps did not suffice; t = " +
                       detail::shown(result.t) + " of " + detail::shown(end));
    const std::int64_t size = units >> level;
    const Step step{result.steps, time(place), time(place + size) - time(place)};
    stepper.attempt(system, x, step, tree, next, error);
    const double ratio = detail::error_norm(error, x, next, options.tolerances);
    if (!(ratio <= 1)) {
      if (level == depth) {
        if (!std::isfinite(ratio)) detail::expect_finite_drift(system, x, result.steps, step.t, next);
        throw ValueError("integrate_adaptive: the Brownian tree of depth " + std::to_string(depth) +
                         " is too coarse for the tolerances at step " + std::to_string(result.steps) +
                         ", t = " + detail::shown(step.t) +
                         (std::isfinite(ratio) ? "" : ": no step gave a finite state"));
      }
      ++level;
      ++result.rejected;
      continue;
    }
    std::swap(x, next);
    place += size;
    ++result.steps;
    result.t = time(place);
    if (detail::observe(result.steps, result.t, x, observers...)) {
      result.stopped = true;
      return result;
    }
    // A step of twice the length has an error 2^(order + 1/2) as large, and must begin at a multiple of its length.
    const double grown = ratio * std::exp2(Method::error_order + 0.5);
    if (level > 0 && grown < 0.5 && place % (2 * size) == 0) --level;
  }
  return result;
}

}  // namespace easy_diffusion::sde
