/// \file
/// What a conditional model is told about each sample.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::nn {

/// A class number a sample, or a sequence of embeddings a sample. Nothing given: no sample has a condition. A sample
/// without one is shown a context of zeros.
template <class T>
struct Condition {
  std::vector<std::int64_t> classes;        ///< [N]; a negative number: this sample has no condition
  Tensor<T> sequence;                       ///< [N, L, D]
  std::vector<std::uint8_t> sequence_null;  ///< [N], not 0: this sample has no condition; empty: all have one

  [[nodiscard]] bool empty() const noexcept { return classes.empty() && sequence.empty(); }

  /// Whether sample n has no condition.
  [[nodiscard]] bool is_null(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    if (!classes.empty()) return classes[i] < 0;
    return sequence.empty() || (!sequence_null.empty() && sequence_null[i] != 0);
  }

  /// The condition of `count` samples from number `first` on. \throw ValueError where it is not for so many
  [[nodiscard]] Condition part(std::int64_t first, std::int64_t count) const {
    if (empty()) return {};
    const std::int64_t all = classes.empty() ? sequence.extent(0) : static_cast<std::int64_t>(classes.size());
    if (first < 0 || count < 1 || first > all - count)
      throw ValueError("condition: expected samples among 0 to " + std::to_string(all - 1) + ", got " +
                       std::to_string(count) + " from " + std::to_string(first) + " on");
    Condition result;
    if (!classes.empty()) result.classes.assign(classes.begin() + first, classes.begin() + first + count);
    if (!sequence.empty()) result.sequence = Tensor<T>::copy_of(sequence.view().slice(first, count));
    if (!sequence_null.empty())
      result.sequence_null.assign(sequence_null.begin() + first, sequence_null.begin() + first + count);
    return result;
  }

  /// \param batch number of samples that it is for
  /// \throw ShapeError where their numbers differ, ValueError where both kinds are given
  void check(const std::string& who, std::int64_t batch) const {
    const auto count = static_cast<std::size_t>(batch);
    if (!classes.empty() && !sequence.empty())
      throw ValueError(who + ": expected class numbers or a sequence as condition, got both");
    if (!classes.empty() && classes.size() != count)
      throw ShapeError(who + ": expected " + std::to_string(batch) + " class numbers, got " +
                       std::to_string(classes.size()));
    if (!sequence.empty()) {
      expect_rank(who + " condition", 3, "[N, L, D]", sequence.shape());
      expect_shape(who + " condition", sequence.shape().with_front(batch), sequence.shape());
    }
    if (!sequence_null.empty() && (sequence.empty() || sequence_null.size() != count))
      throw ShapeError(who + ": expected marks of " + std::to_string(sequence.empty() ? 0 : batch) +
                       " sequences without a condition, got " + std::to_string(sequence_null.size()));
  }
};

}  // namespace easy_diffusion::nn
