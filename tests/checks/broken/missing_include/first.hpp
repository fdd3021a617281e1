#pragma once

inline std::vector<int> first() { return {1, 2, 3}; }
