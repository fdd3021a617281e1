/// \file
/// The declarations of stb (image, image_write and either version of image_resize). Their definitions are
/// compiled once, in a small library that the build links.
#pragma once

#if __has_include(<stb_image.h>)
#include <stb_image.h>
#include <stb_image_write.h>
#if __has_include(<stb_image_resize2.h>)
#include <stb_image_resize2.h>
#else
#include <stb_image_resize.h>
#endif
#else
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#if __has_include(<stb/stb_image_resize2.h>)
#include <stb/stb_image_resize2.h>
#else
#include <stb/stb_image_resize.h>
#endif
#endif

namespace easy_diffusion::io::detail {

/// Both [height, width, channels], contiguous. Catmull-Rom upwards, Mitchell downwards, edges continued.
/// False where there was no memory.
inline bool stb_resize(const float* in, int in_height, int in_width, float* out, int out_height, int out_width,
                       int channels) {
#if defined(STBIR_INCLUDE_STB_IMAGE_RESIZE2_H)
  // Four channels are four channels here, not colour and coverage.
  const stbir_pixel_layout layout = channels == 1   ? STBIR_1CHANNEL
                                    : channels == 2 ? STBIR_2CHANNEL
                                    : channels == 3 ? STBIR_RGB
                                                    : STBIR_4CHANNEL;
  return stbir_resize_float_linear(in, in_width, in_height, 0, out, out_width, out_height, 0, layout) != nullptr;
#else
  return stbir_resize_float(in, in_width, in_height, 0, out, out_width, out_height, 0, channels) != 0;
#endif
}

}  // namespace easy_diffusion::io::detail
