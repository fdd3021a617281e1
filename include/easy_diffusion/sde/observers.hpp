/// \file
/// Observers for `integrate`: recording, statistics on the fly, progress, stopping.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

namespace detail {
inline std::int64_t checked_interval(std::int64_t every) {
  if (every < 1) throw ValueError("observer: expected an interval of at least 1 step, got " + std::to_string(every));
  return every;
}
}  // namespace detail

/// Keeps a copy of the state at the start and after every k-th step.
template <State S>
class RecordEvery {
 public:
  /// \throw ValueError unless every >= 1
  explicit RecordEvery(std::int64_t every) : every_(detail::checked_interval(every)) {}

  void operator()(std::int64_t step, double t, const S& x) {
    if (step % every_ != 0) return;
    times_.push_back(t);
    states_.push_back(x);
  }

  [[nodiscard]] const std::vector<double>& times() const noexcept { return times_; }
  [[nodiscard]] const std::vector<S>& states() const noexcept { return states_; }

 private:
  std::int64_t every_;
  std::vector<double> times_;
  std::vector<S> states_;
};

/// Count, mean and unbiased variance of a set of numbers.
struct Moments {
  std::int64_t count = 0;
  double mean = 0;
  double squares = 0;  ///< sum of squared deviations from the mean

  [[nodiscard]] double variance() const noexcept { return count > 1 ? squares / static_cast<double>(count - 1) : 0; }

  /// The moments of both sets together \cite chan_1983_algorithms.
  void merge(const Moments& other) noexcept {
    if (other.count == 0) return;
    const double n = static_cast<double>(count + other.count);
    const double delta = other.mean - mean;
    const double share = static_cast<double>(other.count) / n;
    squares += other.squares + delta * delta * static_cast<double>(count) * share;
    mean += delta * share;
    count += other.count;
  }
};

/// Moments over the elements of large states. Sums run in double over a fixed partition, over threads where the state
/// is contiguous: the bits do not depend on the number of threads. Keeps its work memory.
class MomentsOf {
 public:
  template <State S>
  Moments operator()(const S& x) {
    Moments total;
    if constexpr (detail::Contiguous<S>) {
      const auto n = static_cast<std::int64_t>(x.size());
      const std::int64_t pieces = (n + piece - 1) / piece;
      parts_.resize(static_cast<std::size_t>(pieces));
      parallel_for(0, pieces, 4, [&, data = x.data()](std::int64_t first, std::int64_t last) {
        for (std::int64_t p = first; p < last; ++p)
          parts_[static_cast<std::size_t>(p)] =
              of_piece(data + p * piece, n - p * piece < piece ? n - p * piece : piece);
      });
      for (const Moments& part : parts_) total.merge(part);
    } else {
      for_each_element([&total](const auto& e) { total.merge({1, static_cast<double>(e), 0}); }, x);
    }
    return total;
  }

 private:
  static constexpr std::int64_t piece = 4096;

  // Sixteen sums side by side: a fixed order that a compiler can keep in vector registers.
  template <class T, class F>
  static double sum(const T* data, std::int64_t n, F f) {
    constexpr std::int64_t lanes = 16;
    double sums[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
      for (std::int64_t j = 0; j < lanes; ++j) sums[j] += f(static_cast<double>(data[i + j]));
    for (std::int64_t j = 0; i + j < n; ++j) sums[j] += f(static_cast<double>(data[i + j]));
    double total = 0;
    for (const double s : sums) total += s;
    return total;
  }

  template <class T>
  static Moments of_piece(const T* data, std::int64_t n) {
    const double mean = sum(data, n, [](double e) { return e; }) / static_cast<double>(n);
    const double squares = sum(data, n, [mean](double e) { return (e - mean) * (e - mean); });
    return {n, mean, squares};
  }

  std::vector<Moments> parts_;
};

/// Mean and variance over the elements of the state, at the start and after every k-th step.
class StatisticsEvery {
 public:
  struct Row {
    std::int64_t step = 0;
    double t = 0;
    Moments moments;
  };

  /// \throw ValueError unless every >= 1
  explicit StatisticsEvery(std::int64_t every) : every_(detail::checked_interval(every)) {}

  template <State S>
  void operator()(std::int64_t step, double t, const S& x) {
    if (step % every_ == 0) rows_.push_back({step, t, moments_(x)});
  }

  [[nodiscard]] const std::vector<Row>& rows() const noexcept { return rows_; }

 private:
  std::int64_t every_;
  MomentsOf moments_;
  std::vector<Row> rows_;
};

/// Calls `report(step, t)` at the start and after every k-th step.
/// \throw ValueError unless every >= 1
template <class Report>
[[nodiscard]] auto progress_every(std::int64_t every, Report report) {
  return [every = detail::checked_interval(every), report = std::move(report)](std::int64_t step, double t,
                                                                               const auto&) mutable {
    if (step % every == 0) report(step, t);
  };
}

/// Ends the integration where `condition(step, t, x)` is true.
template <class Condition>
[[nodiscard]] auto stop_when(Condition condition) {
  return [condition = std::move(condition)](std::int64_t step, double t, const auto& x) mutable {
    return condition(step, t, x) ? Flow::stop : Flow::go_on;
  };
}

}  // namespace easy_diffusion::sde
