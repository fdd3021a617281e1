#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/samplers/deis.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_multistep.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_sde.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_singlestep.hpp"
#include "easy_diffusion/diffusion/samplers/ipndm.hpp"
#include "easy_diffusion/diffusion/samplers/pndm.hpp"
#include "easy_diffusion/diffusion/samplers/unipc.hpp"
#include "support/catch.hpp"

#include "diffusion/multistep_runs.hpp"
#include "diffusion/sampler_orders.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::tests;

namespace {

using S = FlowState;

template <class Sampler>
void check_declared() {
  Sampler sampler;
  check_flow_order(sampler);
}

/// 2M with one thing changed.
enum class Slip {
  none,
  mean_step,    ///< "v2": the mean of this step and the last one in 1 - e^(-h), and their ratio upside down if below 1
  equal_steps,  ///< r = 1
};

/// DPM-Solver++ 2M as its paper writes it, and with a slip.
template <Slip slip>
struct Written2M {
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 2, .history = 1};
  S x0, before;
  double length_before = 0;

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const { return x0; }
  void start(const NoiseLevels&) { before.clear(); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise&) {
    const NoiseLevel &from = levels[i], &to = levels[i + 1];
    x0 = x;
    denoiser(x, from, x0);
    double h = to.lambda() - from.lambda();
    const double length = h;
    double r = length_before / h;
    if (slip == Slip::equal_steps) r = 1;
    if (slip == Slip::mean_step && !before.empty()) {
      r = std::fmax(r, 1 / r);
      h = 0.5 * (h + length_before);
    }
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double d = before.empty() ? x0[k] : (1 + 1 / (2 * r)) * x0[k] - 1 / (2 * r) * before[k];
      x[k] = to.sigma / from.sigma * x[k] - to.alpha * std::expm1(-h) * d;
    }
    before = x0;
    length_before = length;
  }
};

/// 3M as the programs of its authors have it: half of the last term.
struct Half3M {
  using state_type = S;
  std::vector<S> x0;
  std::vector<double> lambda;

  void start(const NoiseLevels&) { x0.clear(), lambda.clear(); }
  void remember(const NoiseLevel& level, const S&, const S& predicted) {
    x0.push_back(predicted);
    lambda.push_back(level.lambda());
  }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise&) {
    const NoiseLevel &from = levels[i], &to = levels[i + 1];
    S m = x;
    denoiser(x, from, m);
    remember(from, x, m);
    const std::size_t last = x0.size() - 1;
    const double h = to.lambda() - lambda[last];
    const double r0 = (lambda[last] - lambda[last - 1]) / h, r1 = (lambda[last - 1] - lambda[last - 2]) / h;
    const double phi1 = std::expm1(-h), phi2 = phi1 / h + 1, phi3 = phi2 / h - 0.5;
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double a = (x0[last][k] - x0[last - 1][k]) / r0, b = (x0[last - 1][k] - x0[last - 2][k]) / r1;
      const double d1 = a + r0 / (r0 + r1) * (a - b), d2 = (a - b) / (r0 + r1);
      x[k] = to.sigma / from.sigma * x[k] - to.alpha * (phi1 * x0[last][k] - phi2 * d1 + phi3 * d2);
    }
  }
};

const auto karras = [](std::int64_t n) { return order_levels(OrderGrid::karras, n); };
const auto even_lambda = [](std::int64_t n) { return order_levels(OrderGrid::log_snr, n); };
const auto vp_karras = [](std::int64_t n) { return order_levels(OrderGrid::vp_karras, n); };

}  // namespace

TEST_CASE("the quantile transport is the flow of the equation", "[diffusion][multistep]") {
  for (const OrderGrid grid : order_grids) {
    const auto levels = order_levels(grid, 1);
    const FlowState start = flow_start(levels.front());
    for (std::size_t i = 0; i < start.size(); ++i)
      CHECK_THAT(flow_transport(start[i], levels.front(), levels.back()), WithinAbs(flow_solution(grid)[i], 1e-11));
  }
}

TEST_CASE("multistep samplers have the order they declare from their own start", "[diffusion][multistep]") {
  SECTION("DPM-Solver++ 2M") { check_declared<DpmSolver2M<S>>(); }
  SECTION("DPM-Solver++ 2S") { check_declared<DpmSolver2S<S>>(); }
  SECTION("DPM-Solver++ of order 1") { check_declared<DpmSolverMultistep<S, 1>>(); }
  SECTION("UniPC-1") { check_declared<UniPc<S, 1>>(); }
  SECTION("UniPC-2") { check_declared<UniPc<S, 2>>(); }
  SECTION("DEIS-1") { check_declared<Deis<S, 1>>(); }
  SECTION("DEIS-2") { check_declared<Deis<S, 2>>(); }
  SECTION("iPNDM-1") { check_declared<Ipndm<S, 1>>(); }
  SECTION("iPNDM-2") { check_declared<Ipndm<S, 2>>(); }
  SECTION("iPNDM-3") { check_declared<Ipndm<S, 3>>(); }
  SECTION("iPNDM-4") { check_declared<Ipndm<S, 4>>(); }
  SECTION("PNDM") {
    for (const OrderGrid grid : order_grids) {
      const bool exploding = grid == OrderGrid::karras || grid == OrderGrid::log_snr;
      Pndm<S> sampler(exploding ? exploding_path() : schedule_path(order_schedule()));
      check_order(flow_errors(sampler, grid), Pndm<S>::traits.order);
    }
  }
  // From sigma = 10, where x0 hardly changes, the error of the first step is too small to show beside those of the others.
  SECTION("DPM-Solver++ 3M") {
    check_order(errors_from_start(DpmSolver3M<S>(), late_levels), DpmSolver3M<S>::traits.order);
  }
  SECTION("UniPC-3") { check_order(errors_from_start(UniPc<S, 3>(), late_levels), UniPc<S, 3>::traits.order); }
  SECTION("UniPC-3 from much noise") {
    UniPc<S, 3> sampler;
    for (const OrderGrid grid : order_grids) check_order(flow_errors(sampler, grid), UniPc<S, 3>::traits.best_order);
  }
  SECTION("DEIS-3") { check_order(errors_from_start(Deis<S, 3>(), late_levels), Deis<S, 3>::traits.order); }
  SECTION("DEIS-4") { check_order(errors_from_start(Deis<S, 4>(), late_levels), Deis<S, 4>::traits.order); }
}

TEST_CASE("with a past that is exact, methods of order 3 and above have it", "[diffusion][multistep]") {
  const auto levels_of = [&](std::int64_t n) -> std::vector<NoiseLevels> {
    return {karras(n), even_lambda(n), vp_karras(n), late_levels(n)};
  };
  const std::size_t grids = levels_of(1).size();
  for (std::size_t grid = 0; grid < grids; ++grid) {
    INFO("grid " << grid);
    const auto levels = [&](std::int64_t n) { return levels_of(n)[grid]; };
    check_order(errors_with_past(DpmSolver3M<S>(), levels, 2), DpmSolver3M<S>::traits.best_order);
    check_order(errors_with_past(Deis<S, 3>(), levels, 2), Deis<S, 3>::traits.best_order);
    check_order(errors_with_past(UniPc<S, 2>(), levels, 1), UniPc<S, 2>::traits.order);
    check_order(errors_with_past(UniPc<S, 3>(), levels, 2), UniPc<S, 3>::traits.best_order);
  }
  check_order(errors_with_past(Deis<S, 4>(), late_levels, 3), Deis<S, 4>::traits.best_order);
  // The coefficients of iPNDM and PNDM are those of equal steps.
  check_order(errors_with_past(Ipndm<S, 3>(), equal_levels, 2), Ipndm<S, 3>::traits.best_order);
  check_order(errors_with_past(Ipndm<S, 4>(), equal_levels, 3), Ipndm<S, 4>::traits.best_order);
  check_order(errors_from_start(Pndm<S>(exploding_path()), equal_levels), Pndm<S>::traits.best_order);
  check_order(errors_with_past(Ipndm<S, 4>(), late_levels, 3), 2);
}

TEST_CASE("slips in the coefficients of 2M and 3M are caught", "[diffusion][multistep]") {
  Written2M<Slip::none> right;
  Written2M<Slip::mean_step> mean_step;
  Written2M<Slip::equal_steps> equal_steps;
  CHECK(fit(flow_errors(right, OrderGrid::karras)).shows(2));

  // Steps that all have the same length in lambda hide a wrong length; on the Karras grid its order is 1.
  CHECK(fit(flow_errors(mean_step, OrderGrid::log_snr)).shows(2));
  CHECK_FALSE(fit(flow_errors(mean_step, OrderGrid::karras)).shows(2));
  CHECK(fit(flow_errors(mean_step, OrderGrid::karras)).shows(1));

  // A wrong ratio shows where it does not tend to 1, as it does on every smooth grid, the Karras grid too.
  CHECK(fit(errors_from_start(DpmSolver2M<S>(), uneven_levels)).shows(2));
  CHECK(fit(errors_from_start(UniPc<S, 2>(), uneven_levels)).shows(3));
  CHECK(fit(errors_from_start(Deis<S, 2>(), uneven_levels)).shows(2));
  CHECK(fit(errors_from_start(DpmSolver2S<S>(), uneven_levels)).shows(2));
  CHECK(fit(flow_errors(equal_steps, OrderGrid::karras)).shows(2));
  CHECK(fit(errors_from_start(equal_steps, uneven_levels)).shows(1));
  CHECK(fit(errors_from_start(Ipndm<S, 4>(), uneven_levels)).shows(1));

  CHECK_FALSE(fit(errors_with_past(Half3M(), late_levels, 2)).shows(3));
  CHECK(fit(errors_with_past(Half3M(), late_levels, 2)).shows(2));
}

TEST_CASE("SDE-DPM-Solver++ 2M has weak order 2", "[diffusion][multistep]") {
  for (const double eta : {0.0, 0.5, 1.0}) {
    INFO("eta " << eta);
    SdeDpmSolver2M<S> sampler(eta);
    check_weak_order(sampler);
  }
}
