/// \file
/// What samplers that are made by name can be told.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/predictor_corrector.hpp"

namespace easy_diffusion::diffusion {

/// An option that a sampler does not take must be left empty; one that it takes has a default then (`for_each_sampler`).
struct SamplerOptions {
  LevelPath path{};             ///< levels between those of the run; not empty for samplers that evaluate there
  std::optional<double> eta{};  ///< share of the posterior's noise
  std::optional<VarianceType> variance{};            ///< of a step of the discrete chain
  std::optional<double> churn{};                     ///< see `ChurnOptions`
  std::optional<double> tolerance{};                 ///< relative and absolute, of adaptive steps
  std::optional<double> signal_to_noise{};           ///< of a corrector, see `LangevinOptions`
  std::optional<sde::LangevinRule> langevin_rule{};  ///< of a corrector
};

/// Calls f(name, member) for every option that some samplers take and others do not.
template <class F>
void for_each_sampler_option(F&& f) {
  f("eta", &SamplerOptions::eta);
  f("variance", &SamplerOptions::variance);
  f("churn", &SamplerOptions::churn);
  f("tolerance", &SamplerOptions::tolerance);
  f("signal-to-noise ratio", &SamplerOptions::signal_to_noise);
  f("Langevin rule", &SamplerOptions::langevin_rule);
}

/// The options, with the defaults where one is empty.
/// \param sampler  in messages
/// \param defaults of that sampler; what is empty there, it does not take
/// \throw ValueError naming the sampler and the option that it does not take
[[nodiscard]] inline SamplerOptions with_defaults(std::string_view sampler, SamplerOptions options,
                                                  const SamplerOptions& defaults) {
  for_each_sampler_option([&](const char* name, auto member) {
    if (options.*member && !(defaults.*member))
      throw ValueError("sampler " + std::string(sampler) + ": takes no " + name);
    if (!(options.*member)) options.*member = defaults.*member;
  });
  return options;
}

}  // namespace easy_diffusion::diffusion
