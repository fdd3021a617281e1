// Milstein's method needs the derivative of noise that depends on the state.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Growth {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  void drift(const double& x, double, double& out) const { out = -x; }
  void diffusion(const double& x, double, double& out) const { out = x; }
};

double run() {
  double x = 1;
  const auto grid = sde::TimeGrid::uniform(0, 1, 10);
#ifdef MUST_NOT_COMPILE
  sde::integrate(sde::Milstein<double>{}, Growth{}, x, grid, sde::BrownianNoise{});
#else
  sde::integrate(sde::MilsteinDerivativeFree<double>{}, Growth{}, x, grid, sde::BrownianNoise{});
#endif
  return x;
}
