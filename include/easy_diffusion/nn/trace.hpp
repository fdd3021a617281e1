/// \file
/// What layers do in a forward pass, noted for a description of the model.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/shape.hpp"

namespace easy_diffusion::nn {

/// One call of one layer.
struct TracedCall {
  std::string kind;    ///< "convolution" and the like
  const void* weight;  ///< where its weight's elements lie: this tells whose call it was
  Shape in, out;
  double operations;  ///< multiplications and additions of its matrix products
};

/// While one lives, layers that this thread calls note it. Traces may be nested; the innermost takes the notes.
class Trace {
 public:
  Trace() : outer_(std::exchange(active(), this)) {}
  ~Trace() { active() = outer_; }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  [[nodiscard]] const std::vector<TracedCall>& calls() const noexcept { return calls_; }

  /// Called by layers; costs nothing to speak of where nobody traces.
  static void note(const char* kind, const void* weight, const Shape& in, const Shape& out, double operations) {
    if (active() != nullptr) active()->calls_.push_back({kind, weight, in, out, operations});
  }

 private:
  static Trace*& active() noexcept {
    static thread_local Trace* trace = nullptr;
    return trace;
  }

  Trace* outer_;
  std::vector<TracedCall> calls_;
};

}  // namespace easy_diffusion::nn
