/// \file
/// Roessler's stochastic Runge-Kutta methods of strong order 1.5: for additive noise (SRA) and for diagonal or scalar
/// noise (SRI), each family one class with a tableau for each method.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/detail/increments.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Coefficients of \cite roessler_2010_strong, checked against those of torchsde and StochasticDiffEq.jl. What is zero
/// costs nothing.
namespace tableaus {

struct Sra1 {
  static constexpr std::size_t stages = 2;
  using Row = std::array<double, stages>;
  static constexpr Row c0{0, 3.0 / 4}, c1{1, 0}, alpha{1.0 / 3, 2.0 / 3}, beta1{1, 0}, beta2{-1, 1};
  static constexpr std::array<Row, stages> a0{{{}, {3.0 / 4}}}, b0{{{}, {3.0 / 2}}};
};

struct Sra3 {
  static constexpr std::size_t stages = 3;
  using Row = std::array<double, stages>;
  static constexpr Row c0{0, 1, 1.0 / 2}, c1{1, 0, 0}, alpha{1.0 / 6, 1.0 / 6, 2.0 / 3}, beta1{1, 0, 0},
      beta2{-1, 1, 0};
  static constexpr std::array<Row, stages> a0{{{}, {1}, {1.0 / 4, 1.0 / 4}}}, b0{{{}, {}, {1, 1.0 / 2}}};
};

// The drift of the third and fourth stage of SRI1W1 would be that of the first: it is taken from there.
struct Sri1W1 {
  static constexpr std::size_t stages = 4;
  static constexpr std::size_t drifts = 2;
  using Row = std::array<double, stages>;
  static constexpr Row c0{0, 3.0 / 4, 0, 0}, c1{0, 1.0 / 4, 1, 1.0 / 4};
  static constexpr Row alpha{1.0 / 3, 2.0 / 3, 0, 0}, beta1{-1, 4.0 / 3, 2.0 / 3, 0}, beta2{-1, 4.0 / 3, -1.0 / 3, 0},
      beta3{2, -4.0 / 3, -2.0 / 3, 0}, beta4{-2, 5.0 / 3, -2.0 / 3, 1};
  static constexpr std::array<Row, stages> a0{{{}, {3.0 / 4}, {}, {}}}, a1{{{}, {1.0 / 4}, {1}, {1.0 / 4}}};
  static constexpr std::array<Row, stages> b0{{{}, {3.0 / 2}, {}, {}}}, b1{{{}, {1.0 / 2}, {-1}, {-5, 3, 1.0 / 2}}};
};

struct Sri2W1 {
  static constexpr std::size_t stages = 4;
  static constexpr std::size_t drifts = 3;
  using Row = std::array<double, stages>;
  static constexpr Row c0{0, 1, 1.0 / 2, 0}, c1{0, 1.0 / 4, 1, 1.0 / 4};
  static constexpr Row alpha{1.0 / 6, 1.0 / 6, 2.0 / 3, 0}, beta1{-1, 4.0 / 3, 2.0 / 3, 0},
      beta2{1, -4.0 / 3, 1.0 / 3, 0}, beta3{2, -4.0 / 3, -2.0 / 3, 0}, beta4{-2, 5.0 / 3, -2.0 / 3, 1};
  static constexpr std::array<Row, stages> a0{{{}, {1}, {1.0 / 4, 1.0 / 4}, {}}};
  static constexpr std::array<Row, stages> a1{{{}, {1.0 / 4}, {1}, {0, 0, 1.0 / 4}}};
  static constexpr std::array<Row, stages> b0{{{}, {}, {1, 1.0 / 2}, {}}};
  static constexpr std::array<Row, stages> b1{{{}, {-1.0 / 2}, {1}, {2, -1, 1.0 / 2}}};
};

}  // namespace tableaus

/// The SRA method of a tableau \cite roessler_2010_strong: additive noise, strong order 1.5, weak order 2. It asks the noise
/// for dZ.
template <State S, class Tableau>
class StochasticRungeKuttaAdditive {
  static constexpr std::size_t n = Tableau::stages;

 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 0,
                                        .strong_order_additive = 1.5,
                                        .weak_order = 2.0,
                                        .calculus = Calculus::ito,
                                        .noise_types = {.additive = true},
                                        .drift_evaluations = static_cast<int>(n),
                                        .diffusion_evaluations = static_cast<int>(n),
                                        .uses_space_time = true};
  static constexpr double error_order = 1;  ///< of the Euler-Maruyama step that `attempt` compares with

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    const Weights w = evaluate(system, x, step, noise);
    finish(x, step, w, std::make_index_sequence<n>{});
  }

  /// Tries a step from `x`, which it leaves as it is.
  /// \param[out] next  x(t + dt)
  /// \param[out] error its difference from the Euler-Maruyama step
  template <class System, class Noise>
  void attempt(const System& system, const S& x, const Step& step, Noise&& noise, S& next, S& error) {
    const Weights w = evaluate(system, x, step, noise);
    make_room(next, x);
    make_room(error, x);
    next = x;
    finish(next, step, w, std::make_index_sequence<n>{});
    detail::combine(error, next, {-1.0, -step.dt, -system.diffusion(step.t)}, x, drifts_[0], dw_);
  }

 private:
  struct Weights {
    double of_dw = 0, of_dz = 0;
  };
  template <std::size_t i>
  struct A0 {
    static constexpr auto c = Tableau::a0[i];
  };

  template <class System, class Noise>
  Weights evaluate(const System& system, const S& x, const Step& step, Noise& noise) {
    expect_fit<StochasticRungeKuttaAdditive, System>();
    make_room(dw_, x);
    make_room(dz_, x);
    make_room(work_, x);
    noise.increment(step, dw_, dz_);
    std::array<double, n> g{};
    Weights total;
    for (std::size_t i = 0; i < n; ++i) {
      g[i] = system.diffusion(step.t + Tableau::c1[i] * step.dt);
      total.of_dw += Tableau::beta1[i] * g[i];
      total.of_dz += Tableau::beta2[i] * g[i] / step.dt;
    }
    detail::unrolled<n>([&](auto i) {
      make_room(drifts_[i], x);
      double of_dz = 0;
      for (std::size_t j = 0; j < i; ++j) of_dz += Tableau::b0[i][j] * g[j] / step.dt;
      if constexpr (i == 0) {
        detail::drift_or_zero(system, x, step.t, drifts_[0]);
      } else {
        detail::with_places_in_use<A0<i>>([&](auto... j) {
          detail::combine(work_, x, {of_dz, Tableau::a0[i][j] * step.dt...}, dz_, drifts_[j]...);
        });
        detail::drift_or_zero(system, work_, step.t + Tableau::c0[i] * step.dt, drifts_[i]);
      }
    });
    return total;
  }

  template <std::size_t... i>
  void finish(S& x, const Step& step, const Weights& w, std::index_sequence<i...>) {
    // The noise first: the last drift is what a processor waits for.
    detail::add_combination(x, {w.of_dw, w.of_dz, Tableau::alpha[i] * step.dt...}, dw_, dz_, drifts_[i]...);
  }

  std::array<S, n> drifts_{};
  S work_{}, dw_{}, dz_{};
};

/// The SRI method of a tableau \cite roessler_2010_strong: Ito equations with additive, diagonal or scalar noise, strong
/// order 1.5. Its weak order is 1.5 too: a method's strong order bounds it from below, and the stages' steps of sqrt(dt),
/// which no deviate multiplies, leave a term of dt^2.5 in the variance of a step. For some equations means converge faster.
/// It asks the noise for dZ.
template <State S, class Tableau>
class StochasticRungeKuttaDiagonal {
  static constexpr std::size_t n = Tableau::stages;
  static constexpr std::size_t m = Tableau::drifts;

 public:
  using state_type = S;
  static constexpr StepperTraits traits{.strong_order = 1.5,
                                        .strong_order_additive = 1.5,
                                        .weak_order = 1.5,
                                        .calculus = Calculus::ito,
                                        .noise_types = {.additive = true, .diagonal = true, .scalar = true},
                                        .drift_evaluations = static_cast<int>(m),
                                        .diffusion_evaluations = static_cast<int>(n),
                                        .uses_space_time = true};
  static constexpr double error_order = 1;  ///< of the solution that `attempt` compares with

  /// \throw whatever the system or the noise throws; `x` is untouched then
  template <class System, class Noise>
  void step(const System& system, S& x, const Step& step, Noise&& noise) {
    run(system, x, step, noise, [&](const auto& dw, const auto& dz) {
      add_drifts(x, step, std::make_index_sequence<m>{});
      detail::update_with_noises(NoisePart<true>{step.dt, is_no_noise<Noise>}, x, dw, dz, diffusions_[0], diffusions_[1],
                                 diffusions_[2], diffusions_[3]);
    });
  }

  /// Tries a step from `x`, which it leaves as it is.
  /// \param[out] next  x(t + dt)
  /// \param[out] error what the terms of order 1.5 contribute \cite rackauckas_2017_adaptive
  template <class System, class Noise>
  void attempt(const System& system, const S& x, const Step& step, Noise&& noise, S& next, S& error) {
    make_room(next, x);
    make_room(error, x);
    run(system, x, step, noise, [&](const auto& dw, const auto& dz) {
      next = x;
      add_drifts(next, step, std::make_index_sequence<m>{});
      detail::combine(error, next, {-1.0, -step.dt}, x, drifts_[0]);
      detail::update_with_noises(NoisePart<true>{step.dt, false}, next, dw, dz, diffusions_[0], diffusions_[1],
                                 diffusions_[2], diffusions_[3]);
      detail::update_with_noises(NoisePart<false>{step.dt, false}, error, dw, dz, diffusions_[0], diffusions_[1],
                                 diffusions_[2], diffusions_[3]);
    });
  }

 private:
  static_assert(n == 4, "StochasticRungeKuttaDiagonal: written for four stages");

  template <std::size_t i>
  struct A0 {
    static constexpr auto c = Tableau::a0[i];
  };
  template <std::size_t i>
  struct A1 {
    static constexpr auto c = Tableau::a1[i];
  };
  template <std::size_t i>
  struct B0 {
    static constexpr auto c = Tableau::b0[i];
  };
  template <std::size_t i>
  struct B1 {
    static constexpr auto c = Tableau::b1[i];
  };

  /// Adds the stages' noise: all of it, or what makes the difference between order 1 and 1.5.
  template <bool all>
  struct NoisePart {
    double dt;
    bool still;  ///< the mean of the step: the iterated integrals of the noise are zero too

    template <class T>
    void operator()(T& e, const T& w, const T& z, const T& g0, const T& g1, const T& g2, const T& g3) const {
      if (still) return;
      const T h = static_cast<T>(std::abs(dt));
      const T ww = w * w;
      const T two = static_cast<T>(0.5) * (ww - h) / std::sqrt(h);  // I_(1,1) / sqrt(h)
      const T space_time = z / static_cast<T>(dt);                  // I_(1,0) / h
      const T three = w * (ww - static_cast<T>(3) * h) / (static_cast<T>(6) * h);  // I_(1,1,1) / h
      T sum = e;
      sum = detail::multiply_add(weight<0>(w, two, space_time, three), g0, sum);
      sum = detail::multiply_add(weight<1>(w, two, space_time, three), g1, sum);
      sum = detail::multiply_add(weight<2>(w, two, space_time, three), g2, sum);
      e = detail::multiply_add(weight<3>(w, two, space_time, three), g3, sum);
    }

   private:
    template <std::size_t i, class T>
    static T weight(T w, T two, T space_time, T three) {
      T sum = 0;
      if constexpr (all) {
        sum = detail::multiply_add(static_cast<T>(Tableau::beta1[i]), w, sum);
        sum = detail::multiply_add(static_cast<T>(Tableau::beta2[i]), two, sum);
      }
      sum = detail::multiply_add(static_cast<T>(Tableau::beta3[i]), space_time, sum);
      return detail::multiply_add(static_cast<T>(Tableau::beta4[i]), three, sum);
    }
  };

  /// x += sum_j c_j scale z g_j, z one number an element.
  template <std::size_t k>
  struct AddNoise {
    std::array<double, k> c;
    template <class T, class... G>
    void operator()(T& e, const T& z, const G&... g) const {
      T sum = 0;
      std::size_t j = 0;
      ((sum = detail::multiply_add(static_cast<T>(c[j++]), g, sum)), ...);
      e = detail::multiply_add(z, sum, e);
    }
  };

  template <class System, class Noise, class Finish>
  void run(const System& system, const S& x, const Step& step, Noise& noise, Finish&& finish) {
    expect_fit<StochasticRungeKuttaDiagonal, System>();
    make_room(work_, x);
    const double root = std::sqrt(std::abs(step.dt));
    detail::with_increments<System>(dw_, dz_, x, step, noise, [&](const auto& dw, const auto& dz) {
      detail::unrolled<n>([&](auto i) {
        if constexpr (i < m) {
          make_room(drifts_[i], x);
          if constexpr (i == 0) {
            detail::drift_or_zero(system, x, step.t, drifts_[0]);
          } else {
            detail::with_places_in_use<A0<i>>(
                [&](auto... j) { detail::combine(work_, x, {Tableau::a0[i][j] * step.dt...}, drifts_[j]...); });
            detail::with_places_in_use<B0<i>>([&](auto... j) {
              if constexpr (sizeof...(j) > 0)
                detail::update_with_noise(AddNoise<sizeof...(j)>{{Tableau::b0[i][j] / step.dt...}}, work_, dz,
                                          diffusions_[j]...);
            });
            detail::drift_or_zero(system, work_, step.t + Tableau::c0[i] * step.dt, drifts_[i]);
          }
        }
        make_room(diffusions_[i], x);
        if constexpr (i == 0) {
          detail::diffusion_of(system, x, step.t, diffusions_[0]);
        } else {
          detail::with_places_in_use<A1<i>>(
              [&](auto... j) { detail::combine(work_, x, {Tableau::a1[i][j] * step.dt...}, drifts_[j]...); });
          detail::with_places_in_use<B1<i>>([&](auto... j) {
            detail::add_combination(work_, {Tableau::b1[i][j] * root...}, diffusions_[j]...);
          });
          detail::diffusion_of(system, work_, step.t + Tableau::c1[i] * step.dt, diffusions_[i]);
        }
      });
      finish(dw, dz);
    });
  }

  template <std::size_t... i>
  void add_drifts(S& x, const Step& step, std::index_sequence<i...>) {
    detail::add_combination(x, {Tableau::alpha[i] * step.dt...}, drifts_[i]...);
  }

  std::array<S, m> drifts_{};
  std::array<S, n> diffusions_{};
  S work_{}, dw_{}, dz_{};
};

/// Additive noise, two evaluations of the drift; deterministic order 2.
template <State S>
using Sra1 = StochasticRungeKuttaAdditive<S, tableaus::Sra1>;
/// Additive noise, three evaluations of the drift; deterministic order 3.
template <State S>
using Sra3 = StochasticRungeKuttaAdditive<S, tableaus::Sra3>;
/// Diagonal or scalar noise, two evaluations of the drift and four of the noise; deterministic order 2.
template <State S>
using Sri1W1 = StochasticRungeKuttaDiagonal<S, tableaus::Sri1W1>;
/// Diagonal or scalar noise, three evaluations of the drift and four of the noise; deterministic order 3.
template <State S>
using Sri2W1 = StochasticRungeKuttaDiagonal<S, tableaus::Sri2W1>;

}  // namespace easy_diffusion::sde
