/// \file
/// A locale in which numbers have a decimal comma and points between thousands, for a while and for the whole process: what
/// German settings do to a program that calls `setlocale`. Needs no locale of the system.
#pragma once

#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <locale>
#include <string>

#include "support/paths.hpp"

namespace easy_diffusion::test {

/// C functions take the locale from a file that this writes, as the GNU C library lays it out (localedef makes the same of
/// `decimal_point ","`, `thousands_sep "."`, `grouping 3;3`); streams from a facet.
class CommaLocale {
 public:
  CommaLocale() {
    const std::string numeric(
        "\x14\x11\x03\x20\x06\x00\x00\x00\x20\x00\x00\x00\x22\x00\x00\x00\x24\x00\x00\x00\x28\x00\x00\x00"
        "\x2c\x00\x00\x00\x30\x00\x00\x00,\x00.\x00\x03\x03\x00\x00,\x00\x00\x00.\x00\x00\x00"
        "ANSI_X3.4-1968\x00",
        63);
    const auto folder = scratch_folder("comma_locale");
    std::filesystem::create_directory(folder / "comma");
    std::ofstream(folder / "comma" / "LC_NUMERIC", std::ios::binary) << numeric;
    ::setenv("LOCPATH", folder.c_str(), 1);
    const char* before = std::setlocale(LC_NUMERIC, nullptr);
    if (before != nullptr) before_ = before;
    std::setlocale(LC_NUMERIC, "comma");
    ::unsetenv("LOCPATH");
    streams_ = std::locale::global(std::locale(std::locale::classic(), new Comma));
    // Naming a global locale sets the C library's too; one without a name leaves it.
  }
  CommaLocale(const CommaLocale&) = delete;
  CommaLocale& operator=(const CommaLocale&) = delete;
  ~CommaLocale() {
    std::locale::global(streams_);
    std::setlocale(LC_NUMERIC, before_.c_str());
  }

  /// False where the C library is another: then only streams have the comma.
  [[nodiscard]] static bool in_force() { return std::localeconv()->decimal_point == std::string(","); }

 private:
  struct Comma : std::numpunct<char> {
    [[nodiscard]] char do_decimal_point() const override { return ','; }
    [[nodiscard]] char do_thousands_sep() const override { return '.'; }
    [[nodiscard]] std::string do_grouping() const override { return "\3"; }
  };

  std::string before_ = "C";
  std::locale streams_;
};

}  // namespace easy_diffusion::test
