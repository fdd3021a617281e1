/// \file
/// The discrete chain \cite ho_2020_ddpm, all of its timesteps or some of them: q(x_t | x_0), the posterior, and the step
/// that a network's output stands for. Losses are in `diffusion_loss.hpp`, the bound in `variational_bound.hpp`.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/detail/samples.hpp"
#include "easy_diffusion/diffusion/mean_type.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/transition.hpp"
#include "easy_diffusion/diffusion/variance_type.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// What a network puts out.
struct OutputType {
  MeanType mean = Prediction::epsilon;
  VarianceType variance = VarianceType::fixed_small;
};

/// p(x_{t-1} | x_t) of a network.
template <class S>
struct ReverseStep {
  S mean, log_variance;
  S x0;  ///< predicted
};

/// A chain of n steps, numbered t = 0 ... n - 1 by the state that they leave; step 0 leads to the clean picture. Under a
/// stride step t leaves timestep number `timestep(t)`, which is what the network is told, and reaches that of t - 1.
/// Functions come in two forms: for one sample of any `sde::State`, and for a batch `[N, ...]` with a t for each sample.
/// A batch's network output is `[N, ..., C]`, or `[N, ..., 2 C]` where it learns the variance: the mean's channels, then
/// the variance's.
class GaussianDiffusion {
 public:
  /// All timesteps.
  explicit GaussianDiffusion(const Schedule& schedule, OutputType output = {})
      : GaussianDiffusion(schedule, every(schedule.steps()), output) {}

  /// \param timesteps rising
  /// \throw ValueError for none, one outside the schedule, or where they do not rise
  GaussianDiffusion(const Schedule& schedule, const std::vector<std::int64_t>& timesteps, OutputType output = {})
      : output_(output) {
    if (timesteps.empty()) throw ValueError("Gaussian diffusion: expected at least one timestep, got none");
    levels_.push_back(schedule.level(-1));
    for (const std::int64_t timestep : timesteps) {
      if (timestep < 0)
        throw ValueError("Gaussian diffusion: expected timesteps of at least 0, got " + std::to_string(timestep));
      if (levels_.size() > 1 && static_cast<double>(timestep) <= levels_.back().time)
        throw ValueError("Gaussian diffusion: expected timesteps that rise, got " + std::to_string(timestep) +
                         " at place " + std::to_string(levels_.size() - 1));
      levels_.push_back(schedule.level(timestep));
      transitions_.push_back(diffusion::transition(levels_.back(), levels_[levels_.size() - 2]));
    }
  }

  /// n.
  [[nodiscard]] std::int64_t steps() const noexcept { return static_cast<std::int64_t>(transitions_.size()); }
  [[nodiscard]] OutputType output() const noexcept { return output_; }
  [[nodiscard]] bool learns_variance() const noexcept { return is_learned(output_.variance); }

  /// Level of x_t; the clean picture's for t = -1. \throw ValueError unless -1 <= t < steps()
  [[nodiscard]] const NoiseLevel& level(std::int64_t t) const {
    check(t, -1);
    return levels_[static_cast<std::size_t>(t + 1)];
  }
  /// Timestep of the schedule; -1 for t = -1. \throw as `level`
  [[nodiscard]] std::int64_t timestep(std::int64_t t) const { return static_cast<std::int64_t>(level(t).time); }
  /// From x_t to x_{t-1}. \throw ValueError unless 0 <= t < steps()
  [[nodiscard]] const Transition& transition(std::int64_t t) const {
    check(t, 0);
    return transitions_[static_cast<std::size_t>(t)];
  }
  /// Logarithm of the posterior's variance; at t = 0, where that is zero, the one of t = 1 (beta in a chain of one step).
  /// \throw as `transition`
  [[nodiscard]] double posterior_log_variance(std::int64_t t) const {
    const Transition& step = transition(t == 0 && steps() > 1 ? 1 : t);
    return std::log(step.variance > 0 ? step.variance : step.beta);
  }
  /// Logarithm of the variance that the output stands for. The fixed large one is beta, at t = 0 the posterior's of t = 1:
  /// the decoder has a better likelihood so. \throw as `transition`
  [[nodiscard]] LogVariance log_variance(std::int64_t t) const {
    const double small = posterior_log_variance(t);
    const bool first = t == 0 && output_.variance == VarianceType::fixed_large;
    return diffusion::log_variance(output_.variance, small, first ? small : std::log(transition(t).beta));
  }
  /// x0 from the state and the mean's output. \throw ValueError where it does not determine x0 (`prediction_map`)
  [[nodiscard]] PredictionMap x0_map(std::int64_t t) const {
    const Transition& step = transition(t);
    if (output_.mean.is_previous_x()) return {-step.x / step.x0, 1 / step.x0};
    return prediction_map(output_.mean.prediction(), Prediction::x0, level(t));
  }

  /// x_t = alpha x0 + sigma noise. \param[out] x_t the extents of x0 \throw ValueError for t outside the chain
  template <sde::State S>
  void q_sample(const S& x0, std::int64_t t, const S& noise, S& x_t) const {
    sde::make_room(x_t, x0);
    sde::update_elements(q_sample_of(t), x_t, x0, noise);
  }
  /// \param x0,noise [N, ...] \param t N of them \return x_t, [N, ...] \throw ShapeError, and ValueError as above
  template <class T>
  [[nodiscard]] Tensor<T> q_sample(const Tensor<T>& x0, std::span<const std::int64_t> t, const Tensor<T>& noise) const {
    check_batch("q_sample", x0.shape(), t);
    Tensor<T> x_t = Tensor<T>::uninitialized(x0.shape());
    detail::update_samples([&](std::int64_t n) { return q_sample_of(t[static_cast<std::size_t>(n)]); }, x_t, x0, noise);
    return x_t;
  }

  /// Mean of q(x_{t-1} | x_t, x_0). Its variance is `transition(t).variance`. \throw as `transition`
  template <sde::State S>
  void posterior_mean(const S& x0, const S& x_t, std::int64_t t, S& mean) const {
    sde::make_room(mean, x0);
    sde::update_elements(posterior_mean_of(t), mean, x0, x_t);
  }
  /// \param x0,x_t [N, ...] \param t N of them \return [N, ...] \throw ShapeError, and ValueError as above
  template <class T>
  [[nodiscard]] Tensor<T> posterior_mean(const Tensor<T>& x0, const Tensor<T>& x_t,
                                         std::span<const std::int64_t> t) const {
    check_batch("posterior_mean", x0.shape(), t);
    Tensor<T> mean = Tensor<T>::uninitialized(x0.shape());
    detail::update_samples([&](std::int64_t n) { return posterior_mean_of(t[static_cast<std::size_t>(n)]); }, mean, x0,
                           x_t);
    return mean;
  }

  /// The step of a network whose variance is fixed.
  /// \param output   what it put out for x_t \param clip whether the predicted x0 is clamped to [-1, 1]; a previous x as
  ///                 output is the mean as it is
  /// \throw ValueError for t outside the chain, where the output does not determine x0, and where the variance is learned
  template <sde::State S>
  void p_mean_variance(const S& x_t, std::int64_t t, const S& output, bool clip, ReverseStep<S>& step) const {
    expect_learned(false);
    step_of(x_t, t, output, output, clip, step);
  }
  /// The step of a network that learns its variance. \param variance_output v, see `VarianceType` \throw as above
  template <sde::State S>
  void p_mean_variance(const S& x_t, std::int64_t t, const S& output, const S& variance_output, bool clip,
                       ReverseStep<S>& step) const {
    expect_learned(true);
    step_of(x_t, t, output, variance_output, clip, step);
  }
  /// \param x_t [N, ..., C] \param t N of them \param output [N, ..., C], with a learned variance [N, ..., 2 C]
  /// \return all [N, ..., C] \throw ShapeError, and ValueError as above
  template <class T>
  [[nodiscard]] ReverseStep<Tensor<T>> p_mean_variance(const Tensor<T>& x_t, std::span<const std::int64_t> t,
                                                       const Tensor<T>& output, bool clip) const {
    check_batch("p_mean_variance", x_t.shape(), t);
    check_output("p_mean_variance", x_t.shape(), output.shape());
    ReverseStep<Tensor<T>> step{Tensor<T>::uninitialized(x_t.shape()), Tensor<T>::uninitialized(x_t.shape()),
                                Tensor<T>::uninitialized(x_t.shape())};
    const std::int64_t elements = detail::sample_elements(x_t.shape());
    const detail::OutputLayout layout{x_t.shape().back(), learns_variance()};
    detail::for_each_sample(x_t.shape(), [&](std::int64_t n) {
      const StepOf element = step_element(t[static_cast<std::size_t>(n)], clip);
      for (std::int64_t i = n * elements; i < (n + 1) * elements; ++i)
        element(step.mean[i], step.log_variance[i], step.x0[i], x_t[i], output[layout.mean(i)],
                output[layout.variance(i)]);
    });
    return step;
  }

  /// What a network is told: the timesteps of a batch. \return [N] \throw ValueError for a t outside the chain
  template <class T>
  [[nodiscard]] Tensor<T> times(std::span<const std::int64_t> t) const {
    Tensor<T> result = Tensor<T>::uninitialized(Shape{static_cast<std::int64_t>(t.size())});
    for (std::size_t n = 0; n < t.size(); ++n) result[static_cast<std::int64_t>(n)] = static_cast<T>(level(t[n]).time);
    return result;
  }

  /// \throw ShapeError unless there is a batch and a t for each of its samples; ValueError for a t outside the chain
  void check_batch(std::string_view who, const Shape& shape, std::span<const std::int64_t> t) const {
    if (shape.rank() < 1 || shape.numel() < 1)
      throw ShapeError(std::string(who) + ": expected [N, ...] of at least one element, got " + shape.to_string());
    if (static_cast<std::int64_t>(t.size()) != shape[0])
      throw ShapeError(std::string(who) + ": expected a timestep for each of " + std::to_string(shape[0]) +
                       " samples, got " + std::to_string(t.size()));
    for (const std::int64_t each : t) check(each, 0);
  }
  /// \throw ShapeError unless `output` is the shape of a network's output for states of `shape`
  void check_output(std::string_view who, const Shape& shape, const Shape& output) const {
    Shape expected;
    for (std::size_t axis = 0; axis + 1 < shape.rank(); ++axis) expected.push_back(shape[axis]);
    if (shape.rank() > 0) expected.push_back(shape.back() * (learns_variance() ? 2 : 1));
    expect_shape(std::string(who) + ": output", expected, output);
  }
  /// \throw ValueError unless the variance is learned, or fixed
  void expect_learned(bool learned) const {
    if (learned != learns_variance())
      throw ValueError("Gaussian diffusion: the variance is " + to_string(output_.variance) + ": expected " +
                       (learned ? "one output" : "an output for the mean and one for the variance"));
  }

 private:
  /// out = first * first_value + second * second_value
  struct WeightedSum {
    double first, second;

    template <class T>
    void operator()(T& out, const T& first_value, const T& second_value) const {
      out = static_cast<T>(first) * first_value + static_cast<T>(second) * second_value;
    }
  };

  /// The parts of a step, element by element, in double.
  struct StepOf {
    PredictionMap map;
    Transition step;
    LogVariance variance;
    bool clip, previous_x;

    template <class T>
    void operator()(T& mean, T& log_variance, T& x0, const T& x, const T& output, const T& v) const {
      double predicted = map.x * static_cast<double>(x) + map.prediction * static_cast<double>(output);
      if (clip) predicted = std::clamp(predicted, -1.0, 1.0);
      mean = previous_x ? output : static_cast<T>(step.x0 * predicted + step.x * static_cast<double>(x));
      log_variance = static_cast<T>(variance(static_cast<double>(v)));
      x0 = static_cast<T>(predicted);
    }
  };

  static std::vector<std::int64_t> every(std::int64_t steps) {
    std::vector<std::int64_t> result;
    for (std::int64_t t = 0; t < steps; ++t) result.push_back(t);
    return result;
  }

  void check(std::int64_t t, std::int64_t lowest) const {
    if (t < lowest || t >= steps())
      throw ValueError("Gaussian diffusion: t: expected " + std::to_string(lowest) + " to " +
                       std::to_string(steps() - 1) + ", got " + std::to_string(t));
  }

  [[nodiscard]] WeightedSum q_sample_of(std::int64_t t) const {
    check(t, 0);
    return {level(t).alpha, level(t).sigma};
  }
  [[nodiscard]] WeightedSum posterior_mean_of(std::int64_t t) const { return {transition(t).x0, transition(t).x}; }
  [[nodiscard]] StepOf step_element(std::int64_t t, bool clip) const {
    return {x0_map(t), transition(t), log_variance(t), clip, output_.mean.is_previous_x()};
  }

  template <class S>
  void step_of(const S& x_t, std::int64_t t, const S& output, const S& v, bool clip, ReverseStep<S>& step) const {
    const StepOf element = step_element(t, clip);
    sde::make_room(step.mean, x_t);
    sde::make_room(step.log_variance, x_t);
    sde::make_room(step.x0, x_t);
    sde::update_elements([&element](auto&... e) { element(e...); }, step.mean, step.log_variance, step.x0, x_t, output,
                         v);
  }

  OutputType output_;
  std::vector<NoiseLevel> levels_;       // of t = -1, 0, ...
  std::vector<Transition> transitions_;  // of t = 0, ...
};

}  // namespace easy_diffusion::diffusion
