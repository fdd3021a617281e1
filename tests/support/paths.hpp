/// \file
/// Where tests find their data. The test runner sets two environment variables; a test program started by
/// hand falls back to the places known when it was built.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace easy_diffusion::test {

/// The folder of golden values: EASY_DIFFUSION_TEST_DATA, tests/golden by default.
std::filesystem::path test_data();

/// A file or folder of the reference material that may lie beside a checkout (EASY_DIFFUSION_SHARED_DIR,
/// ../shared by default). Nothing, and the case is said to be skipped (`skip`), where it is not there:
///
///     const auto reference = test::shared_data("reference/unet");
///     if (!reference) return;
std::optional<std::filesystem::path> shared_data(const std::string& name);

/// A fresh, empty folder for the files that a test writes; it is removed and made anew by each call.
std::filesystem::path scratch_folder(const std::string& name);

}  // namespace easy_diffusion::test
