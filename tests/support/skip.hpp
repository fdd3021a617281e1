/// \file
/// Saying that a test case does not run.
#pragma once

#include <string>

namespace easy_diffusion::test {

/// Prints `SKIP: <test case>: <why>`. scripts/test.sh counts and shows these lines, so that no test that lacks its data passes
/// for one that ran. The case returns after it.
void skip(const std::string& why);

}  // namespace easy_diffusion::test
