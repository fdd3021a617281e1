/// \file
/// Guidance: more of what a condition asks for, from a model that knows it \cite ho_2022_guidance or from a classifier
/// \cite dhariwal_2021_guidance.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/detail/per_sample.hpp"
#include "easy_diffusion/diffusion/detail/workspace.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

namespace detail {

/// told <- untold + scale (told - untold)
template <sde::State S>
void guide(double scale, S& told, const S& untold) {
  sde::update_elements(
      [scale](auto& t, const auto& u) {
        using T = std::remove_reference_t<decltype(t)>;
        t = u + static_cast<T>(scale) * (t - u);
      },
      told, untold);
}

/// Evaluations of a model for one guided prediction.
[[nodiscard]] inline int guided_evaluations(double scale) noexcept { return scale == 0 || scale == 1 ? 1 : 2; }

}  // namespace detail

/// A conditional score model as a sampler wants one: s = s_null + scale (s_condition - s_null). A scale of 1 is the
/// condition as it was learned, more of it exaggerates what the condition changes, 0 leaves it out.
/// \tparam Model `forward(x, t, condition)` and `forward(x, t)`, of no condition, are scores
template <class Model, class Condition>
class Guided {
 public:
  using value_type = typename Model::value_type;
  using T = value_type;

  /// \param model outlives this \param condition one for each sample of the batches to come
  Guided(const Model& model, Condition condition, double scale)
      : model_(&model), condition_(std::move(condition)), scale_(scale) {}

  /// \param x [N, ...] \param t [N] \return the shape of x
  /// \throw as the model's own; ShapeError where the two scores differ in shape
  [[nodiscard]] Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t) const {
    if (scale_ == 0) return model_->forward(x, t);
    Tensor<T> told = model_->forward(x, t, condition_);
    if (scale_ == 1) return told;
    const Tensor<T> untold = model_->forward(x, t);
    expect_shape("guidance", told.shape(), untold.shape());
    detail::guide(scale_, told, untold);
    return told;
  }

  /// Times the model is evaluated in a step.
  [[nodiscard]] int evaluations() const noexcept { return detail::guided_evaluations(scale_); }

 private:
  const Model* model_;
  Condition condition_;
  double scale_;
};

/// Classifier-free guidance of denoisers: x0 = x0_null + scale (x0_condition - x0_null). At one x, epsilon, the score,
/// v and x0 are affine in one another, and an affine map commutes with a mean whose weights (1 - scale and scale) sum
/// to 1: guiding any of them is guiding them all.
///
/// A large scale raises the contrast of a sample. `rescale` takes it back \cite lin_2023_flaws: that share of the
/// result is the guided x0 with the standard deviation, within a sample, of the conditional one: x0 times some k.
///
/// The usual scale is another one: the source, and programs since, rescale the network's output. Where that is v, a factor k
/// makes k x0 + (1 - k) alpha x of x0: the same at pure noise, and less and less towards the picture. Where it is epsilon it is
/// k x0 + (1 - k) x / alpha, with a k next to 1 as long as the noise is large, which does next to nothing. Over a whole run
/// (mixtures in 64 dimensions, guided by 3 and 7.5, 50 steps of DDIM) the usual 0.7 of v takes back as much contrast as 0.45 to
/// 0.6 does here: take about 0.7 of the usual number. Of epsilon 0.7 takes back less than a tenth of what it does of v.
template <class Conditional, class Unconditional>
class GuidedDenoiser {
 public:
  /// \throw ValueError for a scale that is not finite, or unless 0 <= rescale <= 1
  GuidedDenoiser(Conditional conditional, Unconditional unconditional, double scale, double rescale = 0)
      : conditional_(std::move(conditional)),
        unconditional_(std::move(unconditional)),
        scale_(scale),
        rescale_(rescale) {
    if (!std::isfinite(scale)) throw ValueError("guidance: expected a finite scale, got " + sde::detail::shown(scale));
    if (!(rescale >= 0 && rescale <= 1))
      throw ValueError("guidance: rescale: expected a number from 0 to 1, got " + sde::detail::shown(rescale));
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    denoise(x, x0, [&](const auto& denoiser, S& out) { denoiser(x, level, out); });
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    denoise(x, x0, [&](const auto& denoiser, S& out) { call_for_samples(denoiser, samples, x, level, out); });
  }

  /// The variance that the model learned is not guided: it is the conditional one, the other only at scale 0.
  template <sde::State S>
  requires VarianceDenoiser<Conditional, S> && VarianceDenoiser<Unconditional, S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    if (scale_ == 0) {
      unconditional_(x, level, x0, v);
      return;
    }
    conditional_(x, level, x0, v);
    if (scale_ != 1) guide(x, x0, [&](const auto& denoiser, S& out) { denoiser(x, level, out); });
  }

  /// Times the two models are evaluated in one call: once at scale 0 (which leaves the condition, and `rescale`, out)
  /// and at scale 1 (where there is nothing to rescale), else twice.
  [[nodiscard]] int evaluations() const noexcept { return detail::guided_evaluations(scale_); }

 private:
  template <class S>
  struct Work {
    S untold{};
    std::vector<double> wanted, factors;  // of each sample
  };

  /// \param ask `ask(denoiser, out)` evaluates one of the two
  template <class S, class Ask>
  void denoise(const S& x, S& x0, const Ask& ask) const {
    if (scale_ == 0) {
      ask(unconditional_, x0);
      return;
    }
    ask(conditional_, x0);
    if (scale_ != 1) guide(x, x0, ask);
  }

  /// \param x0 the conditional one; becomes the guided one
  template <class S, class Ask>
  void guide(const S& x, S& x0, const Ask& ask) const {
    auto& work = work_.template get<Work<S>>();
    sde::make_room(work.untold, x);
    ask(unconditional_, work.untold);
    if (rescale_ > 0) detail::sample_deviations(x0, work.wanted);
    detail::guide(scale_, x0, work.untold);
    if (rescale_ > 0) scale_back(x0, work.wanted, work.factors);
  }

  template <class S>
  void scale_back(S& x0, const std::vector<double>& wanted, std::vector<double>& factors) const {
    detail::sample_deviations(x0, factors);
    for (std::size_t n = 0; n < factors.size(); ++n)
      factors[n] = factors[n] > 0 ? 1 + rescale_ * (wanted[n] / factors[n] - 1) : 1;
    const double* const factor = factors.data();
    detail::visit_samples(
        [factor](std::int64_t n, std::int64_t, auto& e) {
          e *= static_cast<std::remove_reference_t<decltype(e)>>(factor[n]);
        },
        x0);
  }

  Conditional conditional_;
  Unconditional unconditional_;
  double scale_, rescale_;
  detail::Workspace work_;
};

/// \param conditional,unconditional are copied; `std::cref(denoiser)` where one should not be
/// \throw ValueError for a scale that is not finite, or unless 0 <= rescale <= 1
template <class Conditional, class Unconditional>
[[nodiscard]] GuidedDenoiser<Conditional, Unconditional> guided(Conditional conditional, Unconditional unconditional,
                                                                double scale, double rescale = 0) {
  return {std::move(conditional), std::move(unconditional), scale, rescale};
}

/// Guidance by a classifier of noised states \cite dhariwal_2021_guidance: by Bayes' rule the score of x given y is
/// that of x plus the gradient of log p(y | x), and x0 = (x + sigma^2 score) / alpha; so x0 grows by scale sigma^2 /
/// alpha times the gradient.
/// \tparam Gradient `gradient(x, level, out)` writes the gradient of log p(y | x) to `out`; one in which y differs from
///         sample to sample also offers `gradient(x, level, out, samples)`
template <class D, class Gradient>
class ClassifierGuided {
 public:
  /// \throw ValueError for a scale that is not finite
  ClassifierGuided(D denoiser, Gradient gradient, double scale)
      : denoiser_(std::move(denoiser)), gradient_(std::move(gradient)), scale_(scale) {
    if (!std::isfinite(scale)) throw ValueError("guidance: expected a finite scale, got " + sde::detail::shown(scale));
  }

  /// \throw ValueError at pure noise, which tells a classifier nothing, unless the scale is 0
  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0) const {
    denoiser_(x, level, x0);
    guide(x, level, x0, [&](S& out) { gradient_(x, level, out); });
  }

  template <sde::State S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, const SampleRange& samples) const {
    call_for_samples(denoiser_, samples, x, level, x0);
    guide(x, level, x0, [&](S& out) { call_for_samples(gradient_, samples, x, level, out); });
  }

  template <sde::State S>
  requires VarianceDenoiser<D, S>
  void operator()(const S& x, const NoiseLevel& level, S& x0, S& v) const {
    denoiser_(x, level, x0, v);
    guide(x, level, x0, [&](S& out) { gradient_(x, level, out); });
  }

 private:
  template <class S, class Ask>
  void guide(const S& x, const NoiseLevel& level, S& x0, const Ask& ask) const {
    if (scale_ == 0) return;
    if (level.is_pure_noise())
      throw ValueError("guidance: a classifier's gradient does not determine x0 at pure noise");
    S& gradient = work_.like(x);
    ask(gradient);
    sde::update_elements(
        [weight = scale_ * level.sigma * level.sigma / level.alpha](auto& e, const auto& g) {
          e += static_cast<std::remove_reference_t<decltype(e)>>(weight) * g;
        },
        x0, std::as_const(gradient));
  }

  D denoiser_;
  Gradient gradient_;
  double scale_;
  detail::Workspace work_;
};

/// \param denoiser,gradient are copied; `std::cref` where one should not be
/// \throw ValueError for a scale that is not finite
template <class D, class Gradient>
[[nodiscard]] ClassifierGuided<D, Gradient> classifier_guided(D denoiser, Gradient gradient, double scale) {
  return {std::move(denoiser), std::move(gradient), scale};
}

}  // namespace easy_diffusion::diffusion
