/// \file
/// PNDM \cite liu_2022_pndm: Runge-Kutta steps, then a multistep formula.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "easy_diffusion/diffusion/detail/epsilon_history.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// F-PNDM. Three steps of the pseudo Runge-Kutta method, four evaluations each, give the past that the Adams-Bashforth
/// coefficients of order 4 look back on, with one evaluation a step from then on. Both move the state as DDIM does, with an
/// epsilon that they mix. A step from pure noise or to a clean state is of order 1, with one evaluation.
///
/// The middle of a Runge-Kutta step is that of sigma / alpha, where the method is the classical one (the paper's is the middle of
/// time, a whole timestep). With equal steps in sigma / alpha the whole is of order 4; see `Ipndm` for others.
template <sde::State S>
class Pndm {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{
      .order = 2, .best_order = 4, .best_where = best_where::equal_steps, .history = 3};

  /// \param path levels between those of the run
  /// \throw ValueError for an empty function
  explicit Pndm(LevelPath path) : path_("PNDM", std::move(path)) {}

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    return levels.steps() + 3 * std::min<std::int64_t>(3, levels.steps() - detail::first_order_steps(levels));
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return history_.x0; }

  void start(const NoiseLevels& levels) {
    detail::check_levels<Pndm>("PNDM", levels);
    history_.epsilon.forget();
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    history_.epsilon.begin_step(i);
    history_.evaluate(denoiser, x, from);
    if (detail::is_first_order_step(from, to) || history_.epsilon.count() == 4) {
      history_.move_by_adams_bashforth(x, to);
    } else {
      runge_kutta(denoiser, x, from, to);
    }
  }

 private:
  /// The classical method, from the epsilon at the start that is in the history.
  template <class D>
  void runge_kutta(const D& denoiser, S& x, const NoiseLevel& from, const NoiseLevel& to) {
    const NoiseLevel middle = path_.between(from, to, 0.5 * (from.noise_to_signal() + to.noise_to_signal()));
    sde::make_room(stage_, x);
    sde::make_room(epsilon_, x);
    sde::make_room(sum_, x);
    sde::update_elements([](auto& e, const auto& first) { e = first; }, sum_, history_.epsilon[0]);
    transfer(from, middle, x, history_.epsilon[0], stage_);
    evaluate(denoiser, middle, 2);
    transfer(from, middle, x, epsilon_, stage_);
    evaluate(denoiser, middle, 2);
    transfer(from, to, x, epsilon_, stage_);
    evaluate(denoiser, to, 1);
    sde::update_elements([](auto& e) { e /= 6; }, sum_);
    transfer(from, to, x, sum_, x);
  }

  /// Epsilon of the stage at hand, added to the sum.
  template <class D>
  void evaluate(const D& denoiser, const NoiseLevel& level, double weight) {
    denoiser(stage_, level, history_.x0);
    detail::epsilon_from_x0(stage_, level, history_.x0, epsilon_);
    sde::detail::add_combination(sum_, {weight}, epsilon_);
  }

  /// x moved with the given epsilon: out = (alpha_t / alpha_s) x + (sigma_t - sigma_s alpha_t / alpha_s) epsilon
  static void transfer(const NoiseLevel& from, const NoiseLevel& to, const S& x, const S& epsilon, S& out) {
    sde::update_elements(
        [kept = to.alpha / from.alpha, length = detail::epsilon_length(from, to)](auto& e, const auto& at,
                                                                                  const auto& direction) {
          using T = std::remove_reference_t<decltype(e)>;
          e = sde::detail::multiply_add(static_cast<T>(kept), at, static_cast<T>(length) * direction);
        },
        out, x, epsilon);
  }

  detail::StepPath path_;
  detail::EpsilonHistory<S, 4> history_;
  S stage_{}, epsilon_{}, sum_{};
};

}  // namespace easy_diffusion::diffusion
