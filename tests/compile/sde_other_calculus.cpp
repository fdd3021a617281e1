// Euler-Maruyama solves Ito equations; this one is meant in Stratonovich's sense.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Growth {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
#ifdef MUST_NOT_COMPILE
  static constexpr sde::Calculus calculus = sde::Calculus::stratonovich;
#endif
  void drift(const double& x, double, double& out) const { out = -x; }
  void diffusion(const double& x, double, double& out) const { out = x; }
};

double run() {
  double x = 1;
  sde::integrate(sde::EulerMaruyama<double>{}, Growth{}, x, sde::TimeGrid::uniform(0, 1, 10), sde::BrownianNoise{});
  return x;
}
