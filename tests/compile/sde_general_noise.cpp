// Euler-Maruyama cannot integrate a system whose noise is a matrix.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Mixing {
#ifdef MUST_NOT_COMPILE
  static constexpr sde::NoiseType noise_type = sde::NoiseType::general;
#else
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
#endif
  void drift(const double& x, double, double& out) const { out = -x; }
  void diffusion(const double& x, double, double& out) const { out = x; }
};

double run() {
  double x = 1;
  sde::integrate(sde::EulerMaruyama<double>{}, Mixing{}, x, sde::TimeGrid::uniform(0, 1, 10), sde::BrownianNoise{});
  return x;
}
