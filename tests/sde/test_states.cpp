/// One path is one path: every stochastic stepper moves a number, an array, a tensor, a vector and an ensemble to the same
/// bits. What is measured on one kind of state, weak orders above all, holds on the others.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "sde/paths.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using namespace easy_diffusion::tests;
using sde::NoiseType;

namespace {

constexpr std::size_t count = 11;
const auto grid = sde::TimeGrid::quadratic(0, 1, 16);

/// Ends of the paths that begin at `x`. Where the noise is not scalar, each element has its own.
template <class Stepper, class System>
typename Stepper::state_type moved(typename Stepper::state_type x, std::uint64_t first = 0) {
  sde::integrate(Stepper{}, System{}, x, grid, sde::BrownianNoise{.seed = 17, .first_element = first});
  return x;
}

template <class Found>
bool equals(const Found& found, const std::array<double, count>& expected) {
  return std::equal(expected.begin(), expected.end(), found.data());
}

template <template <class> class Stepper, class System>
void check_states() {
  std::array<double, count> start{}, goal{};
  for (std::size_t i = 0; i < count; ++i) {
    start[i] = 0.25 * static_cast<double>(i) - 1;
    goal[i] = moved<Stepper<double>, System>(start[i], System::noise_type == NoiseType::scalar ? 0 : i);
  }
  CHECK(std::all_of(goal.begin(), goal.end(), [](double x) { return std::isfinite(x); }));
  CHECK_FALSE(equals(start, goal));
  CHECK(equals(moved<Stepper<std::array<double, count>>, System>(start), goal));
  CHECK(equals(moved<Stepper<std::vector<double>>, System>({start.begin(), start.end()}), goal));
  Tensor<double> tensor({static_cast<std::int64_t>(count)});
  std::copy(start.begin(), start.end(), tensor.data());
  CHECK(equals(moved<Stepper<Tensor<double>>, System>(tensor), goal));
  if constexpr (System::noise_type != NoiseType::scalar) {
    // In blocks, on one thread and on two, and cut in two.
    const int before = easy_diffusion::num_threads();
    for (const int threads : {1, 2}) {
      easy_diffusion::set_num_threads(threads);
      for (const std::size_t cut : {std::size_t{0}, std::size_t{5}}) {
        auto x = start;
        const std::span<double> all(x);
        sde::integrate_ensemble<Stepper>(System{}, all.first(cut), grid, sde::BrownianNoise{.seed = 17});
        sde::integrate_ensemble<Stepper>(System{}, all.subspan(cut), grid,
                                         sde::BrownianNoise{.seed = 17, .first_element = cut});
        CHECK(equals(x, goal));
      }
    }
    easy_diffusion::set_num_threads(before);
  }
}

template <template <class> class Stepper>
void check_stepper() {
  constexpr sde::StepperTraits traits = Stepper<double>::traits;
  check_states<Stepper, AdditiveNonlinear>();
  if constexpr (traits.noise_types.diagonal) check_states<Stepper, HyperbolicSine<traits.calculus, NoiseType::diagonal>>();
  if constexpr (traits.noise_types.scalar) check_states<Stepper, HyperbolicSine<traits.calculus, NoiseType::scalar>>();
}

}  // namespace

TEST_CASE("every stepper gives the same bits on every kind of state and for any split and threads", "[sde][steppers]") {
  check_stepper<sde::EulerMaruyama>();
  check_stepper<sde::Milstein>();
  check_stepper<sde::MilsteinDerivativeFree>();
  check_stepper<sde::PlatenWeak2>();
  check_stepper<sde::StratonovichHeun>();
  check_stepper<sde::StratonovichMidpoint>();
  check_stepper<sde::ReversibleHeun>();
  check_stepper<sde::Sra1>();
  check_stepper<sde::Sra3>();
  check_stepper<sde::Sri1W1>();
  check_stepper<sde::Sri2W1>();
}
