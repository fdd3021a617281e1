// The one translation unit that carries the implementations of the stb headers. Theirs are static; what leaves this file
// has names of this library, so that it links beside another copy of stb.

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>

// The resizer was rewritten as a second version; older packages have only the first.
#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#if __has_include(<stb_image_resize2.h>)
#define STB_IMAGE_RESIZE2_IMPLEMENTATION
#include <stb_image_resize2.h>
#else
#include <stb_image_resize.h>
#endif

#include "easy_diffusion/io/detail/stb.hpp"

namespace easy_diffusion::io::detail {

stbi_uc* stbi_load_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found, int channels) {
  return ::stbi_load_from_memory(file, bytes, width, height, found, channels);
}

unsigned short* stbi_load_16_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found,
                                         int channels) {
  return ::stbi_load_16_from_memory(file, bytes, width, height, found, channels);
}

int stbi_info_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found) {
  return ::stbi_info_from_memory(file, bytes, width, height, found);
}

int stbi_is_16_bit_from_memory(const stbi_uc* file, int bytes) { return ::stbi_is_16_bit_from_memory(file, bytes); }

const char* stbi_failure_reason() { return ::stbi_failure_reason(); }

int stbi_write_png_to_func(void (*append)(void* context, void* data, int bytes), void* context, int width, int height,
                           int channels, const void* pixels, int row_bytes) {
  return ::stbi_write_png_to_func(append, context, width, height, channels, pixels, row_bytes);
}

bool stb_resize(const float* in, int in_height, int in_width, float* out, int out_height, int out_width, int channels) {
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
