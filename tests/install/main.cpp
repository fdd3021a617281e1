// Uses what the package must bring: the headers, the compiled stb library, the third-party libraries.

#include <cstddef>
#include <cstdio>
#include <vector>

#include <Eigen/Core>
#include <gif_lib.h>
#include <nlohmann/json.hpp>
#include <xsimd/xsimd.hpp>
#include <zlib.h>

#include <easy_diffusion/core/random.hpp>
#include <easy_diffusion/core/tensor.hpp>
#include <easy_diffusion/io/image.hpp>

// A copy of a part of stb of its own, as many programs have one.
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

float fast_sum(const easy_diffusion::Tensor<float>& x);

int main() {
  const easy_diffusion::Tensor<float> x({2, 3}, 1.5f);
  if (fast_sum(x) != 9.0f) {
    std::puts("the sum of six times 1.5 is 9");
    return 1;
  }
  const unsigned char nothing[1] = {0};
  int width = 0, height = 0, channels = 0;
  if (stbi_load_from_memory(nothing, 1, &width, &height, &channels, 0) != nullptr) return 1;
  // A picture by the library, read by that copy.
  const std::vector<std::byte> png = easy_diffusion::io::encode_png(easy_diffusion::Tensor<float>({2, 3, 1}, 1.0f));
  stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(png.data()), static_cast<int>(png.size()),
                                          &width, &height, &channels, 0);
  if (pixels == nullptr || width != 3 || height != 2 || pixels[5] != 255) return 1;
  stbi_image_free(pixels);
  // And by the library; a JPEG that is none as well: libpng and libjpeg are linked.
  if (easy_diffusion::io::decode_image(png, "a.png")[5] != 1.0f) return 1;
  const std::byte damaged[] = {std::byte{0xFF}, std::byte{0xD8}, std::byte{0xFF}};
  try {
    static_cast<void>(easy_diffusion::io::decode_image(damaged, "a.jpg"));
    return 1;
  } catch (const easy_diffusion::FormatError&) {}
  if (zlibVersion() == nullptr || GifErrorString(D_GIF_ERR_OPEN_FAILED) == nullptr) return 1;
  return nlohmann::json::parse("[1, 2]").size() == 2 ? 0 : 1;
}
