// A stepper of ordinary equations would silently leave out the noise of a stochastic one.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

double run() {
  double x = 1;
  const auto grid = sde::TimeGrid::uniform(1, 0.1, 10);
  const auto system = sde::reverse(sde::VariancePreserving<>(), [](const double& at, double, double& out) { out = -at; });
#ifdef MUST_NOT_COMPILE
  sde::integrate(sde::Heun<double>{}, system, x, grid);
#else
  sde::integrate(sde::Heun<double>{}, system.probability_flow(), x, grid);
#endif
  return x;
}
