/// \file
/// What SDE steppers share: drawing the increments that a system's noise needs, and g(x, t) dW for each noise type.
#pragma once

#include <cmath>
#include <type_traits>

#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde::detail {

/// True where every element has a Brownian motion of its own.
template <class System>
inline constexpr bool noise_per_element =
    System::noise_type == NoiseType::additive || System::noise_type == NoiseType::diagonal;

/// Calls f(dW). `room` holds dW where every element has its own.
template <class System, State S, class Noise, class F>
void with_increment(S& room, const S& x, const Step& step, Noise& noise, F&& f) {
  if constexpr (noise_per_element<System>) {
    make_room(room, x);
    noise.increment(step, room);
    f(room);
  } else {
    brownian_t<System, S> dw{};
    noise.increment(step, dw);
    f(dw);
  }
}

/// Calls f(dW, dZ).
template <class System, State S, class Noise, class F>
void with_increments(S& room, S& room_z, const S& x, const Step& step, Noise& noise, F&& f) {
  if constexpr (noise_per_element<System>) {
    make_room(room, x);
    make_room(room_z, x);
    noise.increment(step, room, room_z);
    f(room, room_z);
  } else {
    brownian_t<System, S> dw{}, dz{};
    noise.increment(step, dw, dz);
    f(dw, dz);
  }
}

/// f(x_i, w_i, others_i...) for every element, where `w` is a state or one number for all elements.
template <class F, State S, class W, class... Others>
void update_with_noise(F&& f, S& x, const W& w, Others&... others) {
  if constexpr (std::is_same_v<W, S>) {
    update_elements(f, x, w, others...);
  } else {
    update_elements([&f, w](auto& e, auto&... o) { f(e, static_cast<std::remove_reference_t<decltype(e)>>(w), o...); }, x,
                    others...);
  }
}

/// f(x_i, w_i, z_i, others_i...), likewise.
template <class F, State S, class W, class... Others>
void update_with_noises(F&& f, S& x, const W& w, const W& z, Others&... others) {
  if constexpr (std::is_same_v<W, S>) {
    update_elements(f, x, w, z, others...);
  } else {
    update_elements(
        [&f, w, z](auto& e, auto&... o) {
          using T = std::remove_reference_t<decltype(e)>;
          f(e, static_cast<T>(w), static_cast<T>(z), o...);
        },
        x, others...);
  }
}

/// out = g(x, t), one number an element.
template <class System, State S>
void diffusion_of(const System& system, const S& x, double t, S& out) {
  if constexpr (System::noise_type == NoiseType::additive) {
    fill(out, system.diffusion(t));
  } else {
    system.diffusion(x, t, out);
  }
}

/// out = g(x, t) dW
template <class System, State S, class W>
void diffusion_times(const System& system, const S& x, double t, const W& dw, S& out) {
  if constexpr (System::noise_type == NoiseType::additive) {
    const double g = system.diffusion(t);
    update_elements([g](auto& e, const auto& w) { e = static_cast<std::remove_reference_t<decltype(e)>>(g) * w; }, out,
                    dw);
  } else if constexpr (System::noise_type == NoiseType::diagonal) {
    system.diffusion(x, t, out);
    update_elements([](auto& e, const auto& w) { e *= w; }, out, dw);
  } else if constexpr (System::noise_type == NoiseType::scalar) {
    system.diffusion(x, t, out);
    update_with_noise([](auto& e, const auto& w) { e *= w; }, out, dw);
  } else {
    system.diffusion(x, t, dw, out);
  }
}

/// out = f(x, t), zero where the system declares none.
template <class System, State S>
void drift_or_zero(const System& system, const S& x, double t, S& out) {
  if constexpr (zero_drift<System>) {
    fill(out, 0);
  } else {
    system.drift(x, t, out);
  }
}

}  // namespace easy_diffusion::sde::detail
