/// \file
/// Clipping inside a step, as the original does it.
#pragma once

namespace easy_diffusion::diffusion {

/// The usual way to clip is a denoiser that clips: epsilon follows the clipped x0, and DDIM with eta = 1 is DDPM. The
/// original clamps the predicted x0 to [-1, 1] and keeps the epsilon of the unclamped one. In DDPM's formula, which has no
/// epsilon, both are the same.
enum class OriginalClip { off, on };

}  // namespace easy_diffusion::diffusion
