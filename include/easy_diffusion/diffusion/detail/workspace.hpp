/// \file
/// Work memory of denoisers that wrap others.
#pragma once

#include <any>

#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion::detail {

/// Memory that a denoiser keeps from call to call, of whatever type a call needs. A copy starts with none. What holds
/// one serves one run at a time.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) noexcept {}
  Workspace& operator=(const Workspace&) noexcept { return *this; }
  ~Workspace() = default;

  template <class W>
  [[nodiscard]] W& get() const {
    W* held = std::any_cast<W>(&held_);
    return held != nullptr ? *held : held_.emplace<W>();
  }

  /// A state with the extents of `x`; its elements are unspecified.
  template <sde::State S>
  [[nodiscard]] S& like(const S& x) const {
    S& work = get<S>();
    sde::make_room(work, x);
    return work;
  }

 private:
  mutable std::any held_;
};

}  // namespace easy_diffusion::diffusion::detail
