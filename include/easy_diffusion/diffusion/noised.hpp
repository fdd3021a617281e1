/// \file
/// A picture with noise on it: where picture to picture starts, and what inpainting puts in place of the known.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/detail/update.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::diffusion {

/// alpha x0 + sigma z with z that address's standard normal noise: a start at `level`. Picture to picture
/// \cite meng_2021_sdedit takes `levels.tail(strength)` and a picture noised to their `front()`.
/// \param first_element elements of the samples before, where `x0` is part of a batch: it then gets the same bits as in
///                      the whole
/// \return the extents of x0
template <sde::State S>
[[nodiscard]] S noised(const S& x0, const NoiseLevel& level, const NoiseAddress& address,
                       std::uint64_t first_element = 0) {
  S x = sde::make_like(x0);
  sde::draw_normal(x, 1, address, first_element);
  detail::move({level.sigma, level.alpha, 0}, x, x0);
  return x;
}

}  // namespace easy_diffusion::diffusion
