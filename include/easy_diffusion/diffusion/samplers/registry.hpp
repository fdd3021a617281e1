/// \file
/// All samplers by name.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/ddpm.hpp"
#include "easy_diffusion/diffusion/samplers/deis.hpp"
#include "easy_diffusion/diffusion/samplers/dpm2.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_multistep.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_sde.hpp"
#include "easy_diffusion/diffusion/samplers/dpm_solver_singlestep.hpp"
#include "easy_diffusion/diffusion/samplers/edm_stochastic.hpp"
#include "easy_diffusion/diffusion/samplers/euler.hpp"
#include "easy_diffusion/diffusion/samplers/euler_ancestral.hpp"
#include "easy_diffusion/diffusion/samplers/heun.hpp"
#include "easy_diffusion/diffusion/samplers/ipndm.hpp"
#include "easy_diffusion/diffusion/samplers/lms.hpp"
#include "easy_diffusion/diffusion/samplers/pndm.hpp"
#include "easy_diffusion/diffusion/samplers/predictor_corrector.hpp"
#include "easy_diffusion/diffusion/samplers/reverse_stepper.hpp"
#include "easy_diffusion/diffusion/samplers/runge_kutta45.hpp"
#include "easy_diffusion/diffusion/samplers/unipc.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"
#include "easy_diffusion/sde/steppers/stochastic_runge_kutta.hpp"

namespace easy_diffusion::diffusion {

/// What samplers can be told; an option that a sampler does not take must be left empty.
struct SamplerOptions {
  LevelPath path{};             ///< levels between those of the run; not empty for samplers that evaluate there
  std::optional<double> eta{};  ///< share of the posterior's noise
  std::optional<VarianceType> variance{};   ///< of a step of the discrete chain
  std::optional<double> churn{};            ///< see `ChurnOptions`
  std::optional<double> tolerance{};        ///< relative and absolute, of adaptive steps
  std::optional<double> signal_to_noise{};  ///< of a corrector, see `LangevinOptions`
  std::optional<sde::LangevinRule> langevin_rule{};  ///< of a corrector
};

namespace detail {

/// Which options a sampler takes.
struct TakenOptions {
  bool eta = false, variance = false, churn = false, tolerance = false, signal_to_noise = false, langevin_rule = false;
};

/// \throw ValueError naming the sampler and the option that it does not take
inline void check_options(std::string_view name, const TakenOptions& taken, const SamplerOptions& options) {
  const auto refuse = [&](const char* option) {
    throw ValueError("sampler " + std::string(name) + ": takes no " + option);
  };
  if (options.eta && !taken.eta) refuse("eta");
  if (options.variance && !taken.variance) refuse("variance");
  if (options.churn && !taken.churn) refuse("churn");
  if (options.tolerance && !taken.tolerance) refuse("tolerance");
  if (options.signal_to_noise && !taken.signal_to_noise) refuse("signal-to-noise ratio");
  if (options.langevin_rule && !taken.langevin_rule) refuse("Langevin rule");
}

}  // namespace detail

/// Calls f(name, taken, make) for every sampler, where make(options) makes one.
template <sde::State S, class F>
void for_each_sampler(F&& f) {
  using Options = const SamplerOptions&;
  constexpr detail::TakenOptions nothing{}, eta{.eta = true};
  // Of the probability-flow equation, one evaluation a step.
  f("ddim", eta, [](Options o) { return Ddim<S>(o.eta.value_or(0)); });
  f("euler", nothing, [](Options) { return Euler<S>(); });
  f("dpmpp_2m", nothing, [](Options) { return DpmSolver2M<S>(); });
  f("dpmpp_3m", nothing, [](Options) { return DpmSolver3M<S>(); });
  f("unipc_2", nothing, [](Options) { return UniPc<S, 2>(); });
  f("unipc_3", nothing, [](Options) { return UniPc<S, 3>(); });
  f("deis_2", nothing, [](Options) { return Deis<S, 2>(); });
  f("deis_3", nothing, [](Options) { return Deis<S, 3>(); });
  f("ipndm", nothing, [](Options) { return Ipndm<S>(); });
  f("lms", nothing, [](Options) { return Lms<S>(); });
  // The same, several evaluations a step.
  f("pndm", nothing, [](Options o) { return Pndm<S>(o.path); });
  f("dpmpp_2s", nothing, [](Options) { return DpmSolver2S<S>(); });
  f("dpm2", eta, [](Options o) { return Dpm2<S>(o.path, {.eta = o.eta.value_or(0)}); });
  f("heun", nothing, [](Options) { return Heun<S>(); });
  f("rk4", nothing, [](Options o) { return ReverseStepper<sde::RungeKutta4<S>>(o.path); });
  f("rk45", detail::TakenOptions{.tolerance = true}, [](Options o) {
    const double tolerance = o.tolerance.value_or(1e-3);
    return RungeKutta45<S>(o.path, {.tolerances = {tolerance, tolerance}});
  });
  // With noise.
  f("ddpm", detail::TakenOptions{.variance = true},
    [](Options o) { return Ddpm<S>(o.variance.value_or(VarianceType::fixed_small)); });
  f("euler_ancestral", eta, [](Options o) { return EulerAncestral<S>({.eta = o.eta.value_or(1)}); });
  f("dpm2_ancestral", eta, [](Options o) { return Dpm2<S>(o.path, {.eta = o.eta.value_or(1)}); });
  f("dpmpp_2m_sde", eta, [](Options o) { return SdeDpmSolver2M<S>(o.eta.value_or(1)); });
  f("edm", detail::TakenOptions{.churn = true}, [](Options o) { return EdmStochastic<S>(o.path, {.churn = o.churn.value_or(40)}); });
  f("euler_maruyama", nothing, [](Options o) { return ReverseStepper<sde::EulerMaruyama<S>>(o.path); });
  f("sra1", nothing, [](Options o) { return ReverseStepper<sde::Sra1<S>>(o.path); });
  f("predictor_corrector", detail::TakenOptions{.eta = true, .signal_to_noise = true, .langevin_rule = true}, [](Options o) {
    return PredictorCorrector(EulerAncestral<S>({.eta = o.eta.value_or(1)}),
                              {.signal_to_noise = o.signal_to_noise.value_or(0.16),
                               .rule = o.langevin_rule.value_or(sde::LangevinRule::deviation)});
  });
}

/// In the order of `for_each_sampler`.
[[nodiscard]] inline std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  for_each_sampler<double>([&](const char* name, const auto&, const auto&) { names.emplace_back(name); });
  return names;
}

/// Calls f(sampler) with the sampler of that name. \return what f returns, of one type for all samplers
/// \throw ValueError naming what there is, for an option that the sampler does not take, and as its constructor
template <sde::State S, class F>
auto with_sampler(std::string_view name, const SamplerOptions& options, F&& f) {
  using Result = std::invoke_result_t<F&, Ddim<S>&>;
  std::conditional_t<std::is_void_v<Result>, std::optional<std::true_type>, std::optional<Result>> result;
  std::string known;
  for_each_sampler<S>([&](const char* each, const detail::TakenOptions& taken, const auto& make) {
    known += (known.empty() ? "" : ", ") + std::string(each);
    if (name != each) return;
    detail::check_options(name, taken, options);
    auto sampler = make(options);
    if constexpr (std::is_void_v<Result>) {
      f(sampler);
      result.emplace();
    } else {
      result.emplace(f(sampler));
    }
  });
  if (!result) throw ValueError("sampler: expected one of " + known + ", got '" + std::string(name) + "'");
  if constexpr (!std::is_void_v<Result>) return std::move(*result);
}

}  // namespace easy_diffusion::diffusion
