/// \file
/// What the benchmarks verify before they time it.
#pragma once

#include <cmath>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::bench {

/// A sum in double, with the size that its rounding errors go by: the root of the summed squares.
struct PlainSum {
  double value = 0;
  double squares = 0;

  void add(double term) {
    value += term;
    squares += term * term;
  }
};

/// \throw std::runtime_error unless |got - want| <= 1e-4 (size + |want|); NaN fails
inline void expect_close(const std::string& what, double got, double want, double size) {
  if (std::abs(got - want) <= 1e-4 * (size + std::abs(want))) return;
  std::ostringstream message;
  message << what << ": expected " << want << ", got " << got;
  throw std::runtime_error(message.str());
}

inline void expect_close(const std::string& what, double got, const PlainSum& want) {
  expect_close(what, got, want.value, std::sqrt(want.squares));
}

/// Seven elements of n: both ends and some between.
inline std::vector<std::int64_t> samples(std::int64_t n) {
  std::vector<std::int64_t> result;
  for (const std::int64_t k : {0, 137, 291, 500, 618, 863, 1000}) result.push_back((n - 1) * k / 1000);
  return result;
}

/// Standard normal deviates, the same for the same number.
inline Tensor<float> random_tensor(const Shape& shape, std::uint32_t number) {
  Tensor<float> x = Tensor<float>::uninitialized(shape);
  fill_normal(x.span(), {1, streams::user, number});
  return x;
}

}  // namespace easy_diffusion::bench
