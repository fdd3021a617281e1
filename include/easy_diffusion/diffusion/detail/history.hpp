/// \file
/// What multistep samplers keep: the evaluations of earlier steps.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/detail/combine.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// Evaluations and the levels they were made at, the latest first, in a ring: nothing is copied, and nothing allocated once
/// every place has been used.
template <sde::State S, std::size_t places>
class History {
 public:
  static constexpr std::size_t capacity = places;

  void forget() noexcept {
    count_ = 0;
    next_step_ = any_step;
  }

  /// To be called as step i begins. A step that does not follow the one before has no history. \return whether it follows
  bool begin_step(std::int64_t i) noexcept {
    const bool follows = next_step_ == i;
    if (!follows && next_step_ != any_step) count_ = 0;
    next_step_ = i + 1;
    return follows;
  }

  /// Room for one more evaluation, with the extents of x. The latest before it is dropped where it was made at pure noise:
  /// no polynomial in lambda goes through minus infinity.
  [[nodiscard]] S& push(const NoiseLevel& level, const S& x) {
    if (count_ > 0 && this->level(0).is_pure_noise()) count_ = 0;
    newest_ = (newest_ + places - 1) % places;
    count_ = std::min(count_ + 1, places);
    levels_[newest_] = level;
    sde::make_room(states_[newest_], x);
    return states_[newest_];
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] const S& operator[](std::size_t age) const noexcept { return states_[(newest_ + age) % places]; }
  [[nodiscard]] const NoiseLevel& level(std::size_t age) const noexcept { return levels_[(newest_ + age) % places]; }

  /// x <- kept x + w_0 (*this)[0] + ... of the first `used`. \pre 1 <= used <= count()
  template <std::size_t n = 1>
  void add_to(S& x, double kept, const std::array<double, places>& w, std::size_t used) const {
    if (used == n) {
      add(x, kept, w, std::make_index_sequence<n>{});
    } else if constexpr (n < places) {
      add_to<n + 1>(x, kept, w, used);
    }
  }

 private:
  static constexpr std::int64_t any_step = -1;

  template <std::size_t... age>
  void add(S& x, double kept, const std::array<double, places>& w, std::index_sequence<age...>) const {
    if (kept == 1) {
      sde::detail::add_combination(x, {w[age]...}, (*this)[age]...);
      return;
    }
    sde::update_elements(
        [kept, &w](auto& e, const auto&... h) {
          using T = std::remove_reference_t<decltype(e)>;
          T total = static_cast<T>(kept) * e;
          ((total = sde::detail::multiply_add(static_cast<T>(w[age]), h, total)), ...);
          e = total;
        },
        x, (*this)[age]...);
  }

  std::array<S, places> states_{};
  std::array<NoiseLevel, places> levels_{};
  std::size_t newest_ = 0, count_ = 0;
  std::int64_t next_step_ = any_step;
};

}  // namespace easy_diffusion::diffusion::detail
