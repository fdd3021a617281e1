#pragma once

#include <cstdint>

namespace easy_diffusion::tests {

/// Calls of `operator new` in this program so far.
[[nodiscard]] std::uint64_t allocations();

}  // namespace easy_diffusion::tests
