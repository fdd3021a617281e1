/// \file
/// The reverse-time equation of a diffusion process, from its score.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// A process whose drift is a(t) x offers `linear_drift(t)`, which returns a(t).
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

/// dx = (f(x, t) - g(t)^2 score(x, t)) dt + g(t) dW for dt < 0 \cite anderson_1982_reverse
/// \cite song_2021_score. Its noise is additive. Time is that of the process and falls: integrate it on a grid from T
/// down to a small time.
template <class Process, class Score>
class Reverse {
 public:
  static constexpr NoiseType noise_type = NoiseType::additive;
  static_assert(Process::noise_type == NoiseType::additive, "reverse: the process must have additive noise");
  static_assert(sde::zero_drift<Process> || HasLinearDrift<Process>,
                "reverse: the process needs zero_drift or linear_drift(t)");

  Reverse(Process process, Score score) : process_(std::move(process)), score_(std::move(score)) {}

  [[nodiscard]] const Process& process() const noexcept { return process_; }

  template <State S>
  requires ScoreOf<Score, S>
  void drift(const S& x, double t, S& out) const {
    score_(x, t, out);
    const double g = process_.diffusion(t);
    const double factor = -g * g;
    if constexpr (sde::zero_drift<Process>) {
      update_elements([factor](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); }, out);
    } else {
      update_elements(
          [factor, a = process_.linear_drift(t)](auto& e, const auto& value) {
            using T = std::remove_reference_t<decltype(e)>;
            const T f = static_cast<T>(a) * value;
            e = f + static_cast<T>(factor) * e;
          },
          out, x);
    }
  }

  [[nodiscard]] double diffusion(double t) const { return process_.diffusion(t); }

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

}  // namespace easy_diffusion::sde
