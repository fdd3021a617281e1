#include "support/skip.hpp"

#include <cstdio>

#include "support/catch.hpp"

namespace easy_diffusion::test {

void skip(const std::string& why) {
  std::printf("SKIP: %s: %s\n", Catch::getResultCapture().getCurrentTestName().c_str(), why.c_str());
  std::fflush(stdout);
}

}  // namespace easy_diffusion::test
