/// \file
/// The largest of many errors, past which no NaN slips.
#pragma once

#include <cmath>

namespace easy_diffusion::test {

/// Sees one error after another. A NaN stays, whatever comes after it, so that `error.value() <= limit` fails.
class Worst {
 public:
  void see(double error) {
    if (!std::isnan(worst_) && !(error <= worst_)) worst_ = error;
  }
  [[nodiscard]] double value() const noexcept { return worst_; }

 private:
  double worst_ = 0;
};

}  // namespace easy_diffusion::test
