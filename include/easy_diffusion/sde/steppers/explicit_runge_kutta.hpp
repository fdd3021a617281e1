/// \file
/// Explicit Runge-Kutta methods for ordinary equations: one class, a tableau for each method.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Coefficients of explicit Runge-Kutta methods. A tableau has `order`; the times c, the weights b, and the rows of a, one
/// for each of its `stages`; what is zero costs nothing.
namespace tableaus {

/// \cite hairer_1993_nonstiff (section I.7)
struct Euler {
  static constexpr std::size_t stages = 1;
  static constexpr double order = 1;
  static constexpr std::array<double, 1> c{0}, b{1};
  static constexpr std::array<std::array<double, 1>, 1> a{{{0}}};
};

/// The trapezoidal rule on an Euler step \cite hairer_1993_nonstiff (section II.1).
struct Heun {
  static constexpr std::size_t stages = 2;
  static constexpr double order = 2;
  static constexpr std::array<double, 2> c{0, 1}, b{0.5, 0.5};
  static constexpr std::array<std::array<double, 2>, 2> a{{{0, 0}, {1, 0}}};
};

/// Runge's method \cite hairer_1993_nonstiff (section II.1).
struct Midpoint {
  static constexpr std::size_t stages = 2;
  static constexpr double order = 2;
  static constexpr std::array<double, 2> c{0, 0.5}, b{0, 1};
  static constexpr std::array<std::array<double, 2>, 2> a{{{0, 0}, {0.5, 0}}};
};

/// Kutta's classical method \cite hairer_1993_nonstiff (table II.1.2).
struct RungeKutta4 {
  static constexpr std::size_t stages = 4;
  static constexpr double order = 4;
  static constexpr std::array<double, 4> c{0, 0.5, 0.5, 1}, b{1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6};
  static constexpr std::array<std::array<double, 4>, 4> a{{{}, {0.5}, {0, 0.5}, {0, 0, 1}}};
};

/// The fifth-order weights of Dormand and Prince \cite dormand_1980_family; their last stage belongs to the next step.
struct DormandPrince5 {
  static constexpr std::size_t stages = 6;
  static constexpr double order = 5;
  static constexpr std::array<double, 6> c{0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1};
  static constexpr std::array<double, 6> b{35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84};
  static constexpr std::array<std::array<double, 6>, 6> a{
      {{},
       {1.0 / 5},
       {3.0 / 40, 9.0 / 40},
       {44.0 / 45, -56.0 / 15, 32.0 / 9},
       {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
       {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656}}};
};

}  // namespace tableaus

/// The explicit Runge-Kutta method of a tableau. Keeps its stages, so that it allocates at its first step only.
template <State S, class Tableau>
class ExplicitRungeKutta {
 public:
  using state_type = S;
  static constexpr OdeTraits traits{.order = Tableau::order, .evaluations = static_cast<int>(Tableau::stages)};

  /// \throw whatever the system throws; `x` is untouched then
  template <class System>
  void step(const System& system, S& x, const Step& step) {
    expect_ode_fit<ExplicitRungeKutta, System>();
    make_room(stages_[0], x);
    system.drift(x, step.t, stages_[0]);
    later_stages(system, x, step);
    detail::with_places_in_use<Weights>([&](auto... j) {
      detail::add_combination(x, {Tableau::b[j] * step.dt...}, stages_[j]...);
    });
  }

 protected:
  struct Weights {
    static constexpr auto c = Tableau::b;
  };
  template <std::size_t i>
  struct Row {
    static constexpr auto c = Tableau::a[i];
  };

  /// All stages but the first, which stands in `stages_[0]`.
  template <class System>
  void later_stages(const System& system, const S& x, const Step& step) {
    detail::unrolled<Tableau::stages>([&](auto i) {
      if constexpr (i > 0) {
        make_room(stages_[i], x);
        make_room(work_, x);
        detail::with_places_in_use<Row<i>>([&](auto... j) {
          detail::combine(work_, x, {Tableau::a[i][j] * step.dt...}, stages_[j]...);
        });
        system.drift(work_, step.t + Tableau::c[i] * step.dt, stages_[i]);
      }
    });
  }

  std::array<S, Tableau::stages> stages_{};
  S work_{};
};

/// x <- x + f dt; order 1.
template <State S>
using Euler = ExplicitRungeKutta<S, tableaus::Euler>;
/// Order 2, two evaluations.
template <State S>
using Heun = ExplicitRungeKutta<S, tableaus::Heun>;
/// Order 2, two evaluations.
template <State S>
using Midpoint = ExplicitRungeKutta<S, tableaus::Midpoint>;
/// Order 4, four evaluations.
template <State S>
using RungeKutta4 = ExplicitRungeKutta<S, tableaus::RungeKutta4>;

}  // namespace easy_diffusion::sde
