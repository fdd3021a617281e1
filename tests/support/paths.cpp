#include "support/paths.hpp"

#include <cstdlib>

#include "support/skip.hpp"

namespace easy_diffusion::test {
namespace {

std::filesystem::path folder(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

}  // namespace

std::filesystem::path test_data() {
  return folder("EASY_DIFFUSION_TEST_DATA", EASY_DIFFUSION_DEFAULT_TEST_DATA);
}

std::optional<std::filesystem::path> shared_data(const std::string& name) {
  const auto path = folder("EASY_DIFFUSION_SHARED_DIR", EASY_DIFFUSION_DEFAULT_SHARED_DIR) / name;
  if (std::filesystem::exists(path)) return path;
  skip("there is no " + path.string());
  return std::nullopt;
}

std::filesystem::path scratch_folder(const std::string& name) {
  const auto path = folder("EASY_DIFFUSION_TEST_SCRATCH", EASY_DIFFUSION_DEFAULT_SCRATCH) / name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace easy_diffusion::test
