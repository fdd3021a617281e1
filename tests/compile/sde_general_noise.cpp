// Milstein's method cannot integrate a system whose noise is a matrix.

#include <array>

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Mixing {
  using brownian_type = std::array<double, 2>;
  static constexpr sde::NoiseType noise_type = sde::NoiseType::general;
  void drift(const double& x, double, double& out) const { out = -x; }
  void diffusion(const double& x, double, const brownian_type& dw, double& out) const { out = x * dw[0] + dw[1]; }
};

double run() {
  double x = 1;
  const auto grid = sde::TimeGrid::uniform(0, 1, 10);
#ifdef MUST_NOT_COMPILE
  sde::integrate(sde::Milstein<double>{}, Mixing{}, x, grid, sde::BrownianNoise{});
#else
  sde::integrate(sde::EulerMaruyama<double>{}, Mixing{}, x, grid, sde::BrownianNoise{});
#endif
  return x;
}
