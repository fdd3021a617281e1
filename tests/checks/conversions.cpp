// Every public header, and templates that the library of models does not hold, for a compiler that warns of implicit
// conversions: what a user's own strict flags would show.

#include "every_header.hpp"  // written by CMake

namespace easy_diffusion {
namespace {

struct Decay {
  template <class S>
  void drift(const S& x, double, S& out) const {
    out = x;
    sde::update_elements([](auto& e) { e = -e; }, out);
  }
};

template <class S>
void integrate_with_every_stepper(S x) {
  const auto grid = sde::TimeGrid::uniform(0, 1, 4);
  const sde::OrnsteinUhlenbeck process;
  const sde::BrownianNoise noise{1};
  const auto stochastic = [&](auto stepper) { sde::integrate(stepper, process, x, grid, noise); };
  stochastic(sde::EulerMaruyama<S>());
  stochastic(sde::Milstein<S>());
  stochastic(sde::MilsteinDerivativeFree<S>());
  stochastic(sde::PlatenWeak2<S>());
  stochastic(sde::Sra1<S>());
  stochastic(sde::Sra3<S>());
  stochastic(sde::Sri1W1<S>());
  stochastic(sde::Sri2W1<S>());
  stochastic(sde::StratonovichHeun<S>());
  stochastic(sde::StratonovichMidpoint<S>());
  stochastic(sde::ReversibleHeun<S>());
  const auto ordinary = [&](auto stepper) { sde::integrate(stepper, Decay(), x, grid); };
  ordinary(sde::Heun<S>());
  ordinary(sde::RungeKutta4<S>());
  ordinary(sde::AdamsBashforth<S, 3>());
  sde::DormandPrince5<S> dormand_prince;
  sde::integrate_adaptive(dormand_prince, Decay(), x, 0, 1, sde::AdaptiveOptions{});
}

}  // namespace

void instantiate() {
  integrate_with_every_stepper(1.0);
  integrate_with_every_stepper(std::array<float, 2>{});
  integrate_with_every_stepper(Tensor<float>({2, 3}));
}

template class train::Trainer<nn::Classifier<float>, train::Classification>;

}  // namespace easy_diffusion
