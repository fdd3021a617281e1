/// \file
/// Which steps of the chain a training batch is shown. Each is a function of (seed, training step, sample), so that a
/// batch that is split sees the same.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/grid.hpp"

namespace easy_diffusion::diffusion {

/// Steps of a batch, and what each sample's loss is weighed with so that the mean is that of uniform steps.
struct DrawnTimesteps {
  std::vector<std::int64_t> t;
  std::vector<double> weights;
};

namespace detail {

[[nodiscard]] inline NoiseAddress time_address(std::uint64_t seed, std::uint32_t step) {
  return {seed, streams::training_time, step};
}
inline void check_chain(std::int64_t steps) {
  if (steps < 1) throw ValueError("timestep sampler: expected at least one step, got " + std::to_string(steps));
}
/// \throw ValueError for a negative number
inline void check_samples(std::int64_t first_sample, std::int64_t count) {
  if (first_sample < 0 || count < 0)
    throw ValueError("timestep sampler: expected a first sample and a count of at least 0, got " +
                     std::to_string(first_sample) + " and " + std::to_string(count));
}

}  // namespace detail

/// Every step as likely as the other.
class UniformTimesteps {
 public:
  /// \param steps T \throw ValueError for steps < 1
  explicit UniformTimesteps(std::int64_t steps) : steps_(steps) { detail::check_chain(steps); }

  /// \param step of training \param first_sample number of the first of `count` in the whole batch
  /// \throw ValueError for a negative number
  [[nodiscard]] DrawnTimesteps draw(std::uint64_t seed, std::uint32_t step, std::int64_t first_sample,
                                    std::int64_t count) const {
    detail::check_samples(first_sample, count);
    DrawnTimesteps drawn{{}, std::vector<double>(static_cast<std::size_t>(count), 1.0)};
    for (std::int64_t n = first_sample; n < first_sample + count; ++n) drawn.t.push_back(at(seed, step, n));
    return drawn;
  }

  [[nodiscard]] std::int64_t at(std::uint64_t seed, std::uint32_t step, std::int64_t sample) const {
    return static_cast<std::int64_t>(uniform_integer(
        static_cast<std::uint64_t>(steps_), detail::time_address(seed, step), static_cast<std::uint64_t>(sample)));
  }

 private:
  std::int64_t steps_;
};

/// Pairs: sample 2 k is shown a uniform t, sample 2 k + 1 is shown T - 1 - t \cite song_2020_ddim. The mean over a batch
/// varies less.
class AntitheticTimesteps {
 public:
  /// \throw ValueError for steps < 1
  explicit AntitheticTimesteps(std::int64_t steps) : steps_(steps), uniform_(steps) {}

  /// As of `UniformTimesteps`.
  [[nodiscard]] DrawnTimesteps draw(std::uint64_t seed, std::uint32_t step, std::int64_t first_sample,
                                    std::int64_t count) const {
    detail::check_samples(first_sample, count);
    DrawnTimesteps drawn{{}, std::vector<double>(static_cast<std::size_t>(count), 1.0)};
    for (std::int64_t n = first_sample; n < first_sample + count; ++n) {
      const std::int64_t t = uniform_.at(seed, step, n / 2);
      drawn.t.push_back(n % 2 == 0 ? t : steps_ - 1 - t);
    }
    return drawn;
  }

 private:
  std::int64_t steps_;
  UniformTimesteps uniform_;
};

/// A step is as likely as the root of the mean square of the losses seen there lately: the estimate of a bound varies least
/// \cite nichol_2021_improved. Uniform until every step has been seen `kept` times.
class ImportanceTimesteps {
 public:
  /// All that it knows: data of a checkpoint.
  struct History {
    Tensor<double> losses;       ///< [T, kept], the oldest first
    Tensor<std::int64_t> count;  ///< [T], of those that are set
  };

  /// \param kept losses a step \param uniform_share of the draws that do not look at losses
  /// \throw ValueError for steps < 1, kept < 1, and a share outside [0, 1]
  explicit ImportanceTimesteps(std::int64_t steps, std::int64_t kept = 10, double uniform_share = 1e-3)
      : steps_(steps), kept_(kept), uniform_share_(uniform_share) {
    detail::check_chain(steps);
    if (kept < 1) throw ValueError("timestep sampler: expected to keep at least one loss, got " + std::to_string(kept));
    if (!(uniform_share >= 0 && uniform_share <= 1))
      throw ValueError("timestep sampler: expected a uniform share of 0 to 1, got " +
                       sde::detail::shown(uniform_share));
    history_ = {Tensor<double>(Shape{steps, kept}), Tensor<std::int64_t>(Shape{steps})};
  }

  /// As of `UniformTimesteps`; weights are 1 / (T probability).
  [[nodiscard]] DrawnTimesteps draw(std::uint64_t seed, std::uint32_t step, std::int64_t first_sample,
                                    std::int64_t count) const {
    detail::check_samples(first_sample, count);
    const std::vector<double> chances = probabilities();
    std::vector<double> ends;  // of each step's share of [0, 1)
    double sum = 0;
    for (const double chance : chances) ends.push_back(sum += chance);
    DrawnTimesteps drawn;
    for (std::int64_t n = first_sample; n < first_sample + count; ++n) {
      const double where = sum * uniform<double>(detail::time_address(seed, step), static_cast<std::uint64_t>(n));
      auto t = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), where) - ends.begin());
      while (t >= chances.size() || chances[t] <= 0) --t;  // rounding, at the very end
      drawn.t.push_back(static_cast<std::int64_t>(t));
      drawn.weights.push_back(1 / (static_cast<double>(steps_) * chances[t]));
    }
    return drawn;
  }

  /// Takes the losses of a batch, in the order of its samples, without the weights.
  /// \throw ShapeError unless there is a loss for each t; ValueError for a t outside the chain
  void update(std::span<const std::int64_t> t, std::span<const double> losses) {
    if (t.size() != losses.size())
      throw ShapeError("timestep sampler: expected " + std::to_string(t.size()) + " losses, got " +
                       std::to_string(losses.size()));
    for (const std::int64_t each : t)
      if (each < 0 || each >= steps_)
        throw ValueError("timestep sampler: t: expected 0 to " + std::to_string(steps_ - 1) + ", got " +
                         std::to_string(each));
    for (std::size_t n = 0; n < t.size(); ++n) {
      double* const row = history_.losses.data() + t[n] * kept_;
      std::int64_t& count = history_.count[t[n]];
      if (count == kept_) {
        std::move(row + 1, row + kept_, row);
        --count;
      }
      row[count++] = losses[n];
    }
  }

  [[nodiscard]] bool is_warm() const noexcept {
    for (const std::int64_t count : history_.count)
      if (count < kept_) return false;
    return true;
  }

  /// Of each step; their sum is 1 up to rounding.
  [[nodiscard]] std::vector<double> probabilities() const {
    const double even = 1 / static_cast<double>(steps_);
    std::vector<double> result(static_cast<std::size_t>(steps_), even);
    if (!is_warm()) return result;
    double total = 0;
    for (std::int64_t t = 0; t < steps_; ++t) {
      double squares = 0;
      for (std::int64_t k = 0; k < kept_; ++k) squares += history_.losses(t, k) * history_.losses(t, k);
      total += result[static_cast<std::size_t>(t)] = std::sqrt(squares / static_cast<double>(kept_));
    }
    // Without a loss anywhere, or with one that is not finite, nothing is to be learned from them.
    const bool usable = total > 0 && std::isfinite(total);
    for (double& chance : result)
      chance = usable ? (1 - uniform_share_) * (chance / total) + uniform_share_ * even : even;
    return result;
  }

  [[nodiscard]] const History& history() const noexcept { return history_; }
  /// \throw ShapeError, ValueError for a history of another sampler
  void restore(History history) {
    expect_shape("timestep sampler: losses", history_.losses.shape(), history.losses.shape());
    expect_shape("timestep sampler: count", history_.count.shape(), history.count.shape());
    for (const std::int64_t count : history.count)
      if (count < 0 || count > kept_)
        throw ValueError("timestep sampler: expected counts of 0 to " + std::to_string(kept_) + ", got " +
                         std::to_string(count));
    history_ = std::move(history);
  }

 private:
  std::int64_t steps_, kept_;
  double uniform_share_;
  History history_;
};

}  // namespace easy_diffusion::diffusion
