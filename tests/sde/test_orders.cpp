/// Strong orders, measured: one refined Brownian path for all step sizes, the exact solution on that path.

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;

namespace {

/// dx = (b / sqrt(1 + t) - x / (2 (1 + t))) dt + a b / sqrt(1 + t) dW, for which
/// x(t) = (x0 + b (t + a W(t))) / sqrt(1 + t).
struct AdditiveProblem {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  static constexpr double a = 2, b = 0.5;
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::update_elements([t](const auto& e, auto& f) { f = b / std::sqrt(1 + t) - e / (2 * (1 + t)); }, x, out);
  }
  double diffusion(double t) const { return a * b / std::sqrt(1 + t); }
  static double exact(double x0, double t, double w) { return (x0 + b * (t + a * w)) / std::sqrt(1 + t); }
};

/// dx = x dW (Ito), for which x(t) = x0 exp(W(t) - t / 2).
struct MultiplicativeProblem {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  static constexpr bool zero_drift = true;
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    out = x;
  }
  static double exact(double x0, double t, double w) { return x0 * std::exp(w - t / 2); }
};

struct Error {
  double dt = 0, mean = 0, standard_error = 0;
};

/// Mean absolute error at t = 1 for 2^first ... 2^last steps, all on the path of the finest. The elements are
/// independent samples.
template <template <class> class Stepper, class Problem, class S>
std::vector<Error> errors(S x0, int first, int last) {
  sde::fill(x0, 1);
  const std::int64_t finest = std::int64_t{1} << last;
  const sde::BrownianNoise path{.seed = 2024};
  S w = x0;
  sde::CoarseNoise<sde::BrownianNoise, S>(path, finest).increment({0, 0, 1}, w);
  std::vector<Error> result;
  for (int level = first; level <= last; ++level) {
    const std::int64_t steps = std::int64_t{1} << level;
    S x = x0;
    sde::CoarseNoise<sde::BrownianNoise, S> noise(path, finest / steps);
    sde::integrate(Stepper<S>{}, Problem{}, x, sde::TimeGrid::uniform(0, 1, steps), noise);
    sde::Moments moments;
    sde::for_each_element(
        [&](const auto& e, const auto& b) {
          moments.merge({1, std::abs(e - Problem::exact(1, 1, b)), 0});
        },
        x, w);
    result.push_back({1.0 / static_cast<double>(steps), moments.mean,
                      std::sqrt(moments.variance() / static_cast<double>(moments.count))});
  }
  return result;
}

struct Fit {
  double slope = 0, r2 = 0;
  bool precise = false;  ///< Monte-Carlo error below a tenth of the smallest error
};

Fit fit(const std::vector<Error>& errors) {
  const auto n = static_cast<double>(errors.size());
  double mx = 0, my = 0;
  Fit result;
  result.precise = true;
  for (const Error& e : errors) {
    mx += std::log(e.dt) / n;
    my += std::log(e.mean) / n;
    result.precise = result.precise && e.standard_error < 0.1 * e.mean;
  }
  double xx = 0, xy = 0, yy = 0;
  for (const Error& e : errors) {
    const double x = std::log(e.dt) - mx;
    const double y = std::log(e.mean) - my;
    xx += x * x, xy += x * y, yy += y * y;
  }
  result.slope = xy / xx;
  result.r2 = xy * xy / (xx * yy);
  return result;
}

template <class Problem, class S>
void check_order(S x0, double declared) {
  const auto measured = errors<sde::EulerMaruyama, Problem>(x0, 4, 10);
  REQUIRE(measured.size() >= 5);
  const Fit line = fit(measured);
  CAPTURE(line.slope, line.r2, measured.front().mean, measured.back().mean, measured.back().standard_error);
  CHECK(line.precise);
  CHECK(line.r2 >= 0.99);
  CHECK_THAT(line.slope, WithinAbs(declared, 0.15));
}

/// Euler-Maruyama whose noise is half too strong: it has no order.
template <class S>
class WrongStepper : public sde::EulerMaruyama<S> {
 public:
  template <class System, class Noise>
  void step(const System& system, S& x, const sde::Step& step, Noise& noise) {
    const Louder<Noise> louder{noise};
    sde::EulerMaruyama<S>::step(system, x, step, louder);
  }

 private:
  template <class Noise>
  struct Louder {
    Noise& noise;
    void increment(const sde::Step& step, S& dw) const {
      noise.increment(step, dw);
      sde::for_each_element([](auto& e) { e *= 1.5; }, dw);
    }
  };
};

}  // namespace

TEST_CASE("Euler-Maruyama has its strong orders", "[sde][order]") {
  using sde::EulerMaruyama;
  constexpr double general = EulerMaruyama<double>::traits.strong_order;
  constexpr double additive = EulerMaruyama<double>::traits.strong_order_additive;
  static_assert(general == 0.5 && additive == 1.0);
  SECTION("additive noise") {
    check_order<AdditiveProblem>(Tensor<double>({4000}), additive);
    check_order<AdditiveProblem>(std::vector<double>(4000), additive);
    check_order<AdditiveProblem>(std::array<double, 2000>{}, additive);
  }
  SECTION("multiplicative noise") {
    check_order<MultiplicativeProblem>(Tensor<double>({4000}), general);
    check_order<MultiplicativeProblem>(std::vector<double>(4000), general);
    check_order<MultiplicativeProblem>(std::array<double, 2000>{}, general);
  }
  SECTION("the measurement refuses a wrong stepper") {
    const Fit line = fit(errors<WrongStepper, MultiplicativeProblem>(std::vector<double>(2000), 4, 10));
    CHECK_FALSE(std::abs(line.slope - general) <= 0.15);
    const Fit other = fit(errors<WrongStepper, AdditiveProblem>(std::vector<double>(2000), 4, 10));
    CHECK_FALSE(std::abs(other.slope - additive) <= 0.15);
  }
}
