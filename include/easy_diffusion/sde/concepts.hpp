/// \file
/// The parts of an integration and what each must offer: systems, noise sources, steppers, observers.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// One step of a time grid: from `t` to `t + dt`, `dt` negative where time runs backwards.
struct Step {
  std::int64_t index = 0;  ///< counted from 0; part of the noise's address
  double t = 0;
  double dt = 0;
};

/// How the noise enters dx = f(x, t) dt + g dW.
enum class NoiseType {
  additive,  ///< g(t), one number for all elements; every element has a Brownian motion of its own
  diagonal,  ///< g_i(x_i, t), one number an element; every element has a Brownian motion of its own
  scalar,    ///< g(x, t), one number an element; one Brownian motion drives all of them
  general    ///< g(x, t) is a matrix: any number of Brownian motions, each moves every element
};

/// Which stochastic integral the equation means. With additive noise the two are the same.
enum class Calculus { ito, stratonovich };

/// The noise types that a stepper can integrate.
struct NoiseTypes {
  bool additive = false;
  bool diagonal = false;
  bool scalar = false;
  bool general = false;

  [[nodiscard]] constexpr bool contains(NoiseType type) const {
    switch (type) {
      case NoiseType::additive: return additive;
      case NoiseType::diagonal: return diagonal;
      case NoiseType::scalar: return scalar;
      case NoiseType::general: return general;
    }
    return false;
  }
};

/// What a stepper declares and a test measures. An order is 0 where the stepper does not integrate such noise.
struct StepperTraits {
  double strong_order = 0;           ///< on diagonal and on scalar noise
  double strong_order_additive = 0;  ///< on additive noise
  double strong_order_general = 0;   ///< on general noise, whose Brownian motions do not commute
  double weak_order = 0;
  Calculus calculus = Calculus::ito;
  NoiseTypes noise_types;
  int drift_evaluations = 0;      ///< a step
  int diffusion_evaluations = 0;  ///< a step
  bool uses_space_time = false;   ///< asks the noise for dZ beside dW
  double weak_order_linear = 0;   ///< on additive noise where the drift is linear, if that is above `weak_order`
};

/// What a stepper for ordinary equations declares and a test measures.
struct OdeTraits {
  double order = 0;
  int evaluations = 0;      ///< of the drift, a step (of a multistep method after its start)
  int history = 0;          ///< earlier steps that a step looks back on
  bool semilinear = false;  ///< integrates x' = a(t) x + b(x, t) and treats a(t) x exactly
};

/// Calculus that a system means; Ito where it does not say.
template <class System>
inline constexpr Calculus calculus_of = Calculus::ito;
template <class System>
requires requires {
  { System::calculus } -> std::convertible_to<Calculus>;
}
inline constexpr Calculus calculus_of<System> = System::calculus;

/// True where a system declares `static constexpr bool zero_drift = true`: steppers then leave the drift out.
template <class System>
inline constexpr bool zero_drift = false;
template <class System>
requires requires {
  { System::zero_drift } -> std::convertible_to<bool>;
}
inline constexpr bool zero_drift<System> = System::zero_drift;

namespace detail {

template <class System, class S>
concept HasDrift = requires(const System& system, const S& x, double t, S& out) {
  system.drift(x, t, out);
};

template <class System>
concept HasNumberDiffusion = requires(const System& system, double t) {
  { system.diffusion(t) } -> std::convertible_to<double>;
};

template <class System, class S>
concept HasStateDiffusion = requires(const System& system, const S& x, double t, S& out) {
  system.diffusion(x, t, out);
};

template <class System, class S>
concept HasMatrixDiffusion = requires {
  requires State<typename System::brownian_type>;
  requires fixed_extents<typename System::brownian_type>;
}
&&requires(const System& system, const S& x, double t, const typename System::brownian_type& dw, S& out) {
  system.diffusion(x, t, dw, out);
};

template <class System, class S>
constexpr bool has_diffusion() {
  if constexpr (System::noise_type == NoiseType::additive) {
    return HasNumberDiffusion<System>;
  } else if constexpr (System::noise_type == NoiseType::general) {
    return HasMatrixDiffusion<System, S>;
  } else {
    return HasStateDiffusion<System, S>;
  }
}

template <class System, class S>
struct BrownianOf {
  using type = S;
};
template <class System, class S>
requires(System::noise_type == NoiseType::scalar) struct BrownianOf<System, S> {
  using type = scalar_t<S>;
};
template <class System, class S>
requires(System::noise_type == NoiseType::general) struct BrownianOf<System, S> {
  using type = typename System::brownian_type;
};

}  // namespace detail

/// Type of the increment dW of a system: the state, where every element has a Brownian motion of its own; one number for
/// scalar noise; the system's `brownian_type` for general noise.
template <class System, class S>
using brownian_t = typename detail::BrownianOf<System, S>::type;

/// The equation dx = f(x, t) dt.
/// | expression                | meaning                                                                    |
/// |---------------------------|----------------------------------------------------------------------------|
/// | `system.drift(x, t, out)` | writes f(x, t) to `out`, which has the extents of `x`                       |
template <class System, class S>
concept OdeSystem = State<S> && detail::HasDrift<System, S>;

/// An ordinary equation whose drift is a(t) x + b(x, t), as a diffusion process's is: b holds the score.
/// | expression                          | meaning                                                          |
/// |-------------------------------------|------------------------------------------------------------------|
/// | `system.linear_drift(t)`            | a(t), a number                                                   |
/// | `system.nonlinear_drift(x, t, out)` | writes b(x, t) to `out`                                          |
/// | `system.linear_integral(t0, t1)`    | the integral of a from t0 to t1; may be left out, and is taken from the middle of the step then |
template <class System, class S>
concept SemilinearSystem = State<S> && requires(const System& system, const S& x, double t, S& out) {
  { system.linear_drift(t) } -> std::convertible_to<double>;
  system.nonlinear_drift(x, t, out);
};

/// The equation dx = f(x, t) dt + g dW.
/// | expression                     | meaning                                                              |
/// |--------------------------------|----------------------------------------------------------------------|
/// | `System::noise_type`           | a constant `NoiseType`                                               |
/// | `System::calculus`             | a constant `Calculus`; may be left out and is Ito then               |
/// | `System::zero_drift`           | a constant bool; may be left out and is false then                   |
/// | `system.drift(x, t, out)`      | writes f(x, t) to `out`, which has the extents of `x`; not asked for where `zero_drift` |
/// | `system.diffusion(t)`          | additive noise: g(t), a number                                       |
/// | `system.diffusion(x, t, out)`  | diagonal, scalar noise: writes g(x, t), element by element           |
/// | `System::brownian_type`        | general noise: the type of dW, a number or `std::array`               |
/// | `system.diffusion(x, t, dw, out)` | general noise: writes g(x, t) dw, the matrix times the increment   |
template <class System, class S>
concept SdeSystem = State<S> && requires {
  { System::noise_type } -> std::convertible_to<NoiseType>;
} &&(zero_drift<System> || detail::HasDrift<System, S>)&&detail::has_diffusion<System, S>();

/// Brownian increments on demand. What it gives is a function of the step, whoever asks and how often.
/// | expression                       | meaning                                                              |
/// |----------------------------------|----------------------------------------------------------------------|
/// | `noise.increment(step, dw)`      | dW = W(t + dt) - W(t), variance abs(dt), one for every element of `dw` |
/// | `noise.increment(step, dw, dz)`  | dZ too: the integral of W(u) - W(t) du from t to t + dt               |
///
/// W(t + dt) - W(t) is counted in the direction of travel: it has variance abs(dt) also where dt < 0, and steppers
/// add g dW for either sign. du has the sign of dt, so dZ = dt/2 (dW + sqrt(abs(dt)/3) xi), with xi a second
/// standard deviate: variance abs(dt)^3/3, covariance with dW dt abs(dt)/2. Formulas of steppers then hold as they are
/// written for dt of either sign.
template <class Noise, class S>
concept NoiseSource = State<S> && requires(Noise& noise, const Step& step, S& dw, S& dz) {
  noise.increment(step, dw);
  noise.increment(step, dw, dz);
};

/// A one-step method. It keeps its work states, so that it allocates at its first step only.
/// | expression                              | meaning                                        |
/// |-----------------------------------------|------------------------------------------------|
/// | `Stepper::traits`                       | a constant `StepperTraits`                     |
/// | `typename Stepper::state_type`          | the state                                      |
/// | `stepper.step(system, x, step, noise)`  | moves `x` from `step.t` to `step.t + step.dt`   |
template <class Stepper, class System, class Noise>
concept SdeStepper = requires(Stepper& stepper, const System& system, typename Stepper::state_type& x, const Step& step,
                              Noise& noise) {
  { Stepper::traits } -> std::convertible_to<StepperTraits>;
  stepper.step(system, x, step, noise);
};

/// A method for ordinary equations. One that looks back on earlier steps starts anew at step 0, and where a step does
/// not begin where the last one ended.
/// | expression                       | meaning                                          |
/// |----------------------------------|--------------------------------------------------|
/// | `Stepper::traits`                | a constant `OdeTraits`                           |
/// | `typename Stepper::state_type`   | the state                                        |
/// | `stepper.step(system, x, step)`  | moves `x` from `step.t` to `step.t + step.dt`    |
template <class Stepper, class System>
concept OdeStepper =
    requires(Stepper& stepper, const System& system, typename Stepper::state_type& x, const Step& step) {
  requires std::is_same_v<std::remove_cvref_t<decltype(Stepper::traits)>, OdeTraits>;
  stepper.step(system, x, step);
};

/// True for steppers of ordinary equations.
template <class Stepper>
inline constexpr bool is_ode_stepper = std::is_same_v<std::remove_cvref_t<decltype(Stepper::traits)>, OdeTraits>;

/// Whether an integration goes on.
enum class Flow { go_on, stop };

/// Looks at the state at the start (`step` 0) and after every step.
/// | expression              | meaning                                                                         |
/// |-------------------------|---------------------------------------------------------------------------------|
/// | `observer(step, t, x)`  | `step` is the number of steps made; returns nothing, or a `Flow`                 |
template <class Observer, class S>
concept ObserverOf = requires(Observer& observer, std::int64_t step, double t, const S& x) {
  observer(step, t, x);
  requires std::is_void_v<decltype(observer(step, t, x))> || std::is_same_v<decltype(observer(step, t, x)), Flow>;
};

/// Refuses, at compile time and with the reason, a system that a stepper cannot integrate.
template <class Stepper, class System>
consteval void expect_fit() {
  using S = typename Stepper::state_type;
  static_assert(State<S>, "stepper: the state is neither number, array, tensor nor has a for_each_element of its own");
  if constexpr (requires {
                  { System::noise_type } -> std::convertible_to<NoiseType>;
                }) {
    static_assert(
        Stepper::traits.noise_types.contains(System::noise_type),
        "stepper: this method cannot integrate the noise type of the system (see Stepper::traits.noise_types)");
    static_assert(System::noise_type == NoiseType::additive || Stepper::traits.calculus == calculus_of<System>,
                  "stepper: the method and the system mean different calculi (Ito, Stratonovich)");
    if constexpr (Stepper::traits.noise_types.contains(System::noise_type)) {
      static_assert(zero_drift<System> || detail::HasDrift<System, S>,
                    "stepper: the system has no drift(x, t, out) const for this state");
      static_assert(System::noise_type != NoiseType::additive || detail::HasNumberDiffusion<System>,
                    "stepper: the system declares additive noise and has no diffusion(t) const");
      static_assert(System::noise_type == NoiseType::additive || System::noise_type == NoiseType::general ||
                        detail::HasStateDiffusion<System, S>,
                    "stepper: the system's noise is not additive and it has no diffusion(x, t, out) const");
      static_assert(System::noise_type != NoiseType::general || detail::HasMatrixDiffusion<System, S>,
                    "stepper: the system declares general noise: it needs a brownian_type (a number or std::array) "
                    "and diffusion(x, t, dw, out) const");
    }
  } else {
    static_assert(std::is_void_v<System>, "stepper: the system declares no static constexpr NoiseType noise_type");
  }
}

/// Refuses, at compile time and with the reason, a system that a stepper of ordinary equations cannot integrate.
template <class Stepper, class System>
consteval void expect_ode_fit() {
  using S = typename Stepper::state_type;
  static_assert(State<S>, "stepper: the state is neither number, array, tensor nor has a for_each_element of its own");
  static_assert(!requires { System::noise_type; },
                "stepper: the system has noise, which a stepper of ordinary equations would leave out (see "
                "probability_flow for the ordinary equation of a diffusion process)");
  if constexpr (Stepper::traits.semilinear) {
    static_assert(SemilinearSystem<System, S>,
                  "stepper: the system has no linear_drift(t) const and nonlinear_drift(x, t, out) const for this "
                  "state");
  } else {
    static_assert(OdeSystem<System, S>, "stepper: the system has no drift(x, t, out) const for this state");
  }
}

}  // namespace easy_diffusion::sde
