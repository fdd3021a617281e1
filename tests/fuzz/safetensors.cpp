// safetensors: the header, and every tensor in it that can be read.
#include "easy_diffusion/io/safetensors.hpp"

#include <cstring>

#include "support.hpp"

namespace {

using namespace easy_diffusion;

void read(std::span<const std::byte> bytes) {
  fuzz::read_or_refuse([&] {
    const auto file = io::SafetensorsFile::in_memory(bytes, "file");
    fuzz::read_or_refuse([&] { file.require_finite(); });
    std::size_t total = 0;
    for (const std::string& name : file.names()) {
      total += file.bytes(name).size();
      fuzz::read_or_refuse([&] { static_cast<void>(file.read<float>(name)); });
      fuzz::read_or_refuse([&] { static_cast<void>(file.read<std::int64_t>(name, io::Finite::required)); });
    }
    fuzz::require(total <= bytes.size(), "tensors of more bytes than the file has");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::bytes_of(data, size);
  read(bytes);
  if (size <= 8) return 0;
  // Once more with a length that fits: all that follows is the header.
  std::string fitting(reinterpret_cast<const char*>(data), size);
  const std::uint64_t length = size - 8;
  std::memcpy(fitting.data(), &length, sizeof length);
  read(std::as_bytes(std::span(fitting)));
  return 0;
}
