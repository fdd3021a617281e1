/// \file
/// What multistep samplers that look back on epsilon share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/diffusion/detail/history.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// epsilon <- (x - alpha x0) / sigma
template <sde::State S>
void epsilon_from_x0(const S& x, const NoiseLevel& level, const S& x0, S& epsilon) {
  sde::update_elements(
      [&level](auto& e, const auto& from, const auto& p) {
        using T = std::remove_reference_t<decltype(e)>;
        e = sde::detail::multiply_add(static_cast<T>(-level.alpha), p, from) / static_cast<T>(level.sigma);
      },
      epsilon, x, x0);
}

/// The x0 predicted last, and a history of epsilon.
template <sde::State S, std::size_t places>
struct EpsilonHistory {
  History<S, places> epsilon;
  S x0{};

  void remember(const NoiseLevel& level, const S& x, const S& predicted) {
    epsilon_from_x0(x, level, predicted, epsilon.push(level, x));
  }

  template <class D>
  void evaluate(const D& denoiser, const S& x, const NoiseLevel& level) {
    sde::make_room(x0, x);
    denoiser(x, level, x0);
    remember(level, x, x0);
  }

  /// x_t = (alpha_t / alpha_s) x_s + w_0 epsilon_0 + w_1 epsilon_1 + ... The part in which epsilon is kept is taken from x0: at
  /// pure noise, where it must be all (used = 1), alpha_t / alpha_s is infinite, and x and epsilon nearly cancel at the end.
  /// \param w together sigma_t - sigma_s alpha_t / alpha_s
  void move(S& x, const NoiseLevel& to, std::array<double, places> w, std::size_t used) const {
    detail::move(keep_epsilon(epsilon.level(0), to), x, x0);
    if (used == 1) return;
    w[0] = 0;
    for (std::size_t j = 1; j < used; ++j) w[0] -= w[j];
    epsilon.add_to(x, 1, w, used);
  }

  /// The same with weights for steps of equal length in sigma / alpha: of Adams and Bashforth, of the order that the history
  /// allows; of order 1 where the step leads to a clean state.
  void move_by_adams_bashforth(S& x, const NoiseLevel& to) const {
    static_assert(places <= 4);
    constexpr double coefficients[4][4] = {{1, 0, 0, 0},
                                           {3.0 / 2, -1.0 / 2, 0, 0},
                                           {23.0 / 12, -16.0 / 12, 5.0 / 12, 0},
                                           {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24}};
    const std::size_t used = to.is_clean() ? 1 : epsilon.count();
    std::array<double, places> w{};
    if (used > 1) {
      const double length = epsilon_length(epsilon.level(0), to);
      for (std::size_t j = 0; j < used; ++j) w[j] = length * coefficients[used - 1][j];
    }
    move(x, to, w, used);
  }
};

/// What the multistep samplers on epsilon have in common: one evaluation a step, and a past that may be given.
template <sde::State S, int order>
class EpsilonMultistep {
  static_assert(order >= 1 && order <= 4, "multistep sampler: the order is 1, 2, 3 or 4");

 public:
  using state_type = S;

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_.x0; }

  /// An evaluation made before the run, at a level before its first: after `start`, the oldest first.
  void remember(const NoiseLevel& level, const S& x, const S& x0) { history_.remember(level, x, x0); }

 protected:
  EpsilonHistory<S, std::size_t{order}> history_;
};

}  // namespace easy_diffusion::diffusion::detail
