/// \file
/// The reverse-time equation of a diffusion process and its probability-flow equation, from its score.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// A process whose drift is a(t) x + c(t) offers `linear_drift(t)`, which returns a(t), and, where c is not zero,
/// `drift_offset(t)`, which returns c(t).
template <class Process>
concept HasLinearDrift = requires(const Process& process, double t) {
  { process.linear_drift(t) } -> std::convertible_to<double>;
};

/// The gradient of log p(x, t) with respect to x.
/// | expression          | meaning                                                                    |
/// |---------------------|----------------------------------------------------------------------------|
/// | `score(x, t, out)`  | writes the score of every element to `out`, which has the extents of `x`   |
template <class Score, class S>
concept ScoreOf = State<S> && requires(const Score& score, const S& x, double t, S& out) {
  score(x, t, out);
};

namespace detail {

/// out <- f(x, t) + factor out, with f = a(t) x + c(t).
template <class Process, State S>
void add_process_drift(const Process& process, const S& x, double t, double factor, S& out) {
  if constexpr (sde::zero_drift<Process>) {
    update_elements([factor](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); }, out);
  } else {
    double offset = 0;
    if constexpr (requires { process.drift_offset(t); }) offset = process.drift_offset(t);
    update_elements(
        [factor, a = process.linear_drift(t), offset](auto& e, const auto& value) {
          using T = std::remove_reference_t<decltype(e)>;
          const T f = static_cast<T>(offset) + static_cast<T>(a) * value;
          e = f + static_cast<T>(factor) * e;
        },
        out, x);
  }
}

/// Refuses, with the reason, a process that cannot be reversed.
template <class Process>
consteval void expect_reversible() {
  static_assert(Process::noise_type == NoiseType::additive, "reverse: the process must have additive noise");
  static_assert(sde::zero_drift<Process> || HasLinearDrift<Process>,
                "reverse: the process needs zero_drift or linear_drift(t)");
}

}  // namespace detail

/// dx/dt = f(x, t) - g(t)^2/2 score(x, t): the ordinary equation whose solutions have the marginals of the process
/// \cite song_2021_score. It runs in both directions. For the exponential steppers it is a(t) x + b(x, t).
template <class Process, class Score>
class ProbabilityFlow {
 public:
  ProbabilityFlow(Process process, Score score) : process_(std::move(process)), score_(std::move(score)) {
    detail::expect_reversible<Process>();
  }

  [[nodiscard]] const Process& process() const noexcept { return process_; }
  [[nodiscard]] const Score& score() const noexcept { return score_; }

  template <State S>
  requires ScoreOf<Score, S>
  void drift(const S& x, double t, S& out) const {
    score_(x, t, out);
    detail::add_process_drift(process_, x, t, score_factor(t), out);
  }

  [[nodiscard]] double linear_drift(double t) const {
    if constexpr (sde::zero_drift<Process>) {
      return 0;
    } else {
      return process_.linear_drift(t);
    }
  }
  [[nodiscard]] double linear_integral(double t0, double t1) const requires requires(const Process& p) {
    p.linear_integral(0.0, 0.0);
  }
  { return process_.linear_integral(t0, t1); }

  template <State S>
  requires ScoreOf<Score, S>
  void nonlinear_drift(const S& x, double t, S& out) const {
    score_(x, t, out);
    double offset = 0;
    if constexpr (requires { process_.drift_offset(t); }) offset = process_.drift_offset(t);
    update_elements(
        [factor = score_factor(t), offset](auto& e) {
          using T = std::remove_reference_t<decltype(e)>;
          e = static_cast<T>(offset) + static_cast<T>(factor) * e;
        },
        out);
  }

  /// -g(t)^2 / 2, which the score is multiplied by.
  [[nodiscard]] double score_factor(double t) const {
    const double g = process_.diffusion(t);
    return -0.5 * g * g;
  }

 private:
  Process process_;
  Score score_;
};

/// dx = (f(x, t) - g(t)^2 score(x, t)) dt + g(t) dW for dt < 0 \cite anderson_1982_reverse
/// \cite song_2021_score. Its noise is additive. Time is that of the process and falls: integrate it on a grid from T
/// down to a small time.
template <class Process, class Score>
class Reverse {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;

  Reverse(Process process, Score score) : process_(std::move(process)), score_(std::move(score)) {
    detail::expect_reversible<Process>();
  }

  [[nodiscard]] const Process& process() const noexcept { return process_; }
  [[nodiscard]] const Score& score() const noexcept { return score_; }

  template <State S>
  requires ScoreOf<Score, S>
  void drift(const S& x, double t, S& out) const {
    score_(x, t, out);
    const double g = process_.diffusion(t);
    detail::add_process_drift(process_, x, t, -g * g, out);
  }

  [[nodiscard]] double diffusion(double t) const { return process_.diffusion(t); }

  /// The ordinary equation with the same marginals.
  [[nodiscard]] ProbabilityFlow<Process, Score> probability_flow() const { return {process_, score_}; }

 private:
  Process process_;
  Score score_;
};

/// The reverse-time equation of `process`.
/// \param score `score(x, t, out)`, const; a function object that changes while it works is passed by `std::ref`
template <class Process, class Score>
[[nodiscard]] auto reverse(Process process, Score score) {
  return Reverse<Process, Score>(std::move(process), std::move(score));
}

/// The probability-flow equation of `process`.
template <class Process, class Score>
[[nodiscard]] auto probability_flow(Process process, Score score) {
  return ProbabilityFlow<Process, Score>(std::move(process), std::move(score));
}

}  // namespace easy_diffusion::sde
