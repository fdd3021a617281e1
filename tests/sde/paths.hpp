/// \file
/// Strong and weak errors of SDE steppers: all step sizes on one refined Brownian path.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"

#include "sde/orders.hpp"

namespace easy_diffusion::tests {

/// dx = (b / sqrt(1 + t) - x / (2 (1 + t))) dt + a b / sqrt(1 + t) dW, for which
/// x(t) = (x0 + b (t + a W(t))) / sqrt(1 + t).
struct Additive {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  static constexpr double a = 2, b = 0.5;
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::update_elements([t](const auto& e, auto& f) { f = b / std::sqrt(1 + t) - e / (2 * (1 + t)); }, x, out);
  }
  double diffusion(double t) const { return a * b / std::sqrt(1 + t); }
  static double exact(double x0, double t, double w) { return (x0 + b * (t + a * w)) / std::sqrt(1 + t); }
};

/// A drift that is not linear, whose solution no formula gives: a linear drift hides what separates order 1.5 from 2.
struct AdditiveNonlinear {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& f) { f = std::sin(3 * e); }, x, out);
  }
  double diffusion(double t) const { return 1 / (1 + 0.5 * t); }
};

/// x(t) = sinh(t / 4 + W(t) + arsinh x0) solves dx = sqrt(1 + x^2) (dt / 4 + dW) in Stratonovich's sense; Ito's has the drift
/// x / 2 more. Drift and noise are not linear.
template <sde::Calculus which, sde::NoiseType type>
struct HyperbolicSine {
  static constexpr sde::NoiseType noise_type = type;
  static constexpr sde::Calculus calculus = which;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    [[maybe_unused]] constexpr double correction = which == sde::Calculus::ito ? 0.5 : 0.0;
    sde::update_elements([](const auto& e, auto& f) { f = correction * e + 0.25 * std::sqrt(1 + e * e); }, x, out);
  }
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& g) { g = std::sqrt(1 + e * e); }, x, out);
  }
  template <sde::State S>
  void diffusion_slope(const S& x, double, S& out) const {
    out = x;
  }
  static double exact(double x0, double t, double w) { return std::sinh(0.25 * t + w + std::asinh(x0)); }
};

template <class Problem>
concept HasExact = requires {
  Problem::exact(0.0, 0.0, 0.0);
};

/// Error of x and, for the weak orders, of its mean and of that of tanh x: functions whose means exist and differ.
struct Comparison {
  sde::Moments strong, mean, bounded;
  void add(double x, double exact) {
    strong.merge({1, std::abs(x - exact), 0});
    mean.merge({1, x - exact, 0});
    bounded.merge({1, std::tanh(x) - std::tanh(exact), 0});
  }
};

/// All levels on the path of the finest. Elements of the state, and `samples` runs of it, are independent samples.
/// \param beyond without an exact solution: levels between the last and the reference, which the same stepper makes
template <class Stepper, class Problem>
std::vector<Comparison> compare(const typename Stepper::state_type& shape, int first, int last, std::int64_t samples,
                                double end, int beyond = 3) {
  using S = typename Stepper::state_type;
  const std::int64_t finest = std::int64_t{1} << (HasExact<Problem> ? last : last + beyond);
  std::vector<Comparison> result(static_cast<std::size_t>(last - first + 1));
  S x0 = shape;
  sde::fill(x0, 0.5);
  S goal = x0, x = x0, w = x0;
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    const sde::BrownianNoise path{.seed = 2024,
                                  .first_element = static_cast<std::uint64_t>(sample * sde::element_count(x0))};
    const auto run = [&](std::int64_t steps, S& state) {
      sde::CoarseNoise<sde::BrownianNoise, S> noise(path, finest / steps);
      sde::integrate(Stepper{}, Problem{}, state, sde::TimeGrid::uniform(0, end, steps), noise);
    };
    goal = x0;
    if constexpr (HasExact<Problem>) {
      // One Brownian motion for all elements where the noise is scalar.
      if constexpr (Problem::noise_type == sde::NoiseType::scalar) {
        double common = 0;
        sde::CoarseNoise<sde::BrownianNoise, double>(path, finest).increment({0, 0, end}, common);
        sde::fill(w, common);
      } else {
        sde::CoarseNoise<sde::BrownianNoise, S>(path, finest).increment({0, 0, end}, w);
      }
      sde::for_each_element([end](auto& e, const auto& b) { e = Problem::exact(e, end, b); }, goal, w);
    } else {
      run(finest, goal);
    }
    for (int level = first; level <= last; ++level) {
      x = x0;
      run(std::int64_t{1} << level, x);
      Comparison& c = result[static_cast<std::size_t>(level - first)];
      sde::for_each_element([&c](const auto& a, const auto& b) { c.add(a, b); }, x, goal);
    }
  }
  return result;
}

/// The errors of one quantity of `compare`.
inline std::vector<ErrorAt> errors_of(const std::vector<Comparison>& all, sde::Moments Comparison::*which, int first,
                                      double end) {
  std::vector<ErrorAt> result;
  int level = first;
  for (const Comparison& c : all) {
    const sde::Moments& m = c.*which;
    result.push_back({std::ldexp(end, -level), std::abs(m.mean),
                      std::sqrt(m.variance() / static_cast<double>(m.count))});
    ++level;
  }
  return result;
}

template <class Stepper, class Problem>
std::vector<ErrorAt> strong_errors(const typename Stepper::state_type& shape, int first, int last,
                                   std::int64_t samples = 1, double end = 1) {
  return errors_of(compare<Stepper, Problem>(shape, first, last, samples, end), &Comparison::strong, first, end);
}

/// The declared strong order where one Brownian motion drives all elements, on a number, an array, a tensor.
template <template <class> class Stepper, class Problem>
void check_strong_scalar(double declared, std::int64_t samples = 1200) {
  check_order(strong_errors<Stepper<double>, Problem>(0.0, 4, 8, samples), declared);
  check_order(strong_errors<Stepper<std::array<double, 2>>, Problem>({}, 4, 8, samples), declared);
  check_order(strong_errors<Stepper<Tensor<double>>, Problem>(Tensor<double>({2}), 4, 8, samples), declared);
}

/// The declared strong order, on a number, an array, a tensor.
template <template <class> class Stepper, class Problem>
void check_strong(double declared, int first = 4, int last = 9) {
  // Single paths with additive noise scatter less, and cost more: their reference has finer steps.
  constexpr std::int64_t alone = HasExact<Problem> ? 1600 : 400;
  check_order(strong_errors<Stepper<double>, Problem>(0.0, first, first + 4, alone), declared);
  check_order(strong_errors<Stepper<std::array<double, 500>>, Problem>({}, first, last, 3), declared);
  check_order(strong_errors<Stepper<Tensor<double>>, Problem>(Tensor<double>({2000}), first, last), declared);
}

}  // namespace easy_diffusion::tests
