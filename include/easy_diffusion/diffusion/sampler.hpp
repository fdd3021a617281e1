/// \file
/// What all samplers offer, and the loop that runs one: from a noised state along noise levels to a picture.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// What a sampler declares and a test measures.
struct SamplerTraits {
  int order = 1;            ///< of the global error against the probability-flow equation, down to a level that has noise;
                            ///< of a stochastic sampler: weak order
  int history = 0;          ///< earlier steps that a step looks back on
  bool stochastic = false;  ///< asks the noise source
  bool adaptive = false;    ///< chooses its own steps: `evaluations` is the least it can make
  bool any_start = true;    ///< begins at pure noise too; false: needs alpha > 0
  bool any_direction = false;  ///< also walks from picture to noise
};

/// A sampler moves a state along levels. It keeps its history and its work states, so that it allocates at its first step
/// only; one object serves one run at a time.
/// | expression                                       | meaning                                                        |
/// |--------------------------------------------------|----------------------------------------------------------------|
/// | `Sampler::traits`                                | a constant `SamplerTraits`                                     |
/// | `typename Sampler::state_type`                   | the state                                                      |
/// | `sampler.evaluations(levels)`                    | evaluations of the denoiser in a run along these levels        |
/// | `sampler.start(levels)`                          | checks the levels, throwing ValueError, and forgets all history |
/// | `sampler.step(denoiser, x, levels, i, noise)`    | moves `x` from `levels[i]` to `levels[i + 1]`; steps come in order |
/// | `sampler.predicted_x0()`                         | the x0 predicted last, as the step used it                     |
/// The noise of step i is `sde::standard_increment(noise, noise_step(levels, i), z)`: standard normal, and that of the
/// interval of sigma / alpha which the step walks. `sde::BrownianNoise` looks at i alone; a source with a memory, such as
/// `sde::BrownianTree` (`brownian_path`), gives neighbours parts of one path. Time falls: such a tree has start > end. A step
/// that draws more than once asks `sde::follows_time(noise)`, and takes another index or a part of the interval for each.
template <class Sampler, class D, class Noise>
concept SamplerOf = requires(Sampler& sampler, const Sampler& constant, const D& denoiser,
                             typename Sampler::state_type& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
  { Sampler::traits } -> std::convertible_to<SamplerTraits>;
  { constant.evaluations(levels) } -> std::convertible_to<std::int64_t>;
  sampler.start(levels);
  sampler.step(denoiser, x, levels, i, noise);
  { constant.predicted_x0() } -> std::convertible_to<const typename Sampler::state_type&>;
};

/// What an observer sees after every step.
template <sde::State S>
struct SamplerView {
  std::int64_t step = 0;   ///< steps made
  std::int64_t steps = 0;  ///< steps in all
  NoiseLevel level;        ///< of x
  const S& x;
  const S& x0;  ///< predicted in this step
};

/// Where a run ended.
struct SampleResult {
  std::int64_t steps = 0;        ///< made
  std::int64_t evaluations = 0;  ///< of the denoiser, counted
  bool stopped = false;          ///< by an observer
};

/// A source of noise for a sampler that asks for none.
struct NoNoise {
  template <sde::State S>
  void increment(const sde::Step&, S&) const {
    throw ValueError("sampler: this sampler needs a noise source");
  }
};

namespace detail {

template <sde::State S, class Observer>
bool stops_sampling(Observer& observer, const SamplerView<S>& view) {
  if constexpr (std::is_void_v<decltype(observer(view))>) {
    observer(view);
    return false;
  } else {
    return observer(view) == sde::Flow::stop;
  }
}

/// \throw ShapeError for a state without elements, of which nothing can be painted
template <sde::State S>
void expect_elements(const char* what, const S& x) {
  if (sde::element_count(x) == 0) throw ShapeError(std::string(what) + ": expected a state of at least one element, got an empty one");
}

/// \throw ValueError for what no run of this sampler can begin with
template <class Sampler>
void check_levels(const char* name, const NoiseLevels& levels) {
  if (!Sampler::traits.any_direction && !levels.denoises())
    throw ValueError(std::string(name) + ": expected levels from noise to picture, got the other direction");
  if (!Sampler::traits.any_start && levels.front().is_pure_noise())
    throw ValueError(std::string(name) + ": expected a first level with alpha above 0, got pure noise");
  if (levels.front().is_clean())
    throw ValueError(std::string(name) + ": expected a first level that has noise, got a clean state");
}

}  // namespace detail

/// Runs a sampler along all levels.
/// \param x         a state of level `levels.front()`; becomes one of `levels.back()`
/// \param noise     `sde::BrownianNoise` or any `sde::NoiseSource`, in time sigma / alpha (`noise_step`); `NoNoise` for
///                  samplers that are not stochastic
/// \param observers `observer(const SamplerView<S>&)`, after every step; returns nothing or an `sde::Flow`
/// \throw ShapeError for a state without elements, ValueError for levels that the sampler cannot walk, and whatever the
///        denoiser throws. A way of no steps (`NoiseLevels::tail(0)`) leaves x as it is, and nobody is asked
template <class Sampler, class D, class Noise, class... Observers>
SampleResult sample(Sampler& sampler, const D& denoiser, typename Sampler::state_type& x, const NoiseLevels& levels,
                    Noise&& noise, Observers&&... observers) {
  using S = typename Sampler::state_type;
  static_assert(Denoiser<D, S>, "sample: the denoiser has no operator()(x, level, x0) const for this state");
  detail::expect_elements("sample", x);
  if (levels.steps() == 0) return {};
  sampler.start(levels);
  const CountingDenoiser<D> counted(denoiser);
  SampleResult result;
  while (result.steps < levels.steps() && !result.stopped) {
    sampler.step(counted, x, levels, result.steps, noise);
    ++result.steps;
    [[maybe_unused]] const SamplerView<S> view{result.steps, levels.steps(), levels[result.steps], x,
                                               sampler.predicted_x0()};
    ((result.stopped = detail::stops_sampling<S>(observers, view) || result.stopped), ...);
  }
  result.evaluations = counted.evaluations();
  return result;
}

}  // namespace easy_diffusion::diffusion
