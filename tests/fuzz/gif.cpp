// GIF, its first frame.
#include "pictures.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  easy_diffusion::fuzz::read_picture_after("GIF8", data, size);
  return 0;
}
