/// Weak orders: the error of a mean, without any randomness where that can be had: means over the increments of a
/// step are quadratures.

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/paths.hpp"

namespace sde = easy_diffusion::sde;
using namespace easy_diffusion::tests;
using sde::Calculus;
using sde::NoiseType;

namespace {

/// dx = a x dt + b x dW, in either calculus. A step multiplies x by a random factor, so that all means are powers.
template <Calculus which>
struct Linear {
  static constexpr NoiseType noise_type = NoiseType::diagonal;
  static constexpr Calculus calculus = which;
  static constexpr double a = 0.75, b = 0.7;
  void drift(const double& x, double, double& out) const { out = a * x; }
  void diffusion(const double& x, double, double& out) const { out = b * x; }
  void diffusion_slope(const double& x, double, double& out) const { out = b * b * x; }
  /// Mean of x(1)^k from x(0) = 1.
  static double mean(int k) {
    const double drift = which == Calculus::ito ? a - 0.5 * b * b : a;
    return std::exp(k * drift + 0.5 * k * k * b * b);
  }
};

struct Relaxing {
  static constexpr NoiseType noise_type = NoiseType::additive;
  void drift(const double& x, double, double& out) const { out = -x; }
  double diffusion(double) const { return 1; }
};

/// Gauss-Hermite's five points: exact for polynomials of a normal deviate up to degree 9.
constexpr std::array<double, 5> nodes{-2.8569700138728056, -1.3556261799742659, 0, 1.3556261799742659,
                                      2.8569700138728056};
constexpr std::array<double, 5> node_weights{0.011257411327720689, 0.22207592200561266, 0.53333333333333333,
                                             0.22207592200561266, 0.011257411327720689};

struct Increments {
  double w, z;
  void increment(const sde::Step&, double& dw) const { dw = w; }
  void increment(const sde::Step&, double& dw, double& dz) const { dw = w, dz = z; }
};

/// Errors of the k-th moment at t = 1, exact: the mean over dW and dZ is a quadrature.
template <class Stepper, class Problem>
std::vector<ErrorAt> moment_errors(int k, int first, int last) {
  std::vector<ErrorAt> result;
  for (int level = first; level <= last; ++level) {
    const double dt = std::ldexp(1.0, -level);
    double factor = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i)
      for (std::size_t j = 0; j < nodes.size(); ++j) {
        const double dw = std::sqrt(dt) * nodes[i];
        const double dz = 0.5 * dt * (dw + std::sqrt(dt / 3) * nodes[j]);
        double x = 1;
        Stepper{}.step(Problem{}, x, {0, 0, dt}, Increments{dw, dz});
        factor += node_weights[i] * node_weights[j] * std::pow(x, k);
      }
    result.push_back({dt, std::abs(std::pow(factor, std::ldexp(1.0, level)) - Problem::mean(k)), 0});
  }
  return result;
}

template <template <class> class Stepper>
void check_moments() {
  constexpr sde::StepperTraits traits = Stepper<double>::traits;
  check_order(moment_errors<Stepper<double>, Linear<traits.calculus>>(2, 8, 13), traits.weak_order);
}

/// Mean of tanh x(end) from x(0) = 0.5 by the recursion u(x) <- mean of u(the step from x), on a grid in y = arsinh x.
template <class Stepper, class Problem>
double bounded_mean(int steps, double end) {
  // dZ enters at a higher order: three points are enough for it.
  constexpr std::array<double, 3> three{-1.7320508075688772, 0, 1.7320508075688772};
  constexpr std::array<double, 3> three_weights{1.0 / 6, 2.0 / 3, 1.0 / 6};
  constexpr std::size_t inner = Stepper::traits.uses_space_time ? 3 : 1;
  constexpr int points = 601;
  constexpr double reach = 6, spacing = 2 * reach / (points - 1);
  const double dt = end / steps;
  std::vector<double> u(points), next(points);
  for (int i = 0; i < points; ++i) u[static_cast<std::size_t>(i)] = std::tanh(std::sinh(i * spacing - reach));
  const auto interpolate = [&u](double y) {
    const double place = (y + reach) / spacing;
    if (place <= 2) return u.front();
    if (place >= points - 4) return u.back();
    const int base = static_cast<int>(place) - 2;
    double sum = 0;
    for (int i = 0; i < 6; ++i) {
      double product = u[static_cast<std::size_t>(base + i)];
      for (int j = 0; j < 6; ++j)
        if (j != i) product *= (place - base - j) / (i - j);
      sum += product;
    }
    return sum;
  };
  const auto mean_from = [&](double from) {
    double mean = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i)
      for (std::size_t j = 0; j < inner; ++j) {
        const double dw = std::sqrt(dt) * nodes[i];
        const double dz = 0.5 * dt * (dw + std::sqrt(dt / 3) * three[j]);
        double x = from;
        Stepper{}.step(Problem{}, x, {0, 0, dt}, Increments{dw, dz});
        mean += node_weights[i] * (inner == 3 ? three_weights[j] : 1) * interpolate(std::asinh(x));
      }
    return mean;
  };
  for (int step = 1; step < steps; ++step) {
    for (int i = 0; i < points; ++i) next[static_cast<std::size_t>(i)] = mean_from(std::sinh(i * spacing - reach));
    u = next;
  }
  return mean_from(0.5);
}

template <template <class> class Stepper>
std::vector<ErrorAt> bounded_errors(int first, int last) {
  constexpr double end = 0.5;
  using Problem = HyperbolicSine<Stepper<double>::traits.calculus, NoiseType::diagonal>;
  double exact = 0;  // the trapezoidal rule is exact to rounding for such an integrand
  for (int i = -4000; i <= 4000; ++i) {
    const double z = i * 0.0025;
    exact += 0.0025 * std::exp(-0.5 * z * z) / std::sqrt(2 * 3.14159265358979323846) *
             std::tanh(Problem::exact(0.5, end, std::sqrt(end) * z));
  }
  std::vector<ErrorAt> result;
  for (int level = first; level <= last; ++level)
    result.push_back(
        {std::ldexp(end, -level), std::abs(bounded_mean<Stepper<double>, Problem>(1 << level, end) - exact), 0});
  return result;
}

template <template <class> class Stepper>
void check_means(int first = 3, int last = 7) {
  check_order(bounded_errors<Stepper>(first, last), Stepper<double>::traits.weak_order);
}

}  // namespace

TEST_CASE("means of a linear equation converge with the weak order", "[sde][order][weak]") {
  check_moments<sde::EulerMaruyama>();
  check_moments<sde::Milstein>();
  check_moments<sde::MilsteinDerivativeFree>();
  check_moments<sde::StratonovichHeun>();
  check_moments<sde::StratonovichMidpoint>();
  check_moments<sde::PlatenWeak2>();
  check_moments<sde::Sri2W1>();
}

TEST_CASE("means of an equation that is not linear converge with the weak order", "[sde][order][weak]") {
  check_means<sde::EulerMaruyama>();
  check_means<sde::Milstein>();
  check_means<sde::MilsteinDerivativeFree>();
  check_means<sde::StratonovichHeun>();
  check_means<sde::StratonovichMidpoint>();
  check_means<sde::PlatenWeak2>();
  check_means<sde::Sri1W1>(5, 9);
}

TEST_CASE("the reversible Heun method has its weak order", "[sde][order][weak]") {
  // It remembers: no recursion over the states of one step. Differences to the exact solution on the same path have
  // little variance.
  using Stepper = sde::ReversibleHeun<std::vector<double>>;
  using Problem = HyperbolicSine<Calculus::stratonovich, NoiseType::diagonal>;
  const auto all = compare<Stepper, Problem>(std::vector<double>(50'000), 2, 6, 1, 1);
  check_order(errors_of(all, &Comparison::mean, 2, 1), Stepper::traits.weak_order);
}

TEST_CASE("SRA methods have their weak order", "[sde][order][weak]") {
  // dx = -x dt + dW: the variance of x(1) from 0 is (1 - e^-2) / 2.
  const auto check = []<class Stepper>(Stepper) {
    std::vector<ErrorAt> errors;
    for (int level = 3; level <= 8; ++level) {
      const double dt = std::ldexp(1.0, -level);
      // x -> p x + noise: p from x = 1 without noise, the variance of the noise from x = 0.
      double p = 1, q = 0;
      Stepper{}.step(Relaxing{}, p, {0, 0, dt}, sde::NoNoise{});
      for (std::size_t i = 0; i < nodes.size(); ++i)
        for (std::size_t j = 0; j < nodes.size(); ++j) {
          const double dw = std::sqrt(dt) * nodes[i];
          double x = 0;
          Stepper{}.step(Relaxing{}, x, {0, 0, dt}, Increments{dw, 0.5 * dt * (dw + std::sqrt(dt / 3) * nodes[j])});
          q += node_weights[i] * node_weights[j] * x * x;
        }
      double variance = 0;
      for (int i = 0; i < (1 << level); ++i) variance = p * p * variance + q;
      errors.push_back({dt, std::abs(variance - 0.5 * (1 - std::exp(-2.0))), 0});
    }
    return errors;
  };
  check_order(check(sde::Sra1<double>{}), sde::Sra1<double>::traits.weak_order);
  CHECK(fit(check(sde::Sra3<double>{})).slope > sde::Sra3<double>::traits.weak_order - 0.15);  // 3 on this equation
}

TEST_CASE("a weak order that is not there is refused", "[sde][order][weak]") {
  CHECK_FALSE(fit(moment_errors<sde::Milstein<double>, Linear<Calculus::ito>>(2, 6, 11)).shows(2.0));
  CHECK_FALSE(fit(moment_errors<sde::PlatenWeak2<double>, Linear<Calculus::ito>>(2, 6, 11)).shows(1.0));
  // What is often said of the SRI methods; moments of the linear equation are too kind to SRI1W1 to show it.
  CHECK_FALSE(fit(bounded_errors<sde::Sri1W1>(5, 9)).shows(2.0));
  CHECK_FALSE(fit(moment_errors<sde::Sri2W1<double>, Linear<Calculus::ito>>(2, 8, 13)).shows(2.0));
}
