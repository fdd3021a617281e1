// IDX, plain and gzipped.
#include "easy_diffusion/io/idx.hpp"

#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace easy_diffusion;
  fuzz::read_or_refuse([&] {
    const auto x = io::read_idx(fuzz::bytes_of(data, size), "file");
    fuzz::require(x.size() == x.shape().numel(), "an array of another size than its shape's");
  });
  return 0;
}
