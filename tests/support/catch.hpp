/// \file
/// Catch2 for every test of this project, with one spelling for its versions 2 and 3:
/// `Approx`, `ContainsSubstring` and the floating-point matchers mean the same thing under both.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)

#include <catch2/catch_all.hpp>

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

#else

#include <catch2/catch.hpp>

namespace Catch::Matchers {
// NOLINTNEXTLINE(readability-identifier-naming): the name that version 3 gives it
inline auto ContainsSubstring(const std::string& text,
                              CaseSensitive::Choice case_sensitivity = CaseSensitive::Yes) {
  return Contains(text, case_sensitivity);
}
}  // namespace Catch::Matchers

using Catch::Matchers::ContainsSubstring;

#endif

using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
