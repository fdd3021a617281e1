/// \file
/// Noise from increments at hand: to replay a path, and to walk one path at several step sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Increments from a list; number i belongs to step i, whatever its dt. Who asks for standard noise, as samplers do, gets
/// number i as well: the list is then one of standard normal numbers.
template <State S>
class GivenIncrements {
 public:
  /// \param dw increments, one a step
  /// \param dz space-time integrals, as many, or none where no stepper asks for them
  /// \throw ShapeError where dz has another length than dw
  explicit GivenIncrements(std::vector<S> dw, std::vector<S> dz = {}) : dw_(std::move(dw)), dz_(std::move(dz)) {
    if (!dz_.empty() && dz_.size() != dw_.size())
      throw ShapeError("given increments: expected as many dZ as dW, got " + std::to_string(dz_.size()) + " and " +
                       std::to_string(dw_.size()));
  }

  [[nodiscard]] static constexpr bool follows_time() noexcept { return false; }

  /// \throw ValueError where the list has no such step
  void standard_increment(const Step& step, S& z) const { z = at(dw_, "dW", step); }
  void increment(const Step& step, S& dw) const { dw = at(dw_, "dW", step); }
  void increment(const Step& step, S& dw, S& dz) const {
    dw = at(dw_, "dW", step);
    dz = at(dz_, "dZ", step);
  }

 private:
  static const S& at(const std::vector<S>& list, const char* name, const Step& step) {
    if (step.index < 0 || step.index >= static_cast<std::int64_t>(list.size()))
      throw ValueError("given increments: no " + std::string(name) + " for step " + std::to_string(step.index) +
                       " among " + std::to_string(list.size()));
    return list[static_cast<std::size_t>(step.index)];
  }

  std::vector<S> dw_, dz_;
};

/// The path of a finer noise in longer steps: step i of length dt is steps i r ... i r + r - 1 of length dt / r.
/// Grids of N/r steps, for several r, then see one Brownian path. It keeps work states: not for several threads.
template <class Fine, State S>
requires NoiseSource<Fine, S>
class CoarseNoise {
 public:
  /// \throw ValueError unless refinement >= 1
  CoarseNoise(Fine fine, std::int64_t refinement) : fine_(std::move(fine)), refinement_(refinement) {
    if (refinement < 1)
      throw ValueError("coarse noise: expected a refinement of at least 1, got " + std::to_string(refinement));
  }

  [[nodiscard]] bool follows_time() const { return sde::follows_time(fine_); }

  template <State B>
  requires NoiseSource<Fine, B>
  void increment(const Step& step, B& dw) {
    with_room(dw, [&](B& part, B&) {
      fill(dw, 0);
      for (std::int64_t i = 0; i < refinement_; ++i) {
        fine_.increment(fine_step(step, i), part);
        update_elements([](auto& sum, const auto& e) { sum += e; }, dw, part);
      }
    });
  }

  template <State B>
  requires NoiseSource<Fine, B>
  void increment(const Step& step, B& dw, B& dz) {
    with_room(dw, [&](B& part, B& part_z) {
      fill(dw, 0);
      fill(dz, 0);
      for (std::int64_t i = 0; i < refinement_; ++i) {
        const Step fine = fine_step(step, i);
        fine_.increment(fine, part, part_z);
        // W stands at dw above the start of the long step when the short one begins.
        update_elements(
            [dt = fine.dt](auto& z, const auto& z_part, auto& w, const auto& w_part) {
              z += z_part + static_cast<std::remove_reference_t<decltype(w)>>(dt) * w;
              w += w_part;
            },
            dz, part_z, dw, part);
      }
    });
  }

 private:
  [[nodiscard]] Step fine_step(const Step& step, std::int64_t i) const {
    const double dt = step.dt / static_cast<double>(refinement_);
    return {step.index * refinement_ + i, step.t + static_cast<double>(i) * dt, dt};
  }

  // Work states for dW of the state's type are kept; a shared Brownian motion is a number or a short array.
  template <class B, class F>
  void with_room(const B& dw, F&& f) {
    if constexpr (std::is_same_v<B, S>) {
      make_room(part_, dw);
      make_room(part_z_, dw);
      f(part_, part_z_);
    } else {
      B part = dw, part_z = dw;
      f(part, part_z);
    }
  }

  Fine fine_;
  std::int64_t refinement_;
  S part_{}, part_z_{};
};

}  // namespace easy_diffusion::sde
