// PGM and PPM, with bytes and in ASCII.
#include "pictures.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  easy_diffusion::fuzz::read_picture_after("P", data, size);
  return 0;
}
