/// \file
/// Adams-Bashforth methods: one evaluation a step, by looking back on the drifts of earlier steps.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"

namespace easy_diffusion::sde {

/// The Adams-Bashforth method of order 2, 3 or 4 \cite hairer_1993_nonstiff (section III.1, and III.5 for steps of
/// unequal length). The first steps, which have no past yet, are of the classical Runge-Kutta method, so that the order is
/// the declared one from the start; or the past is given by `begin_with`.
template <State S, int order>
class AdamsBashforth {
  static_assert(order >= 2 && order <= 4, "AdamsBashforth: the order is 2, 3 or 4");

 public:
  using state_type = S;
  static constexpr OdeTraits traits{.order = order, .evaluations = 1, .history = order - 1};

  /// Takes a known past: `drifts[j]` is f(x, t) at `times[j]`, the latest first. The next step must begin after
  /// `times[0]` with the state at hand.
  /// \param times  order - 1 of them, strictly monotone away from the start
  /// \param start  where the next step begins
  /// \throw ValueError for another number of times or drifts, or for equal times
  void begin_with(std::span<const double> times, std::span<const S> drifts, double start) {
    if (times.size() != order - 1 || drifts.size() != order - 1)
      throw ValueError("Adams-Bashforth: expected a past of " + std::to_string(order - 1) + " drifts, got " +
                       std::to_string(times.size()) + " times and " + std::to_string(drifts.size()) + " drifts");
    double after = start;
    for (std::size_t j = 0; j < times.size(); ++j) {
      if (!(times[j] != after)) throw ValueError("Adams-Bashforth: two times of the past are equal");
      after = times[j];
      drifts_[j] = drifts[j];
      times_[j] = times[j];
    }
    known_ = order - 1;
    end_ = start;
    given_ = true;
  }

  /// Forgets the past.
  void reset() noexcept {
    known_ = 0;
    given_ = false;
  }

  /// \throw whatever the system throws
  template <class System>
  void step(const System& system, S& x, const Step& step) {
    expect_ode_fit<AdamsBashforth, System>();
    if ((step.index == 0 && !given_) || !continues(step)) known_ = 0;
    given_ = false;
    // The oldest drift makes room for the new one.
    for (std::size_t j = order - 1; j > 0; --j) {
      std::swap(drifts_[j], drifts_[j - 1]);
      times_[j] = times_[j - 1];
    }
    make_room(drifts_[0], x);
    system.drift(x, step.t, drifts_[0]);
    times_[0] = step.t;
    if (known_ < order - 1) {
      start_.step_from(system, x, step, drifts_[0]);
      ++known_;
    } else {
      const auto w = weights(step);
      if constexpr (order == 2) {
        detail::add_combination(x, {w[0], w[1]}, drifts_[0], drifts_[1]);
      } else if constexpr (order == 3) {
        detail::add_combination(x, {w[0], w[1], w[2]}, drifts_[0], drifts_[1], drifts_[2]);
      } else {
        detail::add_combination(x, {w[0], w[1], w[2], w[3]}, drifts_[0], drifts_[1], drifts_[2], drifts_[3]);
      }
    }
    end_ = step.t + step.dt;
  }

 private:
  /// The classical method from a drift that is known already.
  class Start : public ExplicitRungeKutta<S, tableaus::RungeKutta4> {
   public:
    template <class System>
    void step_from(const System& system, S& x, const Step& step, const S& first) {
      using Tableau = tableaus::RungeKutta4;
      auto& k = this->stages_;
      k[0] = first;
      this->later_stages(system, x, step);
      detail::add_combination(
          x, {Tableau::b[0] * step.dt, Tableau::b[1] * step.dt, Tableau::b[2] * step.dt, Tableau::b[3] * step.dt}, k[0],
          k[1], k[2], k[3]);
    }
  };

  /// Times of a grid are computed from the index, so that an end and the next start may differ in the last bits.
  [[nodiscard]] bool continues(const Step& step) const {
    return known_ > 0 && std::abs(step.t - end_) <= 1e-9 * std::abs(step.dt);
  }

  /// Integrals over the step of the polynomials that are 1 at one of the known times and 0 at the others: Gauss's
  /// two points are exact for their degree.
  [[nodiscard]] std::array<double, std::size_t{order}> weights(const Step& step) const {
    std::array<double, std::size_t{order}> w{};
    constexpr double reach = 0.57735026918962576451;  // 1 / sqrt(3)
    for (const double point : {0.5 * (1 - reach), 0.5 * (1 + reach)}) {
      const double t = point * step.dt;
      for (std::size_t j = 0; j < order; ++j) {
        double product = 0.5 * step.dt;
        for (std::size_t i = 0; i < order; ++i)
          if (i != j) product *= (t - (times_[i] - step.t)) / (times_[j] - times_[i]);
        w[j] += product;
      }
    }
    return w;
  }

  std::array<S, std::size_t{order}> drifts_{};
  std::array<double, std::size_t{order}> times_{};
  Start start_;
  int known_ = 0;  ///< drifts of earlier steps
  bool given_ = false;
  double end_ = 0;
};

}  // namespace easy_diffusion::sde
