/// \file
/// What ends a training whose numbers have left the finite ones.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::train {

/// A loss, a gradient or a part of the state is NaN or infinite. The message names the step, the loss and what may help.
class DivergenceError : public ValueError {
 public:
  /// \param what "a gradient is not finite at step 12" \param loss of that step, where it is known
  DivergenceError(const std::string& what, std::int64_t step, std::optional<double> loss, const std::string& file = {})
      : ValueError("training: " + what + shown(loss) + (file.empty() ? "" : ", and " + file + " is not written") +
                   "; a smaller learning rate may help, or a longer warm-up, or clipped gradients"),
        step_(step),
        loss_(loss) {}

  [[nodiscard]] std::int64_t step() const noexcept { return step_; }  ///< counted from 1
  [[nodiscard]] std::optional<double> loss() const noexcept { return loss_; }

 private:
  static std::string shown(std::optional<double> loss) {
    if (!loss) return {};
    return " (loss " + number_text(*loss) + ")";
  }

  std::int64_t step_;
  std::optional<double> loss_;
};

/// Whether all elements are finite, by their bits: also where the compiler assumes that they are.
template <class T>
[[nodiscard]] bool all_finite(TensorView<const T> x) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    static_assert(sizeof(Bits) == sizeof(T));
    constexpr Bits exponent = sizeof(T) == 4 ? Bits{0x7f800000U} : static_cast<Bits>(0x7ff0000000000000U);
    Bits found = 0;
    for (const T& v : x) found |= static_cast<Bits>((std::bit_cast<Bits>(v) & exponent) == exponent);
    return found == 0;
  }
  return true;
}

}  // namespace easy_diffusion::train
