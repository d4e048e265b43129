// bfloat16 of CUDA in integer arithmetic.
#pragma once

#include "cuda_runtime.h"

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline float __bfloat162float(__nv_bfloat16 number) {
  const uint32_t bits = uint32_t{number.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}
inline __nv_bfloat16 __float2bfloat16_rn(float number) {
  if (number != number) return {0x7fff};
  uint32_t bits;
  std::memcpy(&bits, &number, 4);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 pair) { return pair.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 pair) { return pair.y; }
