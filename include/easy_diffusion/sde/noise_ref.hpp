/// \file
/// Any source of noise behind one type: what is compiled against it is compiled once.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// A source of noise that belongs to somebody else, who keeps it alive. It gives whole increments, the source's bits.
template <State S>
class NoiseRef {
 public:
  template <class Noise>
  requires(!std::same_as<std::remove_cv_t<Noise>, NoiseRef> &&
           requires(Noise& noise, const Step& step, S& dw) { noise.increment(step, dw); })
  // Implicit, as a reference is bound. NOLINTNEXTLINE(google-explicit-constructor)
  NoiseRef(Noise& noise)
      : noise_(const_cast<void*>(static_cast<const void*>(std::addressof(noise)))),
        follows_time_(sde::follows_time(noise)),
        z_([](void* source, const Step& step, S& z) {
          sde::standard_increment(*static_cast<Noise*>(source), step, z);
        }),
        dw_([](void* source, const Step& step, S& dw) { static_cast<Noise*>(source)->increment(step, dw); }),
        dw_and_dz_(space_time<Noise>()) {}

  [[nodiscard]] bool follows_time() const noexcept { return follows_time_; }

  void standard_increment(const Step& step, S& z) const { z_(noise_, step, z); }

  void increment(const Step& step, S& dw) const { dw_(noise_, step, dw); }

  /// \throw ValueError where the source has no dZ
  void increment(const Step& step, S& dw, S& dz) const {
    if (dw_and_dz_ == nullptr)
      throw ValueError("noise: this method needs a source of space-time integrals: increment(step, dw, dz)");
    dw_and_dz_(noise_, step, dw, dz);
  }

 private:
  using Increment = void (*)(void*, const Step&, S&);
  using SpaceTimeIncrement = void (*)(void*, const Step&, S&, S&);

  template <class Noise>
  static constexpr SpaceTimeIncrement space_time() {
    if constexpr (NoiseSource<Noise, S>) {
      return [](void* source, const Step& step, S& dw, S& dz) { static_cast<Noise*>(source)->increment(step, dw, dz); };
    } else {
      return nullptr;
    }
  }

  void* noise_;
  bool follows_time_;
  Increment z_, dw_;
  SpaceTimeIncrement dw_and_dz_;
};

}  // namespace easy_diffusion::sde
