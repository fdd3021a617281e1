/// \file
/// Linear maps of a picture that are products of one map of its rows and one of its columns, each output seeing a run
/// of neighbouring inputs: average pooling, bilinear and nearest resampling, and the transposes of all of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Along one axis: out[i] = sum over k < count(i) of weight(i, k) in[first(i) + k], with first(i) and first(i) + count(i)
/// never falling as i grows.
template <class T>
class AxisTaps {
 public:
  /// `run(i)` gives {first, last} of output i, `weight_of(i, input)` the weight of an input in it.
  template <class Run, class WeightOf>
  AxisTaps(std::int64_t inputs, std::int64_t outputs, Run&& run, WeightOf&& weight_of)
      : inputs_(inputs),
        first_(Tensor<std::int64_t>::uninitialized(Shape{outputs})),
        begin_(Tensor<std::int64_t>::uninitialized(Shape{outputs + 1})) {
    begin_[0] = 0;
    for (std::int64_t i = 0; i < outputs; ++i) {
      const auto [first, last] = run(i);
      first_[i] = first;
      begin_[i + 1] = begin_[i] + (last - first);
    }
    weights_ = Tensor<T>::uninitialized(Shape{begin_[outputs]});
    for (std::int64_t i = 0; i < outputs; ++i)
      for (std::int64_t k = 0; k < count(i); ++k) weights_[begin_[i] + k] = static_cast<T>(weight_of(i, first_[i] + k));
  }

  [[nodiscard]] std::int64_t inputs() const noexcept { return inputs_; }
  [[nodiscard]] std::int64_t outputs() const noexcept { return first_.extent(0); }
  [[nodiscard]] std::int64_t first(std::int64_t i) const noexcept { return first_[i]; }
  [[nodiscard]] std::int64_t count(std::int64_t i) const noexcept { return begin_[i + 1] - begin_[i]; }
  [[nodiscard]] const T* weights(std::int64_t i) const noexcept { return weights_.data() + begin_[i]; }

  /// The map whose matrix is the transpose of this one's: what backward applies to the output's gradient.
  [[nodiscard]] AxisTaps transposed() const {
    std::int64_t low = 0;  // outputs before it end before the input at hand
    std::int64_t high = 0;
    return AxisTaps(
        outputs(), inputs_,
        [&](std::int64_t input) {
          while (low < outputs() && first(low) + count(low) <= input) ++low;
          high = std::max(high, low);
          while (high < outputs() && first(high) <= input) ++high;
          return std::pair{low, high};
        },
        [&](std::int64_t input, std::int64_t output) { return weights(output)[input - first(output)]; });
  }

 private:
  std::int64_t inputs_;
  Tensor<std::int64_t> first_, begin_;
  Tensor<T> weights_;
};

/// y[n, i, j, c] = sum over the taps of rows and columns of their weights' product times x[n, row, column, c].
/// \param x      [N, rows.inputs(), columns.inputs(), C]
/// \param[out] y [N, rows.outputs(), columns.outputs(), C], written
template <class T>
void apply_taps(const T* x, std::int64_t batch, std::int64_t channels, const AxisTaps<T>& rows,
                const AxisTaps<T>& columns, T* y) {
  const std::int64_t row_elements = columns.inputs() * channels;
  parallel_for(0, batch * rows.outputs(), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t n = row / rows.outputs();
      const std::int64_t i = row % rows.outputs();
      for (std::int64_t j = 0; j < columns.outputs(); ++j) {
        T* out = y + (row * columns.outputs() + j) * channels;
        std::fill_n(out, channels, T(0));
        for (std::int64_t a = 0; a < rows.count(i); ++a) {
          const T* in = x + (n * rows.inputs() + rows.first(i) + a) * row_elements + columns.first(j) * channels;
          for (std::int64_t b = 0; b < columns.count(j); ++b, in += channels) {
            const T weight = rows.weights(i)[a] * columns.weights(j)[b];
            for (std::int64_t c = 0; c < channels; ++c) out[c] += weight * in[c];
          }
        }
      }
    }
  });
}

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
