// The reverse of a process whose noise depends on the state has a further term: reverse() refuses it.

#include "easy_diffusion/sde/sde.hpp"

namespace sde = easy_diffusion::sde;

struct Growth {
#ifdef MUST_NOT_COMPILE
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
#else
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
#endif
  static constexpr bool zero_drift = true;
  double diffusion(double) const { return 1; }
};

double run() {
  const auto reversed = sde::reverse(Growth{}, [](const double& x, double, double& out) { out = -x; });
  double out = 0;
  reversed.drift(1.0, 1.0, out);
  return out;
}
