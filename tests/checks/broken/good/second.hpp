#pragma once

#include "first.hpp"

inline int second() { return first().back(); }
