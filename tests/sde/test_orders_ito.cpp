/// Strong orders of the Ito steppers up to 1.

#include <cmath>
#include <vector>

#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/paths.hpp"

namespace sde = easy_diffusion::sde;
using namespace easy_diffusion::tests;
using sde::Calculus;
using sde::NoiseType;

namespace {

using Diagonal = HyperbolicSine<Calculus::ito, NoiseType::diagonal>;
using Scalar = HyperbolicSine<Calculus::ito, NoiseType::scalar>;

/// dx = x dW (Ito), for which x(t) = x0 exp(W(t) - t / 2).
struct Growth {
  static constexpr NoiseType noise_type = NoiseType::diagonal;
  static constexpr bool zero_drift = true;
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    out = x;
  }
  static double exact(double x0, double t, double w) { return x0 * std::exp(w - t / 2); }
};

/// The reverse equation of data at -1 and 1 under a variance-preserving process, with the exact score, in the time 1 - t.
struct Reversed {
  static constexpr NoiseType noise_type = NoiseType::additive;
  template <sde::State S>
  void drift(const S& x, double s, S& out) const {
    const auto score = [this](const S& at, double t, S& to) {
      const double a = process.mean_factor(t), d = process.marginal_std(t), v = 0.16 * a * a + d * d;
      sde::update_elements([a, v](const auto& e, auto& o) { o = (a * std::tanh(a * e / v) - e) / v; }, at, to);
    };
    sde::reverse(process, score).drift(x, 1 - s, out);
    sde::update_elements([](auto& e) { e = -e; }, out);
  }
  double diffusion(double s) const { return process.diffusion(1 - s); }
  sde::VariancePreserving<> process{sde::LinearBeta(0.1, 6)};
};

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

/// Euler-Maruyama that declares Milstein's order.
template <class S>
struct Boasting : sde::EulerMaruyama<S> {
  static constexpr sde::StepperTraits traits{.strong_order = 1.0,
                                             .strong_order_additive = 1.5,
                                             .weak_order = 1.0,
                                             .calculus = Calculus::ito,
                                             .noise_types = {.additive = true, .diagonal = true, .scalar = true}};
};

template <template <class> class Stepper>
void check_declared() {
  constexpr sde::StepperTraits traits = Stepper<double>::traits;
  check_strong<Stepper, AdditiveNonlinear>(traits.strong_order_additive, 4, 8);
  check_strong<Stepper, Diagonal>(traits.strong_order);
  check_strong_scalar<Stepper, Scalar>(traits.strong_order);
}

}  // namespace

TEST_CASE("Euler-Maruyama has its strong orders", "[sde][order]") {
  check_declared<sde::EulerMaruyama>();
  check_order(strong_errors<sde::EulerMaruyama<std::vector<double>>, Additive>(std::vector<double>(4000), 4, 10),
              sde::EulerMaruyama<double>::traits.strong_order_additive);
  check_order(strong_errors<sde::EulerMaruyama<std::vector<double>>, Growth>(std::vector<double>(4000), 4, 10),
              sde::EulerMaruyama<double>::traits.strong_order);
}

TEST_CASE("Milstein has its strong orders", "[sde][order]") { check_declared<sde::Milstein>(); }

TEST_CASE("Milstein without derivatives has its strong orders", "[sde][order]") {
  check_declared<sde::MilsteinDerivativeFree>();
}

TEST_CASE("Platen's method has its strong orders", "[sde][order]") { check_declared<sde::PlatenWeak2>(); }

TEST_CASE("the reverse equation of a diffusion process has additive noise", "[sde][order][identity]") {
  using State = easy_diffusion::Tensor<double>;
  const auto errors = []<class Stepper>(Stepper) { return strong_errors<Stepper, Reversed>(State({2000}), 5, 9); };
  const auto euler = errors(sde::EulerMaruyama<State>{});
  check_order(euler, sde::EulerMaruyama<State>::traits.strong_order_additive);
  CHECK_FALSE(fit(euler).shows(sde::EulerMaruyama<State>::traits.strong_order));  // that of other noise
  check_order(errors(sde::Sra1<State>{}), sde::Sra1<State>::traits.strong_order_additive);
}

TEST_CASE("the measurement refuses a wrong stepper and a wrong declaration", "[sde][order]") {
  using State = std::vector<double>;
  const State shape(2000);
  const auto line = fit(strong_errors<WrongStepper<State>, Growth>(shape, 4, 10));
  CHECK_FALSE(line.shows(sde::EulerMaruyama<State>::traits.strong_order));
  CHECK_FALSE(fit(strong_errors<WrongStepper<State>, Additive>(shape, 4, 10)).shows(1.0));
  const auto boast = fit(strong_errors<Boasting<State>, Diagonal>(shape, 4, 9));
  CHECK_FALSE(boast.shows(Boasting<State>::traits.strong_order));
  CHECK(boast.shows(sde::EulerMaruyama<State>::traits.strong_order));
  const auto boast_additive = fit(strong_errors<Boasting<State>, Additive>(shape, 4, 9));
  CHECK_FALSE(boast_additive.shows(Boasting<State>::traits.strong_order_additive));
}
