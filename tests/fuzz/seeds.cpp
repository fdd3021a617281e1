// Gives every target its seeds, one after the other: what fuzzing has found stays mended.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using Target = int (*)(const std::uint8_t*, std::size_t);

#define EASY_DIFFUSION_TARGET(name) extern "C" int fuzz_##name(const std::uint8_t* data, std::size_t size);
EASY_DIFFUSION_TARGETS
#undef EASY_DIFFUSION_TARGET

int main(int argc, char** argv) {
  struct Named {
    std::string name;
    Target target;
  };
#define EASY_DIFFUSION_TARGET(name) {#name, &fuzz_##name},
  const std::vector<Named> targets = {EASY_DIFFUSION_TARGETS};
#undef EASY_DIFFUSION_TARGET
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s SEEDS\n", argv[0]);
    return 2;
  }
  for (const auto& [name, target] : targets) {
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(argv[1]) / name, error))
      files.push_back(entry.path());
    if (files.empty()) {
      std::fprintf(stderr, "%s: there are no seeds\n", name.c_str());
      return 1;
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      std::printf("%s %s\n", name.c_str(), file.filename().c_str());
      std::fflush(stdout);  // so that the last line names what ended the process
      std::ifstream in(file, std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      // A block of exactly its size: sanitizers then see what is read beside it.
      const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
      target(exact.data(), exact.size());
    }
  }
  return 0;
}
