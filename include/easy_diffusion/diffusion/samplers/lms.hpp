/// \file
/// Linear multistep: the Adams-Bashforth method for the probability-flow equation.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "easy_diffusion/diffusion/detail/epsilon_history.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// Of y = x / alpha in s = sigma / alpha: epsilon is the polynomial through the values found in this step and up to
/// p - 1 before, and is integrated exactly, whatever the lengths of the steps \cite hairer_1993_nonstiff (section
/// III.5). One evaluation a step. The first step is of order 1, the second of 2, and so on to p, after every `start` and
/// wherever a step does not follow the one before; the last is of order 1 where it leads to a clean state.
///
/// The first step, Euler's, alone has an error of second order, so that p above 2 does not raise the order that is
/// declared, only lowers the error. With a past (`remember`) the order is p.
template <sde::State S, int order = 4>
class Lms : public detail::EpsilonMultistep<S, order> {
  using detail::EpsilonMultistep<S, order>::history_;

 public:
  static constexpr SamplerTraits traits{.order = std::min(order, 2),
                                        .best_order = order > 2 ? order : 0,
                                        .best_where = best_where::exact_past,
                                        .history = order - 1,
                                        .any_direction = true};

  void start(const NoiseLevels& levels) {
    detail::check_levels<Lms>("LMS", levels);
    history_.epsilon.forget();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    history_.epsilon.begin_step(i);
    history_.evaluate(denoiser, x, levels[i]);
    const NoiseLevel& to = levels[i + 1];
    const bool first_order = to.is_clean() || to.is_pure_noise();
    const std::size_t used = first_order ? 1 : history_.epsilon.count();
    history_.move(x, to, used > 1 ? weights(to, used) : std::array<double, std::size_t{order}>{}, used);
  }

 private:
  /// alpha_t times the integrals over the step of the polynomials that are 1 at one of the levels and 0 at the others.
  /// Their degree is at most 3, for which Gauss's two points are exact.
  [[nodiscard]] std::array<double, std::size_t{order}> weights(const NoiseLevel& to, std::size_t used) const {
    constexpr double reach = 0.57735026918962576451;  // 1 / sqrt(3)
    std::array<double, std::size_t{order}> nodes{}, w{};           // from where the step begins
    const double begin = history_.epsilon.level(0).noise_to_signal();
    for (std::size_t j = 0; j < used; ++j) nodes[j] = history_.epsilon.level(j).noise_to_signal() - begin;
    const double length = to.noise_to_signal() - begin;
    for (const double point : {0.5 * (1 - reach), 0.5 * (1 + reach)})
      for (std::size_t j = 0; j < used; ++j) {
        double product = 0.5 * length * to.alpha;
        for (std::size_t k = 0; k < used; ++k)
          if (k != j) product *= (point * length - nodes[k]) / (nodes[j] - nodes[k]);
        w[j] += product;
      }
    return w;
  }
};

}  // namespace easy_diffusion::diffusion
