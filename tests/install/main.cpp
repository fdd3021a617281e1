// Uses what the package must bring: the headers, the compiled stb library, the third-party libraries.

#include <cstdio>

#include <Eigen/Core>
#include <gif_lib.h>
#include <nlohmann/json.hpp>
#include <stb_image.h>
#include <xsimd/xsimd.hpp>
#include <zlib.h>

#include <easy_diffusion/core/random.hpp>
#include <easy_diffusion/core/tensor.hpp>

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
  if (zlibVersion() == nullptr || GifErrorString(D_GIF_ERR_OPEN_FAILED) == nullptr) return 1;
  return nlohmann::json::parse("[1, 2]").size() == 2 ? 0 : 1;
}
