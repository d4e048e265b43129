// The core's header of this name, as far as the tests' epilogues use it.
#pragma once

#define CUDART_INF_F __builtin_inff()

namespace fx {
inline float abs(float x) { return x < 0 ? -x : x; }
inline float maximum(float x, float y) { return x != x ? x : y != y ? y : x > y ? x : y; }
}  // namespace fx
