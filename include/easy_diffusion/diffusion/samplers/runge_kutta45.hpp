/// \file
/// The probability-flow equation with steps whose length follows an error estimate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/flow_system.hpp"
#include "easy_diffusion/diffusion/detail/per_sample.hpp"
#include "easy_diffusion/diffusion/detail/second_order.hpp"
#include "easy_diffusion/diffusion/detail/step_path.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/sde/adaptive.hpp"
#include "easy_diffusion/sde/state.hpp"
#include "easy_diffusion/sde/steppers/dormand_prince.hpp"

namespace easy_diffusion::diffusion {

/// Dormand and Prince's method \cite dormand_1980_family on y = x / alpha in u = log(sigma / alpha), where the equation
/// is dy/du = y - x0 \cite song_2021_score. Between two levels of the run it makes as many steps as the tolerances ask
/// for; so few levels are enough, but two with noise: the step to a clean state is of order 1.
///
/// Each sample of a tensor [N, ...] is stepped by itself, so that it does not depend on the others of its batch: the
/// denoiser is called with tensors [1, ...], and told which sample that is (`DenoiserOf`). `evaluations` counts one
/// sample; a run counts the calls that it makes. Each integration makes some work states anew.
template <sde::State S>
class RungeKutta45 {
 public:
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 5, .adaptive = true, .any_start = false, .any_direction = true};

  /// \param path levels between those of the run
  /// \throw ValueError for an empty function, and for tolerances that are not above 0
  explicit RungeKutta45(LevelPath path, const sde::AdaptiveOptions& options = {.tolerances = {1e-5, 1e-5}})
      : path_("RK45", std::move(path)), options_(options) {
    sde::detail::check_tolerances("RK45", options.tolerances);
  }

  /// The least that can be: a step between two levels takes seven, and two more to find its first length.
  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const noexcept {
    const std::int64_t of_order_1 = detail::first_order_steps(levels);
    return of_order_1 + (options_.first_step > 0 ? 7 : 9) * (levels.steps() - of_order_1);
  }
  [[nodiscard]] const S& predicted_x0() const noexcept { return x0_; }

  void start(const NoiseLevels& levels) const { detail::check_levels<RungeKutta45>("RK45", levels); }

  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& /*noise*/) {
    const NoiseLevel& from = levels[i];
    const NoiseLevel& to = levels[i + 1];
    sde::make_room(x0_, x);
    if (detail::is_first_order_step(from, to)) {
      denoiser(x, from, x0_);
      detail::move(detail::keep_epsilon(from, to), x, x0_);
      return;
    }
    const auto [samples, elements] = detail::sample_extents(x);
    if constexpr (requires { S::uninitialized(x.shape().with_front(1)); }) {
      if (samples != 1) {
        const auto shape = x.shape().with_front(1);
        if (sample_.shape() != shape) {
          sample_ = S::uninitialized(shape);
          sample_x0_ = S::uninitialized(shape);
        }
        for (std::int64_t n = 0; n < samples; ++n) {
          std::copy_n(x.data() + n * elements, elements, sample_.data());
          integrate(DenoiserOf<D>(denoiser, {n, 1}), sample_, from, to, sample_x0_);
          std::copy_n(sample_.data(), elements, x.data() + n * elements);
          std::copy_n(sample_x0_.data(), elements, x0_.data() + n * elements);
        }
        return;
      }
    }
    integrate(denoiser, x, from, to, x0_);
  }

 private:
  template <class D>
  struct Flow {
    detail::StepDenoiser<D, S> evaluate;

    void drift(const S& y, double u, S& out) const { evaluate(y, std::exp(u), -1, out); }
  };

  template <class D>
  void integrate(const D& denoiser, S& x, const NoiseLevel& from, const NoiseLevel& to, S& x0) {
    const Flow<D> flow{{denoiser, path_, from, to, work_, x0}};
    detail::scale(x, 1 / from.alpha);
    sde::integrate_adaptive(stepper_, flow, x, -from.lambda(), -to.lambda(), options_);
    detail::scale(x, to.alpha);
  }

  detail::StepPath path_;
  sde::AdaptiveOptions options_;
  sde::DormandPrince5<S> stepper_;
  S x0_{}, work_{}, sample_{}, sample_x0_{};
};

}  // namespace easy_diffusion::diffusion
