/// \file
/// The method of Dormand and Prince: fifth order, an error estimate, and the solution between the ends of a step.
#pragma once

#include <utility>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"

namespace easy_diffusion::sde {

/// Dormand-Prince 5(4) \cite dormand_1980_family. With a fixed step it costs six evaluations. Under `integrate_adaptive` it
/// also gives an error estimate, whose one further evaluation is the first of the next step, and dense output of order 4
/// \cite hairer_1993_nonstiff (section II.6).
template <State S>
class DormandPrince5 : public ExplicitRungeKutta<S, tableaus::DormandPrince5> {
  using Base = ExplicitRungeKutta<S, tableaus::DormandPrince5>;

 public:
  static constexpr double error_order = 4;  ///< of the embedded solution

  /// Tries a step from `x`, which it leaves as it is.
  /// \param first     true where the drift at (x, step.t) is not what the last accepted step ended with
  /// \param[out] next  x(t + dt)
  /// \param[out] error estimate of the error of `next`, element by element
  template <class System>
  void attempt(const System& system, const S& x, const Step& step, bool first, S& next, S& error) {
    expect_ode_fit<DormandPrince5, System>();
    auto& k = this->stages_;
    if (first) {
      make_room(k[0], x);
      system.drift(x, step.t, k[0]);
    }
    this->later_stages(system, x, step);
    make_room(next, x);
    make_room(error, x);
    make_room(last_, x);
    using Tableau = tableaus::DormandPrince5;
    detail::with_places_in_use<typename Base::Weights>(
        [&](auto... j) { detail::combine(next, x, {Tableau::b[j] * step.dt...}, k[j]...); });
    system.drift(next, step.t + step.dt, last_);
    fill(error, 0);
    const double h = step.dt;
    detail::add_combination(
        error, {h * 71 / 57600, -h * 71 / 16695, h * 71 / 1920, -h * 17253 / 339200, h * 22 / 525, -h / 40}, k[0], k[2],
        k[3], k[4], k[5], last_);
  }

  /// x(t + theta dt) of the attempt before, 0 <= theta <= 1. Call it before `accept`.
  void interpolate(const S& x, const S& next, double dt, double theta, S& out) {
    auto& k = this->stages_;
    make_room(out, x);
    make_room(this->work_, x);
    // Hairer's form: a cubic through both ends and slopes, and a quartic that vanishes there.
    fill(this->work_, 0);
    detail::add_combination(this->work_,
                            {-12715105075.0 / 11282082432, 87487479700.0 / 32700410799, -10690763975.0 / 1880347072,
                             701980252875.0 / 199316789632, -1453857185.0 / 822651844, 69997945.0 / 29380423},
                            k[0], k[2], k[3], k[4], k[5], last_);
    const double rest = 1 - theta;
    const double bump = theta * theta * rest * rest * dt;
    const double start_slope = theta * rest * rest * dt;
    const double end_slope = -theta * theta * rest * dt;
    const double share = theta * theta * (3 - 2 * theta);
    detail::combine(out, x, {share, -share, start_slope, end_slope, bump}, next, x, k[0], last_, this->work_);
  }

  /// The attempt becomes the past: its last drift is the first of the next step.
  void accept() { std::swap(this->stages_[0], last_); }

 private:
  S last_{};
};

}  // namespace easy_diffusion::sde
