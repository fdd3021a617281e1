#pragma once

#include <vector>

inline std::vector<int> first() { return {1, 2, 3}; }
