/// \file
/// What is used of stb (image, image_write and either version of image_resize), under its own names in this namespace. It is
/// compiled once, in a small library that the build links, and hidden there: a program may have a copy of stb of its own.
#pragma once

namespace easy_diffusion::io::detail {

using stbi_uc = unsigned char;

/// Rows of bytes, or of 16-bit numbers, that `std::free` gives back; null where they cannot be read.
stbi_uc* stbi_load_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found, int channels);
unsigned short* stbi_load_16_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found,
                                         int channels);
int stbi_info_from_memory(const stbi_uc* file, int bytes, int* width, int* height, int* found);
int stbi_is_16_bit_from_memory(const stbi_uc* file, int bytes);
/// Why this thread's last picture could not be read; may be null.
const char* stbi_failure_reason();

/// 0 where there was no memory.
int stbi_write_png_to_func(void (*append)(void* context, void* data, int bytes), void* context, int width, int height,
                           int channels, const void* pixels, int row_bytes);

/// Both [height, width, channels], contiguous. Catmull-Rom upwards, Mitchell downwards, edges continued.
/// False where there was no memory.
bool stb_resize(const float* in, int in_height, int in_width, float* out, int out_height, int out_width, int channels);

}  // namespace easy_diffusion::io::detail
