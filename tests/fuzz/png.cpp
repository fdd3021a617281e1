// PNG, as it comes and with the checksums of its chunks mended: damage gets past them only so.
#include <zlib.h>

#include "pictures.hpp"

namespace {

std::uint32_t number_at(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = 256 * value + static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::string with_checksums(std::string bytes) {
  for (std::size_t at = 8; bytes.size() >= 12 && at <= bytes.size() - 12;) {
    const std::size_t length = number_at(bytes, at);
    if (length > bytes.size() - 12 - at) break;
    const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()) + at + 4, length + 4);
    for (std::size_t i = 0; i < 4; ++i) bytes[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i));
    at += 12 + length;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using std::string_view_literals::operator""sv;
  const auto start = "\x89PNG\r\n\x1a\n"sv;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with(start)) bytes = std::string(start) + bytes;
  easy_diffusion::fuzz::read_picture(bytes);
  const std::string mended = with_checksums(bytes);
  if (mended != bytes) easy_diffusion::fuzz::read_picture(mended);
  return 0;
}
