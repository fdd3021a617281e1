// npy, as numbers of several types.
#include "easy_diffusion/io/npy.hpp"

#include "support.hpp"

namespace {

template <class T>
void read(const std::uint8_t* data, std::size_t size) {
  using namespace easy_diffusion;
  fuzz::read_or_refuse([&] {
    const auto x = io::read_npy<T>(fuzz::bytes_of(data, size), "file");
    fuzz::require(x.size() == x.shape().numel(), "an array of another size than its shape's");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read<float>(data, size);
  read<double>(data, size);
  read<std::int64_t>(data, size);
  read<std::uint8_t>(data, size);
  return 0;
}
