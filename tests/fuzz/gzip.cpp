// Gzipped bytes, read in pieces of several sizes.
#include "easy_diffusion/io/detail/gzip.hpp"

#include <array>

#include "support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace easy_diffusion;
  // Without its first two bytes a file is a plain one, of which there is little to find out.
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with("\x1f\x8b")) bytes = "\x1f\x8b" + bytes;
  std::array<std::uint64_t, 2> totals{};
  std::array<bool, 2> refused{};
  for (const std::size_t way : {0U, 1U}) {
    bool whole = false;
    fuzz::read_or_refuse([&] {
      io::detail::MaybeGzipped file(std::as_bytes(std::span(bytes)), "file");
      std::array<std::byte, 4096> piece;
      const std::size_t most = way == 0 ? piece.size() : 7;
      while (const std::size_t got = file.read(std::span(piece).first(most))) totals[way] += got;
      file.expect_end(totals[way]);
      whole = true;
    });
    refused[way] = !whole;
  }
  fuzz::require(refused[0] == refused[1], "whether a file is refused depends on the sizes of the pieces");
  fuzz::require(refused[0] || totals[0] == totals[1], "what a file holds depends on the sizes of the pieces");
  return 0;
}
