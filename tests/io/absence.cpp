#include "easy_diffusion/io/detail/absence.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include "support/catch.hpp"
#include "support/paths.hpp"

using namespace easy_diffusion;

TEST_CASE("what is not there is told from what cannot be reached", "[io][absence]") {
  const auto folder = test::scratch_folder("absence");
  const auto absence = io::detail::absence;
  std::ofstream(folder / "file") << "x";
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  std::filesystem::create_symlink("loop", folder / "loop");

  CHECK(absence("") == "no name is given");
  CHECK(absence(folder / "none") == "there is none");
  CHECK(absence(folder / "none" / "deeper") == "there is none");
  CHECK(absence(folder / "dangling") == "it is a link to what is not there");
  CHECK(absence(folder / "file" / "x" / "y") == "'" + (folder / "file").string() + "' is a file and no folder");
  CHECK_THAT(absence(folder / std::string(300, 'x')), ContainsSubstring("name too long"));
  CHECK_THAT(absence(folder / "loop"), ContainsSubstring("symbolic links"));
  CHECK(absence(folder) == "it is a folder");
  CHECK(absence(folder / "file") == "it is a file");

  // Who may do everything enters this one too.
  std::filesystem::create_directories(folder / "closed" / "inner");
  std::filesystem::permissions(folder / "closed", std::filesystem::perms::none);
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "closed" / "inner", ignored) && ignored)
    CHECK(absence(folder / "closed" / "inner") ==
          "the folder '" + (folder / "closed").string() + "' may not be entered");
  std::filesystem::permissions(folder / "closed", std::filesystem::perms::owner_all);
}
