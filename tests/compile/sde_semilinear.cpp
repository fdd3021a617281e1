// An exponential stepper needs the linear and the other part of the drift.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Decay {
  void drift(const double& x, double, double& out) const { out = -x; }
};

double run() {
  double x = 1;
  const auto grid = sde::TimeGrid::uniform(0, 1, 10);
#ifdef MUST_NOT_COMPILE
  sde::integrate(sde::ExponentialHeun<double>{}, Decay{}, x, grid);
#else
  sde::integrate(sde::Heun<double>{}, Decay{}, x, grid);
#endif
  return x;
}
