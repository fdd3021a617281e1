/// \file
/// Filling in the unknown part of a picture, with any sampler and without training for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/step_draws.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

struct InpaintingOptions {
  std::int64_t resampling = 1;  ///< times that each piece of the way is walked: more fits the parts better together
  std::int64_t jump = 1;        ///< steps in a piece
  std::uint64_t seed = 0;       ///< of the noise on the known part and on the way back
  std::uint64_t first_element = 0;  ///< elements of the samples before, where x is part of a batch
};

namespace detail {

/// From a state to a noisier one: x <- x.x x + x.noise z.
[[nodiscard]] inline StepWeights add_noise(const NoiseLevel& from, const NoiseLevel& to) {
  const double kept = to.alpha / from.alpha;
  const double before = kept * from.sigma;
  return {kept, 0, std::sqrt(std::fmax(0, to.sigma * to.sigma - before * before))};
}

}  // namespace detail

/// Sampling under the condition that part of the picture is known \cite song_2021_score: before the first step and
/// after every step the known part of the state is replaced by the known picture, noised to the level at hand. By
/// itself that gives a new part that knows little of the known one; with resampling \cite lugmayr_2022_repaint the way
/// is cut into pieces of `jump` steps, and at the end of a piece the whole state is noised back to its beginning and
/// the piece walked again, `resampling` times in all, so that the two parts come to agree. It stays an approximation:
/// what is decided at a noisy level has seen the known part through that noise. `start` makes a multistep sampler
/// forget its history then.
///
/// A step's noise has the index that the sampler asks for times `resampling` plus the repetition (`detail::RepeatedIndex`);
/// of a source that follows time it is that part of the step's interval. The noise of the known part and of the ways back is
/// that of (seed, streams::inpainting, number of the use). No address is used twice.
/// \param x         a state of level `levels.front()`; becomes the picture, with the known part to the bit (unless an
///                  observer stops the run)
/// \param noise     of the sampler, see `sample`
/// \param known     the extents of x; may be anything where it is not known
/// \param mask      the extents of x; 1 where `known` is known, 0 where it is not
/// \param observers as for `sample`; see each repetition's steps
/// \throw ValueError for a mask with other values, resampling or jump below 1, and levels from picture to noise;
///        ShapeError where extents differ or are empty; and as `sample`
template <class Sampler, class D, class Noise, class... Observers>
SampleResult inpaint(Sampler& sampler, const D& denoiser, typename Sampler::state_type& x, const NoiseLevels& levels,
                     Noise&& noise, const typename Sampler::state_type& known,
                     const typename Sampler::state_type& mask, const InpaintingOptions& options = {},
                     Observers&&... observers) {
  using S = typename Sampler::state_type;
  static_assert(Denoiser<D, S>, "inpaint: the denoiser has no operator()(x, level, x0) const for this state");
  if (options.resampling < 1 || options.jump < 1)
    throw ValueError("inpainting: expected resampling and jump of at least 1, got " +
                     std::to_string(options.resampling) + " and " + std::to_string(options.jump));
  if (!levels.denoises())
    throw ValueError("inpainting: expected levels from noise to picture, got the other direction");
  detail::expect_elements("inpainting", x);
  sde::for_each_element(
      [](const auto&, const auto&, const auto& m) {
        if (!(m == 0 || m == 1))
          throw ValueError("inpainting: expected a mask of 0 and 1, got " + sde::detail::shown(static_cast<double>(m)));
      },
      x, known, mask);

  S z{};
  sde::make_room(z, x);
  const sde::BrownianNoise own{options.seed, options.first_element, streams::inpainting};
  std::int64_t uses = 0;
  const auto put_known = [&](const NoiseLevel& level) {
    if (level.is_clean()) {
      sde::update_elements([](auto& e, const auto& k, const auto& m) { e = m != 0 ? k : e; }, x, known, mask);
      return;
    }
    own.standard_increment({uses++, 0, 1}, z);
    sde::update_elements(
        [level](auto& e, const auto& k, const auto& m, const auto& n) {
          using T = std::remove_reference_t<decltype(e)>;
          e = m != 0 ? sde::detail::multiply_add(static_cast<T>(level.alpha), k, static_cast<T>(level.sigma) * n) : e;
        },
        x, known, mask, std::as_const(z));
  };
  const auto go_back = [&](const NoiseLevel& from, const NoiseLevel& to) {
    own.standard_increment({uses++, 0, 1}, z);
    detail::move(detail::add_noise(from, to), x, x, z);
  };

  const CountingDenoiser<D> counted(denoiser);
  SampleResult result;
  const std::int64_t all_steps = options.resampling * levels.steps();
  if (levels.steps() > 0) sampler.start(levels);
  put_known(levels.front());
  for (std::int64_t first = 0; first < levels.steps(); first += options.jump) {
    const std::int64_t end = std::min(first + options.jump, levels.steps());
    for (std::int64_t repetition = 0; repetition < options.resampling; ++repetition) {
      if (repetition > 0) {
        go_back(levels[end], levels[first]);
        sampler.start(levels);
      }
      detail::StepDraw its_noise(noise, repetition, options.resampling,
                                 detail::RepeatedIndex{options.resampling, repetition, levels.steps()});
      for (std::int64_t i = first; i < end; ++i) {
        sampler.step(counted, x, levels, i, its_noise);
        put_known(levels[i + 1]);
        ++result.steps;
        result.evaluations = counted.evaluations();
        [[maybe_unused]] const SamplerView<S> view{result.steps, all_steps, levels[i + 1], x, sampler.predicted_x0()};
        ((result.stopped = detail::stops_sampling<S>(observers, view) || result.stopped), ...);
        if (result.stopped) return result;
      }
    }
  }
  put_known({levels.back().time, 1, 0});  // where the last level has noise left
  return result;
}

}  // namespace easy_diffusion::diffusion
