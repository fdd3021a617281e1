/// \file
/// All samplers by name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/samplers/any_sampler.hpp"
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
#include "easy_diffusion/diffusion/samplers/sampler_options.hpp"
#include "easy_diffusion/diffusion/samplers/unipc.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/euler_maruyama.hpp"
#include "easy_diffusion/sde/steppers/explicit_runge_kutta.hpp"
#include "easy_diffusion/sde/steppers/stochastic_runge_kutta.hpp"

namespace easy_diffusion::diffusion {

namespace detail {

/// The table of samplers: calls f(name, defaults, make) for each, where `make.template operator()<S>(options)` makes one for
/// states S from whole options.
/// The defaults say too what a sampler takes: an option that is empty there is one that it does not know.
template <class F>
void for_each_sampler_entry(F&& f) {
  using Options = const SamplerOptions&;
  using Defaults = SamplerOptions;
  // Of the probability-flow equation, one evaluation a step.
  f("ddim", Defaults{.eta = 0.0}, []<class S>(Options o) { return Ddim<S>(*o.eta); });
  f("euler", Defaults{}, []<class S>(Options) { return Euler<S>(); });
  f("dpmpp_2m", Defaults{}, []<class S>(Options) { return DpmSolver2M<S>(); });
  f("dpmpp_3m", Defaults{}, []<class S>(Options) { return DpmSolver3M<S>(); });
  f("unipc_2", Defaults{}, []<class S>(Options) { return UniPc<S, 2>(); });
  f("unipc_3", Defaults{}, []<class S>(Options) { return UniPc<S, 3>(); });
  f("deis_2", Defaults{}, []<class S>(Options) { return Deis<S, 2>(); });
  f("deis_3", Defaults{}, []<class S>(Options) { return Deis<S, 3>(); });
  f("ipndm", Defaults{}, []<class S>(Options) { return Ipndm<S>(); });
  f("lms", Defaults{}, []<class S>(Options) { return Lms<S>(); });
  // The same, several evaluations a step.
  f("pndm", Defaults{}, []<class S>(Options o) { return Pndm<S>(o.path); });
  f("dpmpp_2s", Defaults{}, []<class S>(Options) { return DpmSolver2S<S>(); });
  f("dpm2", Defaults{.eta = 0.0}, []<class S>(Options o) { return Dpm2<S>(o.path, {.eta = *o.eta}); });
  f("heun", Defaults{}, []<class S>(Options) { return Heun<S>(); });
  f("rk4", Defaults{}, []<class S>(Options o) { return ReverseStepper<sde::RungeKutta4<S>>(o.path); });
  f("rk45", Defaults{.tolerance = 1e-3}, []<class S>(Options o) {
    return RungeKutta45<S>(o.path, {.tolerances = {*o.tolerance, *o.tolerance}});
  });
  // With noise.
  f("ddpm", Defaults{.variance = VarianceType::fixed_small}, []<class S>(Options o) { return Ddpm<S>(*o.variance); });
  f("euler_ancestral", Defaults{.eta = 1.0}, []<class S>(Options o) { return EulerAncestral<S>({.eta = *o.eta}); });
  f("dpm2_ancestral", Defaults{.eta = 1.0}, []<class S>(Options o) { return Dpm2<S>(o.path, {.eta = *o.eta}); });
  f("dpmpp_2m_sde", Defaults{.eta = 1.0}, []<class S>(Options o) { return SdeDpmSolver2M<S>(*o.eta); });
  f("edm", Defaults{.churn = 40.0}, []<class S>(Options o) { return EdmStochastic<S>(o.path, {.churn = *o.churn}); });
  f("euler_maruyama", Defaults{}, []<class S>(Options o) { return ReverseStepper<sde::EulerMaruyama<S>>(o.path); });
  f("sra1", Defaults{}, []<class S>(Options o) { return ReverseStepper<sde::Sra1<S>>(o.path); });
  f("predictor_corrector", Defaults{.eta = 1.0, .signal_to_noise = 0.16, .langevin_rule = sde::LangevinRule::deviation},
    []<class S>(Options o) {
      return PredictorCorrector(EulerAncestral<S>({.eta = *o.eta}),
                                {.signal_to_noise = *o.signal_to_noise, .rule = *o.langevin_rule});
    });
}

}  // namespace detail

/// Calls f(name, defaults, make) for every sampler: `defaults` are its options where nothing else is asked for, those that it
/// does not take being empty; make(options) makes one.
/// \throw ValueError, from make, for an option that the sampler does not take, and as its constructor
template <sde::State S, class F>
void for_each_sampler(F&& f) {
  detail::for_each_sampler_entry([&](const char* name, const SamplerOptions& defaults, const auto& make) {
    f(name, defaults, [&](const SamplerOptions& options) {
      return make.template operator()<S>(with_defaults(name, options, defaults));
    });
  });
}

/// In the order of `for_each_sampler`.
[[nodiscard]] inline std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  detail::for_each_sampler_entry([&](const char* name, const auto&, const auto&) { names.emplace_back(name); });
  return names;
}

/// The sampler of that name, behind one type for all. It is compiled once, whatever denoisers and noise it meets; for
/// tensors of float and double in the library of models.
/// \throw ValueError naming what there is, for an option that the sampler does not take, and as its constructor
template <sde::State S>
[[nodiscard]] AnySampler<S> make_sampler(std::string_view name, const SamplerOptions& options = {}) {
  std::optional<AnySampler<S>> result;
  std::string known;
  for_each_sampler<S>([&](const char* each, const SamplerOptions&, const auto& make) {
    known += (known.empty() ? "" : ", ") + std::string(each);
    if (name == each) result.emplace(make(options));
  });
  if (!result) throw ValueError("sampler: expected one of " + known + ", got '" + std::string(name) + "'");
  return std::move(*result);
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template AnySampler<Tensor<float>> make_sampler(std::string_view, const SamplerOptions&);
extern template AnySampler<Tensor<double>> make_sampler(std::string_view, const SamplerOptions&);
#endif

}  // namespace easy_diffusion::diffusion
