// The main function of every test program, compiled once.

#include "easy_diffusion/core/parallel.hpp"

namespace {

// Tests get as many threads as they ask for, however many processors there are: what depends on the number of threads must
// show on every machine.
[[maybe_unused]] const bool unlimited = (easy_diffusion::detail::thread_limit.store(4096), true);

}  // namespace

#if __has_include(<catch2/catch_all.hpp>)

#include <catch2/catch_session.hpp>

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }

#else

#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#endif
